"""What is looked at once something has changed, and what is not."""

from pathlib import Path
from typing import Any

import pytest

from openeni_crds import names
from openeni_nodeagent.requeues import Requeues
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts

ENI, POD = "pods-0", "default/web"


class Queue(list[str]):
    """Keys that were added since they were taken last."""

    def add(self, key: str, _delay: float = 0.0) -> None:
        self.append(key)

    def take(self) -> list[str]:
        taken = list(self)
        self.clear()
        return taken


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects()
    made.grant("web", "c1")
    return made


@pytest.fixture
def queues() -> dict[str, Queue]:
    return {name: Queue() for name in ("enis", "eni-status", "podips")}


@pytest.fixture
def requeues(parts: AgentParts, queues: dict[str, Queue]) -> Requeues:
    made = Requeues(parts.caches, parts.grants, parts.guards, parts.node)
    stand_ins: dict[str, Any] = dict(queues)
    made.queues = stand_ins
    made.eni(ENI)
    assert queues["podips"].take() == [POD]
    return made


def test_what_an_eni_counts_is_nothing_to_its_podips(
    requeues: Requeues, queues: dict[str, Queue]
) -> None:
    """With each pod that comes or goes all others would be looked at."""
    requeues.eni(ENI)
    assert queues["podips"].take() == []
    assert queues["enis"].take() == queues["eni-status"].take() == [ENI, ENI]


def test_an_eni_whose_port_has_other_addresses_is_passed_on_to_its_podips(
    parts: AgentParts, requeues: Requeues, queues: dict[str, Queue]
) -> None:
    node_objects.write_operator_status(parts.store, count=4)
    parts.sync(look=False)
    requeues.eni(ENI)
    assert queues["podips"].take() == [POD]
    requeues.eni(ENI)
    assert queues["podips"].take() == []


def test_an_eni_that_goes_and_comes_again_is_passed_on_each_time(
    parts: AgentParts, requeues: Requeues, queues: dict[str, Queue]
) -> None:
    (eni,) = parts.store.list(names.ENIS).items
    parts.caches.enis.remove(eni)
    requeues.eni(ENI)
    assert queues["podips"].take() == [POD]
    parts.caches.enis.put(eni)
    requeues.eni(ENI)
    assert queues["podips"].take() == [POD]
