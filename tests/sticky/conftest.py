"""A cluster whose clock is the simulation's for the agents, too."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openeni_nodeagent.attachments import granter
from openeni_nodeagent.enis import link_reports
from openeni_nodeagent.grants import grants, requests
from openeni_testing.sticky.world import StickyWorld


@pytest.fixture
def carrier_is_lost_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the loss of a carrier reported at once: its time is not the world's."""
    monkeypatch.setattr(link_reports, "CARRIER_LOST_SECONDS", 0.0)


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Return a function that makes the world; in the end no invariant may have been broken."""
    made: list[StickyWorld] = []

    def make(**settings: Any) -> StickyWorld:
        def boot_seconds() -> float:
            return made[0].sim.cloud.clock.now if made else 0.0

        for module in (granter, grants, requests):
            monkeypatch.setattr(module, "boot_seconds", boot_seconds)
        world = StickyWorld(tmp_path, **settings)
        made.append(world)
        return world

    yield make
    for world in made:
        assert world.broken == []
