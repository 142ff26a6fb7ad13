"""The documentation of one reason: its meaning, its remedy and its setters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.conditions import Reason
from openeni_crds.owners import OPERATOR_ENI, OPERATOR_POOL, Setter

_LINK: Final = re.compile(r"\[([^]]+)\]\(([^)]+)\)")


@dataclass(frozen=True)
class ReasonEntry:
    """A reason; its remedy is empty if nothing needs to be done.

    The setters find the reason themselves. They do not include the operator where it only repeats
    a reason of another condition: in `Ready`, and in `CapacityAvailable` and `UpToDate` of a pool.
    """

    meaning: str
    remedy: str
    setters: tuple[Setter, ...]

    @property
    def plain_remedy(self) -> str:
        """Return the remedy for a terminal."""
        return plain(self.remedy)


def plain(text: str) -> str:
    """Return a text of the documentation for a terminal: links to pages as their paths."""
    return _LINK.sub(r"\1 (docs/\2)", text)


Reasons: TypeAlias = Mapping[Reason, ReasonEntry]
OPERATOR: Final = (OPERATOR_POOL, OPERATOR_ENI)
