"""An ENI that is stuck is passed over once; ENIs never pile up, whatever they do."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.sizing.demand import target_addresses
from openeni_operator.sizing.plan import FAILURE_MEMORY_SECONDS, plan
from openeni_operator.sizing.stalls import STUCK_SECONDS
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    DeleteENI,
    ENIState,
    GrowENI,
    NodeState,
    RetireENI,
    SizingPolicy,
    UnretireENI,
)

SIZE = 3
POLICY = SizingPolicy(addresses_per_eni=SIZE, max_enis=6, min_available=1, reclaim_after=900)
LOOK = 300.0  # seconds between two looks at the node
LOOKS = 40
LONG = FAILURE_MEMORY_SECONDS

STUCK = ENIState("a", 3, stuck=True, stalled_seconds=STUCK_SECONDS)
ALSO_STUCK = replace(STUCK, name="b")
ASKED = replace(STUCK, stalled_seconds=LONG, parked=True, all_asked=True)
GOOD = ENIState("b", 3, ready=True)
FULL = replace(GOOD, granted=3)


@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize(
    ("enis", "waiting", "planned"),
    [
        pytest.param([STUCK], 2, [CreateENI("n1", 3)], id="it is passed over"),
        pytest.param([STUCK, ALSO_STUCK], 2, [], id="two are not: the fault is not theirs"),
        pytest.param([STUCK, ENIState("b", 3)], 2, [], id="one ENI is created at a time"),
        pytest.param([STUCK, FULL], 2, [CreateENI("n1", 3)], id="also beside others"),
        pytest.param([STUCK, GOOD], 2, [], id="what others have serves the pods"),
        pytest.param(
            [replace(STUCK, granted=2, name="z"), replace(GOOD, granted=1)],
            1,
            [],
            id="its pods keep what they have",
        ),
        pytest.param(
            [replace(STUCK, stalled_seconds=LONG), GOOD],
            0,
            [RetireENI("a")],
            id="not needed, it goes",
        ),
        pytest.param([replace(STUCK, stalled_seconds=LONG)], 2, [CreateENI("n1", 3)], id="needed"),
        pytest.param(
            [replace(STUCK, stalled_seconds=LONG, granted=1), replace(GOOD, addresses=9)],
            0,
            [],
            id="not from under a pod",
        ),
        pytest.param(
            [ASKED, GOOD],
            0,
            [],
            id="once it was asked for, its agent is waited for",
        ),
        pytest.param(
            [
                replace(STUCK, stalled_seconds=LONG, parked=True, all_asked=True, all_retired=True),
                GOOD,
            ],
            0,
            [DeleteENI("a")],
            id="given up, it is deleted",
        ),
        pytest.param(
            [replace(STUCK, retiring=True, all_asked=True, all_retired=True)],
            2,
            [DeleteENI("a"), CreateENI("n1", 3)],
            id="its retirement is not withdrawn: it would serve nobody",
        ),
        pytest.param(
            [replace(STUCK, stuck=False, ready=True, retiring=True, all_asked=True)],
            2,
            [UnretireENI("a")],
            id="but when it turns Ready",
        ),
    ],
)
def test_a_stuck_eni_is_planned_as_described(
    enis: list[ENIState], waiting: int, planned: list[Action], *, elastic: bool
) -> None:
    policy = replace(POLICY, min_available=0, reclaim_after=None, elastic=elastic)
    found = list(plan(NodeState("n1", tuple(enis), waiting=waiting), policy).actions)
    sizes = {CreateENI("n1", waiting): CreateENI("n1", 3)}  # an elastic one is as big as needed
    assert [sizes.get(a, a) if isinstance(a, CreateENI) else a for a in found] == planned


def test_limits_count_it_and_say_so() -> None:
    node = NodeState("n1", (STUCK,), waiting=1)
    for policy in (replace(POLICY, max_enis=1), replace(POLICY, max_addresses=3)):
        found = plan(node, policy)
        assert found.limit_reached
        assert found.actions == ()


@pytest.mark.parametrize("room", [0, 5])
def test_an_elastic_one_gets_no_addresses_more(room: int) -> None:
    policy = replace(POLICY, elastic=True, addresses_per_eni=8)
    stuck = replace(STUCK, wanted=3, room=room)
    actions = plan(NodeState("n1", (stuck,), waiting=3), policy).actions
    assert not any(isinstance(a, GrowENI) for a in actions)


@dataclass
class Node:
    """A node whose ENIs are Ready, or not, as `up` says at each look."""

    up: Callable[[int, int], bool]  # the number of an ENI, in the order of creation; of a look
    policy: SizingPolicy = POLICY
    enis: dict[int, ENIState] = field(default_factory=dict[int, ENIState])
    created: int = 0
    deleted: int = 0
    look: int = 0
    most_needed: int = 0  # addresses, at any time

    def pass_time(self, pods: int) -> None:
        """Look at the node once, with so many pods on it."""
        for number, eni in self.enis.items():
            ready = self.up(number, self.look)
            stalled = 0.0 if ready or ready != eni.ready else eni.stalled_seconds + LOOK
            stuck = not ready and stalled >= STUCK_SECONDS
            idle = None if eni.granted else (eni.idle_seconds or 0.0) + LOOK
            self.enis[number] = replace(
                eni, ready=ready, stalled_seconds=stalled, stuck=stuck, idle_seconds=idle
            )
        waiting = self._run_pods(pods)
        node = NodeState("n1", tuple(self.enis.values()), waiting=waiting)
        self.most_needed = max(self.most_needed, target_addresses(node, self.policy))
        for action in plan(node, self.policy).actions:
            self._do(action)
        self.look += 1

    def _run_pods(self, pods: int) -> int:
        """Let pods end and start; return how many wait."""
        for number, eni in self.enis.items():
            running = sum(e.granted for e in self.enis.values())
            ended = min(eni.granted, max(0, running - pods))
            self.enis[number] = replace(eni, granted=eni.granted - ended)
        waiting = pods - sum(e.granted for e in self.enis.values())
        for number, eni in self.enis.items():
            free = eni.addresses - eni.granted if eni.ready and not eni.retiring else 0
            self.enis[number] = replace(eni, granted=eni.granted + min(free, waiting))
            waiting -= min(free, waiting)
        return waiting

    def _do(self, action: Action) -> None:
        match action:
            case CreateENI(_, addresses):
                name = f"e{self.created:02}"
                self.enis[self.created] = ENIState(name, addresses)
                self.created += 1
            case RetireENI(name):
                eni = self.enis[int(name[1:])]
                self.enis[int(name[1:])] = replace(
                    eni, retiring=True, all_asked=True, all_retired=not eni.granted
                )
            case UnretireENI(name):
                eni = self.enis[int(name[1:])]
                self.enis[int(name[1:])] = replace(
                    eni, retiring=False, all_asked=False, all_retired=False
                )
            case DeleteENI(name):
                assert not self.enis.pop(int(name[1:])).granted
                self.deleted += 1
            case _:
                raise AssertionError(action)


@given(
    st.lists(st.tuples(st.integers(0, 14), st.frozensets(st.integers(0, 3))), max_size=LOOKS),
    st.integers(1, 6),
    st.sampled_from([None, 1, 4]),
)
def test_at_most_one_more_is_made_than_is_needed_however_they_flip(
    history: list[tuple[int, Collection[int]]], max_enis: int, max_available: int | None
) -> None:
    policy = replace(POLICY, max_enis=max_enis, max_available=max_available)
    node = Node(lambda eni, look: eni % 4 not in history[look][1], policy)
    for pods, _ in history:
        node.pass_time(pods)
        assert len(node.enis) <= max_enis
        usable = [e for e in node.enis.values() if e.usable]
        assert len(usable) <= math.ceil(node.most_needed / SIZE) + 1


@given(st.integers(0, 14), st.integers(0, 5))
def test_with_one_bad_eni_all_pods_run_and_then_nothing_changes(pods: int, bad: int) -> None:
    node = Node(lambda eni, _: eni != bad)
    for _ in range(LOOKS):
        node.pass_time(pods)
    assert sum(e.granted for e in node.enis.values()) == pods
    needed = math.ceil((pods + POLICY.min_available) / SIZE)
    assert node.created <= needed + 1
    assert node.deleted == node.created - needed, "nobody needs the bad one in the end"
    before = node.created, node.deleted
    for _ in range(LOOKS):
        node.pass_time(pods)
    assert (node.created, node.deleted) == before


@given(st.integers(0, 14), st.integers(0, 4))
def test_where_every_further_eni_is_bad_two_are_made(pods: int, good: int) -> None:
    node = Node(lambda eni, _: eni < good)
    for _ in range(LOOKS):
        node.pass_time(pods)
    needed = math.ceil((pods + POLICY.min_available) / SIZE)
    made = needed if needed <= good else good + 2
    assert (node.created, node.deleted) == (made, 0)


def test_one_that_turns_ready_serves_and_a_surplus_one_goes() -> None:
    node = Node(lambda eni, look: eni != 0 or look >= 10, replace(POLICY, reclaim_after=3600))
    for _ in range(10):
        node.pass_time(2)
    assert node.enis[0].stuck
    assert node.created == 2
    for _ in range(10):
        node.pass_time(2)
    assert (node.created, node.deleted, len(node.enis)) == (2, 1, 1)
