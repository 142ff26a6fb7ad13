"""Sizing: enough for waiting pods, never above a limit, never growing and shrinking at once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.sizing.demand import (
    needed_addresses,
    target_addresses,
)
from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.stalls import STUCK_SECONDS
from openeni_operator.sizing.state import (
    CreateENI,
    DeleteENI,
    ENIState,
    NodeState,
    RetireENI,
    SizingPolicy,
    UnretireENI,
)

POLICY = SizingPolicy(addresses_per_eni=3, max_enis=4, min_available=1, reclaim_after=60)


@st.composite
def eni_states(draw: st.DrawFn) -> ENIState:
    addresses = draw(st.integers(1, 8))
    granted = draw(st.integers(0, addresses))
    ready, retiring = draw(st.booleans()), draw(st.booleans())
    stuck = not ready and draw(st.booleans())
    return ENIState(
        name="",
        addresses=addresses,
        granted=granted,
        cooling=draw(st.integers(0, addresses - granted)),
        ready=ready,
        retiring=retiring,
        parked=not (ready or retiring) and draw(st.booleans()),
        all_asked=draw(st.booleans()),
        all_retired=draw(st.booleans()),
        deleting=draw(st.booleans()),
        orphaned=draw(st.booleans()),
        broken=draw(st.booleans()),
        no_slot=draw(st.booleans()),
        stuck=stuck,
        stalled_seconds=draw(st.floats(STUCK_SECONDS, 4000)) if stuck else 0.0,
        exhausted=draw(st.booleans()),
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
        missing=draw(st.booleans()),
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
    held = sum(e.addresses for e in node.enis)  # those that retire, too
    for action in plan(node, policy).actions:
        if isinstance(action, CreateENI):
            assert len(node.enis) < policy.max_enis
            assert 1 <= action.addresses <= policy.addresses_per_eni
            assert policy.max_addresses is None or held + action.addresses <= policy.max_addresses
            assert node.can_create
            assert node.selected
            assert not node.missing
            assert not any(e.no_slot for e in node.enis if e.usable)
            unready = [e for e in node.enis if e.usable and not e.ready]
            assert len(unready) <= 1
            assert all(e.stuck for e in unready)


@given(nodes(), policies)
def test_an_eni_is_deleted_only_when_no_address_of_it_can_be_granted(
    node: NodeState, policy: SizingPolicy
) -> None:
    by_name = {e.name: e for e in node.enis}
    for action in plan(node, policy).actions:
        if isinstance(action, DeleteENI):
            eni = by_name[action.eni]
            assert eni.orphaned or eni.exhausted or eni.all_retired
            assert eni.orphaned or not node.missing
            assert not eni.deleting


@given(nodes(), policies)
def test_only_an_eni_that_is_not_needed_is_retired(node: NodeState, policy: SizingPolicy) -> None:
    node = replace(node, selected=True)
    by_name = {e.name: e for e in node.enis}
    asked = [by_name[a.eni] for a in plan(node, policy).actions if isinstance(a, RetireENI)]
    good = [eni for eni in asked if not (eni.broken or eni.retiring)]
    for eni in good:
        assert eni.usable
        assert eni.idle_seconds is not None or eni.no_slot or eni.stuck
        have = sum(e.capacity for e in node.enis)
        assert have - eni.capacity >= target_addresses(node, policy)
    assert len(good) <= 1


@given(nodes(), policies)
def test_a_retirement_is_withdrawn_before_another_eni_is_created(
    node: NodeState, policy: SizingPolicy
) -> None:
    actions = plan(node, policy).actions
    retiring = [
        e
        for e in node.enis
        if e.retiring
        and not (e.deleting or e.orphaned or e.broken or e.no_slot)
        and (e.granted or not e.stuck)
    ]
    if any(isinstance(a, CreateENI) for a in actions):
        assert not retiring
    for action in actions:
        if isinstance(action, UnretireENI):
            assert action.eni in {e.name for e in retiring}
            assert DeleteENI(action.eni) not in actions
            assert RetireENI(action.eni) not in actions


@given(nodes(), policies)
def test_a_missing_node_loses_nothing_but_what_has_no_server(
    node: NodeState, policy: SizingPolicy
) -> None:
    planned = plan(replace(node, missing=True), policy)
    gone = [DeleteENI(e.name) for e in node.enis if e.orphaned and not e.deleting]
    assert list(planned.actions) == gone


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
    served = enough and have >= needed_addresses(node)
    assert plan(node, policy).limit_reached == (not served and waiting > 0)


@given(nodes(), policies)
def test_a_plan_never_creates_and_retires_at_once(node: NodeState, policy: SizingPolicy) -> None:
    healthy = tuple(replace(e, broken=False, retiring=False) for e in node.enis)
    actions = plan(replace(node, enis=healthy, selected=True), policy).actions
    assert not {CreateENI, RetireENI} <= {type(a) for a in actions}


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
                (
                    ENIState("a", 3, ready=True),
                    ENIState("b", 3, ready=True, retiring=True, all_asked=True, all_retired=True),
                ),
                can_create=False,
            ),
            [DeleteENI("b")],
            id="a retired ENI without grants is deleted",
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3, ready=True, retiring=True, all_retired=True),)),
            [UnretireENI("a")],
            id="unless the node needs it again",
        ),
        pytest.param(
            NodeState(
                "n1",
                (
                    ENIState("a", 3, ready=True),
                    ENIState("b", 3, granted=1, ready=True, retiring=True, all_asked=True),
                ),
            ),
            [UnretireENI("b")],
            id="or a pod got an address of it while the request was on its way",
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3), ENIState("b", 3, retiring=True, all_asked=False))),
            [RetireENI("b")],
            id="an address that was added meanwhile is asked for, too",
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3, granted=1, ready=False, broken=True),)),
            [RetireENI("a"), CreateENI("n1", 3)],
            id="an ENI whose port was changed is replaced",
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3, no_slot=True),), waiting=1),
            [],
            id="a server without a slot gets no other ENI",
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3, exhausted=True),)),
            [DeleteENI("a")],
            id="an ENI whose subnet is exhausted is replaced by one in another subnet",
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3, granted=1, ready=True),), selected=False),
            [RetireENI("a")],
            id="an ENI of a deleted pool is retired first",
        ),
        pytest.param(
            NodeState(
                "n1",
                (ENIState("a", 3, granted=1, ready=True, retiring=True, all_asked=True),),
                selected=False,
            ),
            [],
            id="and kept while a pod holds an address",
        ),
        pytest.param(
            NodeState("n1", (ENIState("a", 3, granted=1, orphaned=True),), missing=True),
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
