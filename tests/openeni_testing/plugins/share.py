"""`pytest --share=K/N`: run the K-th of N shares of what the other options choose.

Modules are dealt out in the order in which they run: each share has some of those that need a lab,
and a module's tests stay together. All shares together are all tests. Those with the marker
`every_share` are not dealt out: they are in all of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pytest

OPTION: Final = "--share"
EVERY: Final = "every_share"
_WRITTEN: Final = re.compile(r"([1-9]\d*)/([1-9]\d*)", re.ASCII)


@dataclass(frozen=True)
class Share:
    """The plugin; `number` counts from 1 to `of`."""

    number: int
    of: int

    @classmethod
    def parse(cls, written: str) -> Self:
        """Raise UsageError unless it is K/N, with K from 1 to N."""
        found = _WRITTEN.fullmatch(written)
        if not found or int(found[1]) > int(found[2]):
            raise pytest.UsageError(f"{OPTION}={written} is not K/N, such as 2/3: second of three")
        return cls(int(found[1]), int(found[2]))

    def chosen(self, modules: Sequence[Path]) -> set[Path]:
        """Return the modules of this share; each may be named several times."""
        return set([*dict.fromkeys(modules)][self.number - 1 :: self.of])

    @pytest.hookimpl(trylast=True)  # after the markers have chosen
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        dealt = [item for item in items if not item.get_closest_marker(EVERY)]
        mine = self.chosen([item.path for item in dealt])
        left = {item for item in dealt if item.path not in mine}
        config.hook.pytest_deselected(items=[*left])
        items[:] = [item for item in items if item not in left]
