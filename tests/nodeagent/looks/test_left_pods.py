"""Pods that a look has no time left for, because it takes long to look into others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_kube.result import RequeueAfter, Retry
from openeni_nodeagent.datapath.node import looks_inside
from openeni_nodeagent.datapath.node.looks_inside import in_turn
from openeni_nodeagent.datapath_api import (
    Hold,
    KernelRefusedError,
    NodeReport,
    NodeSnapshot,
    PodInterface,
    PodNetwork,
    WantedNode,
)
from openeni_nodeagent.looks import datapath_reconciler, look_pace, pod_looks
from openeni_nodeagent.looks.datapath_reconciler import REBUILD_SECONDS, SOON_SECONDS
from openeni_nodeagent.looks.pod_looks import LOOK_PERIOD_SECONDS
from openeni_testing.agent.clock import Clock
from openeni_testing.agent.parts import NODE_FACTS, AgentParts

SLOW = 26  # two minutes of looks
BROKEN = "its link is missing"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.of(monkeypatch, datapath_reconciler, look_pace, pod_looks, looks_inside)


@pytest.fixture
def parts(tmp_path: Path, clock: Clock) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects(count=SLOW + 2)
    return made


class Slow:
    """Pods that take almost five seconds to be read, and are, before another pod in each list."""

    def __init__(self, parts: AgentParts, clock: Clock) -> None:
        self.parts = parts
        self.read: list[str] = []
        self.is_broken = self.disturbs = False
        self._clock = clock
        self._reconcile = parts.datapath.reconcile
        for number in range(SLOW):
            parts.grant(f"slow{number}", f"slow{number}")
        self.other = parts.grant("other", "other")

    def reconcile(self, snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        seen = set[PodInterface]()
        for each in in_turn(wanted.pods):
            self._clock.now += 0.01 if each.interface.container_id == "other" else 4.9
            seen.add(each.interface)
        self.read = [pod.container_id for pod in seen]
        report = self._reconcile(snapshot, wanted, hold)
        read = seen & report.looked_into.keys()
        broken = {pod for pod in read if self.is_broken and pod.container_id == "other"}
        every = frozenset(pod.interface for pod in wanted.pods)
        return replace(
            report,
            looked_into={pod: why for pod, why in report.looked_into.items() if pod in seen},
            broken=report.broken | broken,
            differing={**report.differing, **dict.fromkeys(broken, BROKEN)},
            disturbed=every if self.disturbs else frozenset(),
        )


@pytest.fixture
def slow(parts: AgentParts, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow(parts, clock)
    monkeypatch.setattr(parts.datapath, "reconcile", made.reconcile)
    return made


def ask_for_all(slow: Slow, address: str) -> None:
    slow.parts.looks.set_node(replace(NODE_FACTS, addresses=(address,)))


def look_until_all_are_seen(slow: Slow) -> None:
    ask_for_all(slow, "10.99.0.11")
    found = [slow.parts.look() for _ in range(4)]
    assert found[-1] == RequeueAfter(LOOK_PERIOD_SECONDS)


def refuse(parts: AgentParts, monkeypatch: pytest.MonkeyPatch, told: Callable[[str], None]) -> None:
    def refusing(pod: PodInterface, netns: str, *, rebuilds: bool = False) -> PodNetwork:
        told(pod.container_id)
        raise KernelRefusedError(f"{pod.container_id} in {netns} ({rebuilds}) cannot be built")

    monkeypatch.setattr(parts.datapath, "add", refusing)


def test_each_pod_is_looked_into_although_slow_ones_are_asked_for_again_and_again(
    slow: Slow, clock: Clock
) -> None:
    """One hostile ipvlan pod changes the mode of its slave: all of them may have lost something."""
    look_until_all_are_seen(slow)
    slow.disturbs = True
    slow.parts.look()
    read = set[str]()
    for _ in range(4):
        clock.now += SOON_SECONDS
        slow.parts.look()
        read |= {*slow.read}
    assert len(read) == SLOW + 1


def test_one_that_is_left_is_what_it_was_and_looked_into_soon(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_until_all_are_seen(slow)
    refuse(slow.parts, monkeypatch, lambda _: None)
    slow.is_broken = True
    slow.parts.looks.look_into(slow.other.attachment)
    slow.parts.look()
    found = slow.parts.looks.difference(slow.other.attachment)
    assert found is not None
    assert found.message == BROKEN
    ask_for_all(slow, "10.99.0.12")
    assert slow.parts.look() == RequeueAfter(SOON_SECONDS)
    assert "other" not in slow.read
    assert slow.parts.looks.difference(slow.other.attachment) == found
    with slow.parts.locks.locked("other"):  # a call has it, a CHECK, say
        for _ in range(3):
            assert slow.parts.look() == RequeueAfter(SOON_SECONDS)
            assert slow.parts.looks.difference(slow.other.attachment) == found
    slow.is_broken = False
    slow.parts.look()
    assert slow.parts.looks.difference(slow.other.attachment) is None


def test_those_that_have_never_been_looked_into_are_not_ready_yet(slow: Slow) -> None:
    def unready() -> set[str]:
        grants = slow.parts.grants.all()
        found = {g.key[0]: slow.parts.looks.difference(g.attachment) for g in grants}
        left = "it has not been looked into since the agent has started"
        return {name for name, why in found.items() if why and why.message.startswith(left)}

    ask_for_all(slow, "10.99.0.12")
    slow.parts.look()
    assert unready() == {grant.key[0] for grant in slow.parts.grants.all()} - {*slow.read}
    assert unready() != set()
    look_until_all_are_seen(slow)
    assert unready() == set()


def test_pods_that_take_long_to_be_built_again_are_left_to_the_next_look(
    parts: AgentParts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may wait until all others of its ENI have been read."""
    pods = [parts.grant(f"pod{number}", f"pod{number}") for number in range(10)]
    parts.look()
    for pod in pods:
        parts.datapath.lose(pod.addresses[0])
    tried: list[str] = []

    def told(container: str) -> None:
        tried.append(container)
        clock.now += 25.0

    refuse(parts, monkeypatch, told)
    assert isinstance(parts.look(), Retry)
    assert len(tried) == 1 + REBUILD_SECONDS // 25
    for _ in range(60):  # each has three of ten chances in each
        clock.now += LOOK_PERIOD_SECONDS
        parts.look()
    assert {*tried} == {pod.attachment.container_id for pod in pods}
