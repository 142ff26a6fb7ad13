"""Sizing: never below what waiting pods need, never above a limit, never back and forth."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.enipool.demand import Load, wanted
from openeni_operator.enipool.plan import (
    CreateENI,
    DeleteENI,
    Held,
    Limits,
    NodeState,
    RetireENI,
    plan,
    target_of,
)

LIMITS = Limits(addresses_per_eni=3, max_enis=4, min_available=1, idle=60)


@pytest.mark.parametrize(
    ("load", "minimum", "pods", "limit", "expected"),
    [
        pytest.param(Load(), 2, 110, None, 2, id="an empty node keeps the minimum"),
        pytest.param(Load(waiting=3), 2, 110, None, 5, id="one for each waiting pod on top"),
        pytest.param(Load(3, 4, 5), 2, 110, None, 14, id="addresses that rest are missing"),
        pytest.param(Load(0, 9), 5, 10, None, 10, id="no more than the node may run pods"),
        pytest.param(Load(0, 9, 4), 5, 10, None, 14, id="but those that rest come on top"),
        pytest.param(Load(0, 12), 2, 10, None, 12, id="what is granted stays granted"),
        pytest.param(Load(5, 5, 5), 5, 110, 8, 8, id="the pool's own limit is the last word"),
        pytest.param(Load(), 0, 110, None, 0, id="nothing is wanted of nobody"),
    ],
)
def test_a_node_should_hold(
    load: Load, minimum: int, pods: int, limit: int | None, expected: int
) -> None:
    assert wanted(load, minimum, pods, limit) == expected


@st.composite
def helds(draw: st.DrawFn) -> Held:
    addresses = draw(st.integers(1, 8))
    granted = draw(st.integers(0, addresses))
    return Held(
        name="",
        addresses=addresses,
        granted=granted,
        cooling=draw(st.integers(0, addresses - granted)),
        ready=draw(st.booleans()),
        retiring=draw(st.booleans()),
        released=draw(st.booleans()),
        deleting=draw(st.booleans()),
        stranded=draw(st.booleans()),
        idle=None if granted else draw(st.none() | st.floats(0, 200)),
    )


@st.composite
def nodes(draw: st.DrawFn) -> NodeState:
    held = draw(st.lists(helds(), max_size=4))
    return NodeState(
        name="n1",
        held=tuple(replace(h, name=f"pods-n1-{i}") for i, h in enumerate(held)),
        waiting=draw(st.integers(0, 12)),
        pods=draw(st.integers(1, 120)),
        stays=draw(st.booleans()),
        serves=draw(st.booleans()),
    )


limits = st.builds(
    Limits,
    addresses_per_eni=st.integers(1, 8),
    max_enis=st.integers(1, 4),
    min_available=st.integers(0, 6),
    max_available=st.none() | st.integers(0, 10),
    max_addresses=st.none() | st.integers(1, 30),
    idle=st.none() | st.floats(0, 100),
)


@given(nodes(), limits)
def test_no_limit_is_ever_passed(node: NodeState, limits: Limits) -> None:
    have = sum(h.addresses for h in node.held if h.usable)
    for action in plan(node, limits).actions:
        if isinstance(action, CreateENI):
            assert len(node.held) < limits.max_enis
            assert 1 <= action.addresses <= limits.addresses_per_eni
            assert limits.max_addresses is None or have + action.addresses <= limits.max_addresses
            assert node.serves
            assert node.stays
            assert all(h.ready for h in node.held if h.usable)


@given(nodes(), limits)
def test_an_eni_is_deleted_only_when_no_address_of_it_can_be_granted(
    node: NodeState, limits: Limits
) -> None:
    by_name = {h.name: h for h in node.held}
    for action in plan(node, limits).actions:
        if isinstance(action, DeleteENI):
            held = by_name[action.eni]
            assert held.stranded or held.released
            assert not held.deleting


@given(nodes(), limits)
def test_an_eni_goes_for_a_reason_and_leaves_enough(node: NodeState, limits: Limits) -> None:
    node = replace(node, stays=True)
    by_name = {h.name: h for h in node.held}
    retired = [by_name[a.eni] for a in plan(node, limits).actions if isinstance(a, RetireENI)]
    for held in retired:
        assert held.usable
        assert held.idle is not None
        have = sum(h.addresses for h in node.held if h.usable)
        assert have - held.addresses >= target_of(node, limits)
    assert len(retired) <= 1


@given(st.integers(0, 40), limits)
def test_a_node_gets_what_it_needs_and_then_rests(waiting: int, limits: Limits) -> None:
    """Obeying the plan, with every ENI ready at once, ends in enough addresses or at a limit."""
    node = NodeState("n1", waiting=waiting)
    for turn in range(limits.max_enis + 1):
        planned = plan(node, limits)
        if not planned.actions:
            break
        (action,) = planned.actions
        assert isinstance(action, CreateENI)
        made = Held(f"pods-n1-{turn}", action.addresses, ready=True, idle=0.0)
        node = replace(node, held=(*node.held, made))
    assert plan(node, limits).actions == ()
    have = sum(h.addresses for h in node.held)
    enough = have >= target_of(node, limits)
    assert enough or len(node.held) == limits.max_enis or have == limits.max_addresses
    assert plan(node, limits).short == (not enough and waiting > 0)


@given(nodes(), limits)
def test_growing_and_shrinking_never_meet(node: NodeState, limits: Limits) -> None:
    kinds = {type(a) for a in plan(replace(node, stays=True), limits).actions}
    assert not {CreateENI, RetireENI} <= kinds


@pytest.mark.parametrize(
    ("node", "actions"),
    [
        pytest.param(NodeState("n1"), [CreateENI("n1", 3)], id="a new node gets its first ENI"),
        pytest.param(NodeState("n1", serves=False), [], id="a node without an agent waits"),
        pytest.param(
            NodeState("n1", (Held("a", 3),), waiting=9), [], id="one ENI is made at a time"
        ),
        pytest.param(
            NodeState("n1", (Held("a", 3, granted=3, ready=True),), waiting=1),
            [CreateENI("n1", 3)],
            id="a full ENI and a waiting pod bring another",
        ),
        pytest.param(
            NodeState("n1", (Held("a", 3, ready=True), Held("b", 3, ready=True, idle=60))),
            [RetireENI("b")],
            id="an ENI that was idle for long enough is asked back",
        ),
        pytest.param(
            NodeState("n1", (Held("a", 3, ready=True), Held("b", 3, ready=True, idle=59))),
            [],
            id="an ENI that was not idle for long enough stays",
        ),
        pytest.param(
            NodeState(
                "n1", (Held("a", 3, ready=True, retiring=True, released=True),), serves=False
            ),
            [DeleteENI("a")],
            id="an ENI that has given up every address is deleted",
        ),
        pytest.param(
            NodeState("n1", (Held("a", 3, granted=1, ready=True),), stays=False),
            [RetireENI("a")],
            id="an ENI of a pool that goes is asked back first",
        ),
        pytest.param(
            NodeState("n1", (Held("a", 3, granted=1, ready=True, retiring=True),), stays=False),
            [],
            id="and waited for as long as a pod holds an address",
        ),
        pytest.param(
            NodeState("n1", (Held("a", 3, granted=1, stranded=True),), stays=False),
            [DeleteENI("a")],
            id="an ENI whose node is gone is deleted at once",
        ),
    ],
)
def test_the_plan(node: NodeState, actions: list[object]) -> None:
    assert list(plan(node, LIMITS).actions) == actions


def test_too_many_free_addresses_go_back_without_waiting() -> None:
    held = (Held("a", 3, ready=True, idle=0), Held("b", 3, ready=True, idle=0))
    limits = replace(LIMITS, max_available=4, idle=None)
    assert plan(NodeState("n1", held), limits).actions == (RetireENI("b"),)
