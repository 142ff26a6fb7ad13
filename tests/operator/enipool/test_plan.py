"""Sizing: enough for waiting pods, never above a limit, never growing and shrinking at once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.enipool.demand import NodeUsage, desired_addresses
from openeni_operator.enipool.plan import (
    CreateENI,
    DeleteENI,
    ENIState,
    NodeState,
    RetireENI,
    SizingPolicy,
    plan,
    target_addresses,
)

POLICY = SizingPolicy(addresses_per_eni=3, max_enis=4, min_available=1, reclaim_after=60)


@pytest.mark.parametrize(
    ("usage", "minimum", "max_pods", "limit", "expected"),
    [
        pytest.param(NodeUsage(), 2, 110, None, 2, id="an empty node keeps the minimum"),
        pytest.param(NodeUsage(waiting=3), 2, 110, None, 5, id="one more for each waiting pod"),
        pytest.param(NodeUsage(3, 4, 5), 2, 110, None, 14, id="cooling addresses cannot be used"),
        pytest.param(NodeUsage(0, 9), 5, 10, None, 10, id="no more than the node may run pods"),
        pytest.param(
            NodeUsage(0, 9, 4), 5, 10, None, 14, id="cooling addresses come on top of that"
        ),
        pytest.param(
            NodeUsage(0, 12), 2, 10, None, 12, id="granted addresses are never taken away"
        ),
        pytest.param(NodeUsage(5, 5, 5), 5, 110, 8, 8, id="the pool's limit caps everything"),
        pytest.param(NodeUsage(), 0, 110, None, 0, id="no demand, no addresses"),
    ],
)
def test_desired_addresses(
    usage: NodeUsage, minimum: int, max_pods: int, limit: int | None, expected: int
) -> None:
    assert desired_addresses(usage, minimum, max_pods, limit) == expected


@st.composite
def eni_states(draw: st.DrawFn) -> ENIState:
    addresses = draw(st.integers(1, 8))
    granted = draw(st.integers(0, addresses))
    return ENIState(
        name="",
        addresses=addresses,
        granted=granted,
        cooling=draw(st.integers(0, addresses - granted)),
        ready=draw(st.booleans()),
        retiring=draw(st.booleans()),
        all_retired=draw(st.booleans()),
        deleting=draw(st.booleans()),
        orphaned=draw(st.booleans()),
        idle_seconds=None if granted else draw(st.none() | st.floats(0, 200)),
    )


@st.composite
def nodes(draw: st.DrawFn) -> NodeState:
    enis = draw(st.lists(eni_states(), max_size=4))
    return NodeState(
        name="n1",
        enis=tuple(replace(e, name=f"pods-n1-{i}") for i, e in enumerate(enis)),
        waiting=draw(st.integers(0, 12)),
        max_pods=draw(st.integers(1, 120)),
        selected=draw(st.booleans()),
        can_create=draw(st.booleans()),
    )


policies = st.builds(
    SizingPolicy,
    addresses_per_eni=st.integers(1, 8),
    max_enis=st.integers(1, 4),
    min_available=st.integers(0, 6),
    max_available=st.none() | st.integers(0, 10),
    max_addresses=st.none() | st.integers(1, 30),
    reclaim_after=st.none() | st.floats(0, 100),
)


@given(nodes(), policies)
def test_no_limit_is_ever_exceeded(node: NodeState, policy: SizingPolicy) -> None:
    have = sum(e.addresses for e in node.enis if e.usable)
    for action in plan(node, policy).actions:
        if isinstance(action, CreateENI):
            assert len(node.enis) < policy.max_enis
            assert 1 <= action.addresses <= policy.addresses_per_eni
            assert policy.max_addresses is None or have + action.addresses <= policy.max_addresses
            assert node.can_create
            assert node.selected
            assert all(e.ready for e in node.enis if e.usable)


@given(nodes(), policies)
def test_an_eni_is_deleted_only_when_no_address_of_it_can_be_granted(
    node: NodeState, policy: SizingPolicy
) -> None:
    by_name = {e.name: e for e in node.enis}
    for action in plan(node, policy).actions:
        if isinstance(action, DeleteENI):
            eni = by_name[action.eni]
            assert eni.orphaned or eni.all_retired
            assert not eni.deleting


@given(nodes(), policies)
def test_only_an_idle_eni_is_retired_and_the_others_hold_enough(
    node: NodeState, policy: SizingPolicy
) -> None:
    node = replace(node, selected=True)
    by_name = {e.name: e for e in node.enis}
    retired = [by_name[a.eni] for a in plan(node, policy).actions if isinstance(a, RetireENI)]
    for eni in retired:
        assert eni.usable
        assert eni.idle_seconds is not None
        have = sum(e.addresses for e in node.enis if e.usable)
        assert have - eni.addresses >= target_addresses(node, policy)
    assert len(retired) <= 1


@given(st.integers(0, 40), policies)
def test_a_node_grows_to_its_target_or_a_limit_and_then_stops(
    waiting: int, policy: SizingPolicy
) -> None:
    """Execute the plan repeatedly, with every new ENI ready at once."""
    node = NodeState("n1", waiting=waiting)
    for index in range(policy.max_enis + 1):
        planned = plan(node, policy)
        if not planned.actions:
            break
        (action,) = planned.actions
        assert isinstance(action, CreateENI)
        created = ENIState(f"pods-n1-{index}", action.addresses, ready=True, idle_seconds=0.0)
        node = replace(node, enis=(*node.enis, created))
    assert plan(node, policy).actions == ()
    have = sum(e.addresses for e in node.enis)
    enough = have >= target_addresses(node, policy)
    assert enough or len(node.enis) == policy.max_enis or have == policy.max_addresses
    assert plan(node, policy).limit_reached == (not enough and waiting > 0)


@given(nodes(), policies)
def test_a_plan_never_creates_and_retires_at_once(node: NodeState, policy: SizingPolicy) -> None:
    kinds = {type(a) for a in plan(replace(node, selected=True), policy).actions}
    assert not {CreateENI, RetireENI} <= kinds


@pytest.mark.parametrize(
    ("node", "actions"),
    [
        pytest.param(NodeState("n1"), [CreateENI("n1", 3)], id="a new node gets its first ENI"),
        pytest.param(NodeState("n1", can_create=False), [], id="a node without an agent waits"),
        pytest.param(
            NodeState("n1", (ENIState("a", 3),), waiting=9), [], id="one ENI is created at a time"
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3, granted=3, ready=True),), waiting=1),
            [CreateENI("n1", 3)],
            id="a full ENI and a waiting pod lead to another",
        ),
        pytest.param(
            NodeState(
                "n1", (ENIState("a", 3, ready=True), ENIState("b", 3, ready=True, idle_seconds=60))
            ),
            [RetireENI("b")],
            id="an ENI idle for long enough is retired",
        ),
        pytest.param(
            NodeState(
                "n1", (ENIState("a", 3, ready=True), ENIState("b", 3, ready=True, idle_seconds=59))
            ),
            [],
            id="an ENI not yet idle for long enough stays",
        ),
        pytest.param(
            NodeState(
                "n1",
                (ENIState("a", 3, ready=True, retiring=True, all_retired=True),),
                can_create=False,
            ),
            [DeleteENI("a")],
            id="a retired ENI without grants is deleted",
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3, granted=1, ready=True),), selected=False),
            [RetireENI("a")],
            id="an ENI of a deleted pool is retired first",
        ),
        pytest.param(
            NodeState(
                "n1", (ENIState("a", 3, granted=1, ready=True, retiring=True),), selected=False
            ),
            [],
            id="and kept while a pod holds an address",
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3, granted=1, orphaned=True),), selected=False),
            [DeleteENI("a")],
            id="an ENI whose node is gone is deleted at once",
        ),
    ],
)
def test_the_plan(node: NodeState, actions: list[object]) -> None:
    assert list(plan(node, POLICY).actions) == actions


def test_surplus_addresses_are_reclaimed_before_reclaim_after() -> None:
    enis = (
        ENIState("a", 3, ready=True, idle_seconds=0),
        ENIState("b", 3, ready=True, idle_seconds=0),
    )
    policy = replace(POLICY, max_available=4, reclaim_after=None)
    assert plan(NodeState("n1", enis), policy).actions == (RetireENI("b"),)
