"""The order in which a look looks into pods, and how long it goes on with those that are slow."""

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.node import looks_inside
from openeni_nodeagent.datapath.node.looks_inside import in_turn
from openeni_nodeagent.datapath_api import WantedPod
from openeni_testing.agent.clock import Clock
from openeni_testing.network.node import eni_facts, pod_interface

ENI = eni_facts("eni", 10, Datapath(Mode.VETH))


def pod(name: str, turn: int = 0, netns: str = "/run/netns/pod") -> WantedPod:
    return WantedPod(pod_interface(name, ENI, "10.98.0.11"), netns, turn)


PODS = (pod("c", 3), pod("a", 1), pod("new"), pod("b", 2), pod("other", netns=""), pod("old"))


def read(clock: Clock, seconds: float) -> list[str]:
    found: list[str] = []
    for each in in_turn(PODS):
        clock.now += seconds
        found.append(each.interface.pod_uid.removeprefix("uid-"))
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.of(monkeypatch, looks_inside)


def test_pods_where_looks_have_failed_come_last_and_in_turn(clock: Clock) -> None:
    assert read(clock, 0.1) == ["new", "old", "a", "b", "c"]


def test_of_these_the_first_is_read_however_long_all_others_take(clock: Clock) -> None:
    assert read(clock, 5.0) == ["new", "old", "a"]


def test_what_is_left_after_a_minute_is_the_next_looks(clock: Clock) -> None:
    assert read(clock, 61.0) == ["new", "a"]


def test_more_of_them_are_read_while_they_take_little_time(clock: Clock) -> None:
    assert read(clock, 0.6) == ["new", "old", "a", "b"]
