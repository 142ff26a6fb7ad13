"""Elastic nodes: they converge under constant demand, within every limit, and then rest."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.sizing.demand import full_addresses, needed_addresses, target_addresses
from openeni_operator.sizing.limits import PoolBudget
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

POLICY = SizingPolicy(8, 3, 2, reclaim_after=60, elastic=True)
STEPS = 60


@st.composite
def elastic_enis(draw: st.DrawFn) -> ENIState:
    addresses, wanted = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    granted = draw(st.integers(0, min(addresses, wanted)))
    cooling = draw(st.integers(0, min(addresses, wanted) - granted))
    claimed = draw(st.integers(0, 2))
    ready = draw(st.booleans())
    stuck = not ready and draw(st.booleans())
    refused = draw(st.booleans())
    return ENIState(
        name="",
        addresses=addresses,
        releasing=draw(st.integers(0, 2)),
        granted=granted,
        cooling=cooling,
        ready=ready,
        stuck=stuck,
        stalled_seconds=draw(st.floats(600, 4000)) if stuck else 0.0,
        retiring=draw(st.booleans()),
        wanted=wanted,
        misasked=draw(st.booleans()),
        refused=refused,
        scarce=refused and draw(st.booleans()),
        lacking_seconds=draw(st.floats(0, 100)),
        claimed=claimed,
        awaited=draw(st.integers(0, claimed)),
        room=draw(st.sampled_from([0, 1, 2**31])),
        idle_seconds=None if granted else draw(st.none() | st.floats(0, 200)),
    )


@st.composite
def nodes(draw: st.DrawFn) -> NodeState:
    enis = draw(st.lists(elastic_enis(), max_size=3))
    return NodeState(
        name="n1",
        enis=tuple(replace(e, name=f"pods-n1-{i}") for i, e in enumerate(enis)),
        waiting=draw(st.integers(0, 12)),
        max_pods=draw(st.integers(1, 120)),
        cordoned=draw(st.booleans()),
        expected=draw(st.integers(0, 9)),
        peak=draw(st.none() | st.integers(0, 30)),
        alternative=draw(st.sampled_from((frozenset[str](), frozenset({"other"})))),
    )


@st.composite
def policies(draw: st.DrawFn) -> SizingPolicy:
    low = draw(st.integers(0, 6))
    return SizingPolicy(
        addresses_per_eni=draw(st.integers(1, 8)),
        max_enis=draw(st.integers(1, 4)),
        min_available=low,
        max_available=draw(st.none() | st.integers(low, 10)),
        max_addresses=draw(st.none() | st.integers(1, 30)),
        reclaim_after=draw(st.none() | st.floats(1, 100)),
        elastic=True,
    )


def executed(node: NodeState, actions: tuple[Action, ...]) -> NodeState:
    """Return the node once the cloud and the agent have done all that the actions ask for.

    The cloud gives no ENI what is claimed for certain pods: others have it.
    """
    enis = {e.name: replace(e, misasked=False) for e in node.enis}
    for action in actions:
        match action:
            case CreateENI(_, addresses):
                name = f"pods-n1-{len(enis)}x"
                enis[name] = ENIState(
                    name, addresses, ready=True, wanted=addresses, idle_seconds=0.0
                )
            case GrowENI(name, count) | RetireAddresses(name, count):
                eni = enis[name]
                missing = min(eni.claimed, max(0, count - eni.addresses))
                enis[name] = replace(
                    eni,
                    addresses=count - missing,
                    wanted=count,
                    releasing=0,
                    refused=False,
                    scarce=False,
                )
            case RetireENI(name):
                enis[name] = replace(enis[name], retiring=True, all_asked=True, all_retired=True)
            case UnretireENI(name):
                enis[name] = replace(enis[name], retiring=False, all_asked=False, all_retired=False)
            case DeleteENI(name):
                del enis[name]
    return replace(node, enis=tuple(enis.values()))


def settled(node: NodeState, policy: SizingPolicy) -> NodeState:
    """Return the node as it is when the cloud refuses nothing and has let everything be done."""
    enis = tuple(
        replace(
            e,
            addresses=e.count,
            refused=False,
            scarce=False,
            room=2**31,
            ready=True,
            stuck=False,
            retiring=False,
        )
        for e in node.enis
    )
    node = replace(node, enis=enis)
    return replace(node, peak=full_addresses(node, policy))


@given(nodes(), policies())
def test_constant_demand_leads_to_a_node_that_nothing_changes(
    node: NodeState, policy: SizingPolicy
) -> None:
    node = settled(node, policy)
    for _ in range(STEPS):
        node = executed(node, plan(node, policy).actions)
    assert plan(node, policy).actions == ()
    have = sum(e.capacity for e in node.enis)
    at_limit = (
        len(node.enis) >= policy.max_enis
        and all(e.count >= policy.addresses_per_eni for e in node.enis)
    ) or sum(e.held for e in node.enis) >= (policy.max_addresses or 2**31)
    assert at_limit or have >= target_addresses(node, policy)


@given(nodes(), policies())
def test_growth_never_exceeds_a_limit(node: NodeState, policy: SizingPolicy) -> None:
    before = {e.name: e for e in node.enis}
    actions = plan(node, policy).actions
    more = 0
    for action in actions:
        if isinstance(action, GrowENI):
            eni = before[action.eni]
            assert eni.usable
            assert not (eni.refused or eni.stuck) or eni.claimed
            most = max(policy.addresses_per_eni, eni.addresses + eni.claimed)
            assert eni.count < action.addresses <= most
            more += max(0, action.addresses - eni.held)
        if isinstance(action, CreateENI):
            assert len(node.enis) < policy.max_enis
            assert 1 <= action.addresses <= policy.addresses_per_eni
            more += action.addresses
    if more and policy.max_addresses is not None:
        assert sum(e.held for e in node.enis) + more <= policy.max_addresses


@given(nodes(), policies())
def test_no_address_in_use_is_asked_for(node: NodeState, policy: SizingPolicy) -> None:
    by_name = {e.name: e for e in node.enis}
    spare = sum(e.capacity for e in node.enis) - target_addresses(node, policy)
    for action in plan(node, policy).actions:
        if isinstance(action, RetireAddresses):
            eni = by_name[action.eni]
            assert action.keep >= min(eni.count, max(1, eni.granted + eni.cooling))
            spare -= eni.count - action.keep
    assert spare >= 0 or not any(
        isinstance(a, RetireAddresses) and a.keep < by_name[a.eni].count
        for a in plan(node, policy).actions
    )


@given(nodes(), policies())
def test_an_eni_is_touched_once(node: NodeState, policy: SizingPolicy) -> None:
    actions = plan(node, policy).actions
    touched = [a.eni for a in actions if not isinstance(a, CreateENI)]
    assert len(touched) == len(set(touched))


@given(nodes(), policies())
def test_a_cordoned_node_gets_only_what_its_pods_need(
    node: NodeState, policy: SizingPolicy
) -> None:
    node = settled(replace(node, cordoned=True), policy)
    before = sum(e.capacity for e in node.enis)
    for _ in range(STEPS):
        node = executed(node, plan(node, policy).actions)
    grown = sum(e.capacity for e in node.enis)
    needed = needed_addresses(node)
    assert grown <= max(before, needed)


@given(nodes(), policies(), st.integers(0, 20))
def test_a_pools_budget_is_kept(node: NodeState, policy: SizingPolicy, left: int) -> None:
    budget = PoolBudget(None, left)
    before = sum(e.held for e in node.enis)
    allowed = (budget.allow(a, node) for a in plan(node, policy).actions)
    grown = [a for a in allowed if isinstance(a, CreateENI | GrowENI)]
    after = sum(e.held for e in executed(node, tuple(grown)).enis)
    assert after - before <= left


def an_eni(name: str, addresses: int, granted: int = 0, **other: object) -> ENIState:
    values: dict[str, Any] = {"ready": True, "wanted": addresses, **other}
    return replace(ENIState(name, addresses, granted=granted), **values)


A, B = an_eni("a", 4, 4), an_eni("b", 2, 2)


@pytest.mark.parametrize(
    ("node", "actions"),
    [
        pytest.param(NodeState("n1", (A, B)), [GrowENI("a", 8)], id="as few ENIs as possible"),
        pytest.param(
            NodeState("n1", (replace(A, ready=False), B)),
            [GrowENI("b", 6)],
            id="first the one that can serve pods",
        ),
        pytest.param(
            NodeState("n1", (A, replace(B, addresses=4, wanted=2))),
            [GrowENI("b", 6)],
            id="first the one whose addresses are still there",
        ),
        pytest.param(
            NodeState("n1", (replace(A, room=1), B)),
            [GrowENI("a", 5), GrowENI("b", 5)],
            id="no more than the subnet has",
        ),
        pytest.param(
            NodeState("n1", (replace(A, room=0),)), [GrowENI("a", 8)], id="the cloud says if none"
        ),
        pytest.param(
            NodeState("n1", (replace(A, room=0),), alternative=frozenset({"other"})),
            [CreateENI("n1", 4)],
            id="another ENI where there are some",
        ),
        pytest.param(
            NodeState("n1", (replace(A, wanted=8, refused=True, scarce=True),)),
            [],
            id="no other ENI to be refused the same",
        ),
        pytest.param(
            NodeState("n1", (an_eni("a", 8, 8),), waiting=20), [CreateENI("n1", 8)], id="a full ENI"
        ),
        pytest.param(
            NodeState("n1", (an_eni("a", 8, 8),), waiting=20, no_slot=True),
            [],
            id="and no slot, as another pool has found",
        ),
        pytest.param(
            NodeState("n1", (an_eni("a", 8, 2), an_eni("b", 8, 3)), peak=9),
            [RetireAddresses("b", 3), RetireAddresses("a", 6)],
            id="the newest gives back first",
        ),
        pytest.param(
            NodeState("n1", (an_eni("a", 8, 2), an_eni("b", 4)), peak=8),
            [RetireENI("b")],
            id="a whole ENI rather than addresses",
        ),
        pytest.param(
            NodeState("n1", (an_eni("a", 6, 2, misasked=True),)),
            [RetireAddresses("a", 6)],
            id="a request that is not what it should be",
        ),
        pytest.param(
            NodeState("n1", (an_eni("a", 6, 4),), expected=1),
            [GrowENI("a", 8)],
            id="pods that will come while addresses are being added",
        ),
        pytest.param(
            NodeState("n1", (an_eni("a", 4, 0),), expected=3),
            [],
            id="but none where no pod ever took an address",
        ),
    ],
)
def test_the_plan(node: NodeState, actions: list[Action]) -> None:
    assert list(plan(node, POLICY).actions) == actions
