"""What is planned, and written, comes to an end while nothing else changes.

Two rules that disagree would ask for an address and take the request back, thousands of times a
second: each write wakes the pool.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeni_crds.capacity import Limits
from openeni_operator.sizing.limits import pool_budget
from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    DeleteENI,
    ENIState,
    GrowENI,
    NodeState,
    RetireAddresses,
    RetireENI,
    SizingPolicy,
    UnretireENI,
)

NAMES, NEW = "abc", "new"  # of ENIs that there are, and of those that come
SECONDS: Final = 50
NOTHING: Final = frozenset[str]()
ROUNDS: Final = 12  # of planning, in which each ENI may be retired and deleted one after the other


@dataclass(frozen=True)
class Limited:
    """A node, and what its pool may hold."""

    node: NodeState
    policy: SizingPolicy
    limits: Limits
    kept: int  # addresses on their way to the node
    leaving: tuple[int, ...]  # free addresses of the first ENIs that other nodes wait for
    refused: frozenset[str]  # ENIs to which the cloud gives none but those that pods claim
    hindered: frozenset[str]  # those to which it gives none at all
    scarce: frozenset[str]  # those whose subnets have none

    def planned(self) -> "Limited":
        """Return the same after one look of the pool: specs of ENIs have changed, nothing else.

        What follows is at most that the cloud refuses what they ask for.
        """
        node = self.node
        kept = {node.name: self.kept}
        budget = pool_budget(self.limits, len(node.enis), node.counted, kept)
        enis = {e.name: e for e in node.enis}
        leaving = dict(zip(enis, self.leaving, strict=False))
        for planned in plan(node, budget.bind(self.policy, node)).actions:
            action = budget.allow(planned, node)
            if action is not None:
                write(enis, action, leaving)
        answered = tuple(map(self.answered, enis.values()))
        return replace(self, node=replace(node, enis=answered))

    def answered(self, eni: ENIState) -> ENIState:
        """Return the ENI after its request, if it makes one; what pods claim is refused by name."""
        name = eni.name if eni.name in NAMES else NEW
        claimed = 0 if name in self.hindered else eni.claimed
        lacks = eni.usable and eni.asked > eni.addresses + claimed
        if lacks and name not in self.refused | self.hindered:
            return eni
        seconds = eni.lacking_seconds if lacks == eni.refused else 0.0
        eni = replace(eni, refused=lacks, scarce=False, lacking_seconds=seconds)
        if lacks:
            eni = replace(eni, releasing=0)  # that is done before addresses are added
        # Their subnets count as full for a while.
        return replace(eni, scarce=True, room=0) if lacks and name in self.scarce else eni

    def later(self, seconds: float) -> "Limited":
        """Return the same after a time in which nothing has happened."""
        enis = tuple(
            replace(e, lacking_seconds=e.lacking_seconds + seconds) if e.refused else e
            for e in self.node.enis
        )
        return replace(self, node=replace(self.node, enis=enis))


def write(enis: dict[str, ENIState], action: Action, leaving: dict[str, int]) -> None:
    """Change the ENIs as the writes of the action would, and nothing that follows from them."""
    match action:
        case CreateENI(_, count):
            name = f"new{len(enis)}"
            enis[name] = ENIState(name, count, wanted=count)
        case DeleteENI(name):
            enis[name] = replace(enis[name], deleting=True)
        case RetireENI(name):
            parked = enis[name].inactive
            enis[name] = replace(
                enis[name], all_asked=True, retiring=not parked, parked=parked, misasked=False
            )
        case UnretireENI(name):
            eni = replace(enis[name], retiring=False, parked=False, all_asked=False)
            eni = replace(eni, all_retired=False, wanted=max(1, eni.addresses))
            enis[name] = replace(eni, misasked=leaving.get(name, 0) > 0)
        case GrowENI(name, keep) | RetireAddresses(name, keep):
            eni = enis[name]
            leaves = min(eni.addresses - 1, leaving.get(name, 0))
            keep = min(keep, eni.addresses - leaves) if leaves else keep
            enis[name] = replace(eni, wanted=max(keep, eni.granted), misasked=False)


KINDS: Final[tuple[dict[str, Any], ...]] = (
    {"ready": True},
    {"ready": True},
    {"ready": False},
    {"deleting": True},
    {"broken": True},
    {"retiring": True, "ready": True, "all_asked": True},
    {"retiring": True, "stuck": True, "all_asked": True},
    {"inactive": True},
    {"stuck": True},
    {"no_slot": True},
    {"refused": True, "ready": True},
    {"refused": True, "ready": True, "scarce": True},
)


@st.composite
def some_eni(draw: st.DrawFn, name: str) -> tuple[ENIState, int]:
    """Return an ENI, and how many of its free addresses are to leave it."""
    kind = draw(st.sampled_from(KINDS))
    addresses = draw(st.integers(1, 4))
    granted = draw(st.integers(0, addresses))
    cooling = draw(st.integers(0, min(1, addresses - granted)))
    leaving = draw(st.integers(0, min(2, addresses - granted)))
    claimed = draw(st.integers(0, 2))
    wanted = draw(st.integers(max(1, granted), 5))
    unasked = wanted > addresses - min(leaving, addresses - 1)
    eni = ENIState(
        name,
        addresses,
        releasing=draw(st.integers(0, 1)),
        granted=granted,
        cooling=cooling,
        wanted=wanted,
        claimed=claimed,
        awaited=draw(st.integers(0, claimed)),
        misasked=draw(st.booleans()) or (leaving > 0 and unasked),
        all_leave=leaving == addresses,
        lacking_seconds=draw(st.sampled_from((0.0, 20.0, 90.0))),
        stalled_seconds=draw(st.sampled_from((0.0, 700.0, 4000.0))),
        idle_seconds=draw(st.sampled_from((None, 1000.0))) if not granted + cooling else None,
    )
    eni = replace(eni, **kind)
    if eni.refused and (eni.wanted or 0) <= addresses:
        eni = replace(eni, refused=False, scarce=False)
    return eni, leaving


@st.composite
def some_node(draw: st.DrawFn) -> Limited:
    enis = [draw(some_eni(name)) for name in NAMES[: draw(st.integers(1, 3))]]
    states = tuple(eni for eni, _ in enis)
    held = NodeState("n1", states).counted
    least = draw(st.integers(0, 2))
    policy = SizingPolicy(
        addresses_per_eni=draw(st.integers(1, 4)),
        max_enis=draw(st.integers(1, 3)),
        min_available=least,
        max_available=draw(st.one_of(st.none(), st.integers(least, 3))),
        max_addresses=draw(st.one_of(st.none(), st.integers(max(1, held - 2), held + 2))),
        reclaim_after=draw(st.sampled_from((None, 900.0))),
        elastic=draw(st.sampled_from((True, True, True, False))),
    )
    node = NodeState(
        "n1",
        states,
        waiting=draw(st.integers(0, 2)),
        max_pods=draw(st.sampled_from((3, 110))),
        cordoned=draw(st.booleans()),
        expected=draw(st.integers(0, 2)),
        peak=draw(st.one_of(st.none(), st.integers(0, 6))),
        alternative=draw(st.sampled_from((NOTHING, frozenset({"other"})))),
    )
    most = draw(st.one_of(st.none(), st.integers(max(0, held - 2), held + 2)))
    return Limited(
        node,
        policy,
        Limits(max_addresses=most),
        kept=draw(st.integers(0, 1)),
        leaving=tuple(leaving for _, leaving in enis),
        refused=draw(some_names()),
        hindered=draw(some_names()),
        scarce=draw(some_names()),
    )


def some_names() -> st.SearchStrategy[frozenset[str]]:
    every = frozenset({*NAMES, NEW})
    return st.one_of(
        st.just(NOTHING), st.just(every), st.frozensets(st.sampled_from(sorted(every)))
    )


@given(some_node())
def test_what_is_planned_comes_to_an_end(found: Limited) -> None:
    settles(found)


@given(some_node())
def test_what_the_cloud_refuses_is_not_asked_for_by_turns(found: Limited) -> None:
    is_quiet(found)


@pytest.mark.exhaustive
@settings(max_examples=20_000)
@given(some_node())
def test_what_is_planned_comes_to_an_end_many(found: Limited) -> None:
    settles(found)


@pytest.mark.exhaustive
@settings(max_examples=5_000)
@given(some_node())
def test_what_the_cloud_refuses_is_not_asked_for_by_turns_many(found: Limited) -> None:
    is_quiet(found)


@pytest.mark.parametrize("scarce", [NOTHING, frozenset(NAMES)])
def test_for_pods_that_may_come_back_nobody_ends_what_others_ask_for(
    scarce: frozenset[str],
) -> None:
    """The one that claims their addresses would be the oldest, and end its own request again."""
    a = ENIState("a", 1, granted=1, ready=True, wanted=2, claimed=2, refused=True)
    a = replace(a, lacking_seconds=90.0, scarce=bool(scarce))
    b = replace(a, name="b", claimed=0, lacking_seconds=70.0)
    policy = SizingPolicy(2, 2, 1, max_addresses=4, elastic=True)
    every = frozenset(NAMES)
    world = Limited(NodeState("n1", (a, b)), policy, Limits(), 0, (0, 0), every, every, scarce)
    settles(world)
    is_quiet(world)


def test_an_old_request_gives_way_in_a_full_pool_once() -> None:
    """Of a pool that holds more than it may, it gives back the excess, then what pods wait for."""
    a = ENIState("a", 1, cooling=1, ready=True, wanted=1, claimed=1, awaited=1)
    b = ENIState("b", 1, cooling=1, ready=True, wanted=3, refused=True, lacking_seconds=20.0)
    node = NodeState("n1", (a, b), max_pods=3)
    policy, limits = SizingPolicy(1, 1, 0, elastic=True), Limits(max_addresses=3)
    found = Limited(node, policy, limits, 0, (0, 0), NOTHING, NOTHING, NOTHING)
    is_quiet(found)
    for _ in range(SECONDS):
        found = found.planned().later(1.0)
    assert [e.wanted for e in found.node.enis] == [2, 1]


def settles(found: Limited) -> None:
    seen = [found]
    for _ in range(ROUNDS):
        after = seen[-1].planned()
        if after == seen[-1]:
            return
        assert after not in seen
        seen.append(after)
    raise AssertionError(seen)


def is_quiet(found: Limited) -> None:
    """Look once a second: after a minute of refusals one request may take another one's place.

    What is given back before that, perhaps in several looks, costs the cloud no call.
    """
    requests = 0
    for second in range(SECONDS):
        after = found.planned()
        requests += second >= ROUNDS and asks_for_more(found.node, after.node)
        found = after.later(1.0)
    assert requests < 3


def asks_for_more(before: NodeState, after: NodeState) -> bool:
    asked = {e.name: e.asked for e in before.enis if e.usable}
    return any(e.asked > asked.get(e.name, 0) for e in after.enis if e.usable)


def test_of_two_idle_enis_none_is_retired_before_the_other_is_asked_for_what_leaves_it() -> None:
    """Else they would be retired by turns: the one that stays has too few then."""
    idle = ENIState("a", 2, ready=True, idle_seconds=1000.0, wanted=1)
    node = NodeState("n1", (idle, replace(idle, name="b", wanted=2, misasked=True)))
    policy = SizingPolicy(1, 1, 2, reclaim_after=900.0, elastic=True)
    settles(Limited(node, policy, Limits(), 0, (1, 1), NOTHING, NOTHING, NOTHING))
