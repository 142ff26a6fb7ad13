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

ROUNDS: Final = 12  # of planning, in which each ENI may be retired and deleted one after the other


@dataclass(frozen=True)
class Limited:
    """A node, and what its pool may hold."""

    node: NodeState
    policy: SizingPolicy
    limits: Limits
    kept: int  # addresses on their way to the node
    leaving: tuple[int, ...]  # free addresses of the first ENIs that other nodes wait for
    refuses: bool  # the cloud gives no ENI another address
    scarce: bool  # as there are none

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
        if not self.refuses:
            return eni
        refused = eni.usable and eni.asked > eni.addresses + eni.claimed
        seconds = eni.lacking_seconds if refused == eni.refused else 0.0
        eni = replace(eni, refused=refused, scarce=False, lacking_seconds=seconds)
        if refused:
            eni = replace(eni, releasing=0)  # that is done before addresses are added
        # Their subnets count as full for a while.
        return replace(eni, scarce=True, room=0) if refused and self.scarce else eni


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
        lacking_seconds=draw(st.sampled_from((0.0, 90.0))),
        stalled_seconds=draw(st.sampled_from((0.0, 700.0, 4000.0))),
        idle_seconds=draw(st.sampled_from((None, 1000.0))) if not granted + cooling else None,
    )
    eni = replace(eni, **kind)
    if eni.refused and (eni.wanted or 0) <= addresses:
        eni = replace(eni, refused=False, scarce=False)
    return eni, leaving


@st.composite
def some_node(draw: st.DrawFn) -> Limited:
    enis = [draw(some_eni(name)) for name in "abc"[: draw(st.integers(1, 3))]]
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
        other_subnets=draw(st.booleans()),
    )
    most = draw(st.one_of(st.none(), st.integers(max(0, held - 2), held + 2)))
    return Limited(
        node,
        policy,
        Limits(max_addresses=most),
        kept=draw(st.integers(0, 1)),
        leaving=tuple(leaving for _, leaving in enis),
        refuses=draw(st.booleans()),
        scarce=draw(st.booleans()),
    )


@given(some_node())
def test_what_is_planned_comes_to_an_end(found: Limited) -> None:
    settles(found)


@pytest.mark.exhaustive
@settings(max_examples=20_000)
@given(some_node())
def test_what_is_planned_comes_to_an_end_many(found: Limited) -> None:
    settles(found)


def settles(found: Limited) -> None:
    seen = [found]
    for _ in range(ROUNDS):
        after = seen[-1].planned()
        if after == seen[-1]:
            return
        assert after not in seen
        seen.append(after)
    raise AssertionError(seen)


def test_of_two_idle_enis_none_is_retired_before_the_other_is_asked_for_what_leaves_it() -> None:
    """Else they would be retired by turns: the one that stays has too few then."""
    idle = ENIState("a", 2, ready=True, idle_seconds=1000.0, wanted=1)
    node = NodeState("n1", (idle, replace(idle, name="b", wanted=2, misasked=True)))
    policy = SizingPolicy(1, 1, 2, reclaim_after=900.0, elastic=True)
    settles(Limited(node, policy, Limits(), 0, (1, 1), refuses=False, scarce=False))
