"""Model check of the retire protocol: explore every state that operator and agent can reach.

Two addresses; an operator that plans and steps by the real rules on a view that may be outdated;
an agent that keeps to the protocol; delayed status writes; crashes of both at any time; a node that
leaves the pool and comes back; a person who deletes the ENI. In no state may a pod hold an address
whose port is not attached.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import pytest

from openeni_crds.conditions import Reason, Type, condition
from openeni_crds.eni import ENI, ENISpec
from openeni_crds.enipool import Datapath, ENIPool, Mode
from openeni_crds.meta import ObjectMeta, decode
from openeni_crds.status.eni import ENIStatus, NodeStatus, PortStatus, PortSubnet, RetireAnswer
from openeni_operator.cloud.api import ACTIVE, Port
from openeni_operator.eni.facts import Elapsed, Facts
from openeni_operator.eni.lifecycle import next_step
from openeni_operator.eni.port_settings import PortSettings
from openeni_operator.eni.status import in_use
from openeni_operator.eni.steps import DeletePort, DetachPort, RemoveFinalizer, Step
from openeni_operator.eni.timing import CONFIRM_INTERVAL
from openeni_operator.enipool.facts import PoolFacts, SubnetFacts, eni_state
from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.state import (
    Action,
    DeleteENI,
    NodeState,
    RetireENI,
    SizingPolicy,
    UnretireENI,
)
from openeni_testing.objects import pool_body

ADDRESSES = ("10.98.0.3", "10.98.0.4")
SERVER = "server-1"
NOW = "2026-01-01T00:00:00Z"
FACTS = PoolFacts(decode(pool_body("pods"), ENIPool), {}, (), {}, {}, {}, NOW)
LAST_GENERATION = 4
Acks = frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Object:
    """The ENI as the API server holds it."""

    generation: int = 1
    retiring: bool = False
    deleting: bool = False
    acks: Acks = frozenset()
    linked: bool = True


@dataclass(frozen=True)
class State:
    api: Object | None = Object()  # None: the finalizer is removed
    port: str = "attached"  # or "detached", or "deleted"
    operator: Object | None = None  # as the operator last saw it; None: the operator is down
    agent: Object | None = None  # as the agent last saw it; None: the agent is down
    link: bool = True  # the agent uses the NIC
    retired: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()  # in the journal, which outlives the agent
    sent: tuple[Acks, bool] | None = None  # a status write in flight
    selected: bool = True  # the pool selects the node


def body(view: Object) -> ENI:
    """Return the ENI."""
    status = ENIStatus(
        conditions=(condition(Type.LINK_READY, Reason.LINK_UP, status=view.linked),),
        port=PortStatus(
            id="p1",
            name="openeni-c-e",
            mac_address="fa:16:3e:00:00:01",
            revision=1,
            mtu=1450,
            subnets=(PortSubnet("s", "10.98.0.0/22"),),
            primary=("10.98.0.2",),
            addresses=ADDRESSES,
        ),
        node=NodeStatus(retired=tuple(RetireAnswer(a, g) for a, g in sorted(view.acks))),
    )
    spec = ENISpec(
        pool_name="pods",
        node_name="n1",
        server_id=SERVER,
        cloud="default",
        network_id="net",
        subnet_ids=("s",),
        security_group_ids=(),
        datapath=Datapath(Mode.VETH),
        mtu=1450,
        address_count=2,
        retiring=ADDRESSES if view.retiring else (),
    )
    metadata = ObjectMeta(
        name="e", generation=view.generation, deletion_timestamp=NOW if view.deleting else ""
    )
    return ENI(metadata, spec, status)


def operator_steps(state: State) -> Iterator[State]:
    view = state.operator
    if state.api is not None and view != state.api:
        yield replace(state, operator=state.api)
    if view is None:
        return
    yield replace(state, operator=None)
    yield from pool_steps(state, view)
    yield from eni_steps(state, view)


def pool_steps(state: State, view: Object) -> Iterator[State]:
    """Yield what the pool's reconcile does."""
    for action in planned(view, state.selected):
        api = state.api
        if api is None:
            continue
        if isinstance(action, RetireENI | UnretireENI) and api.generation == view.generation:
            asked = isinstance(action, RetireENI)
            yield replace(state, api=replace(api, retiring=asked, generation=api.generation + 1))
        if isinstance(action, DeleteENI):
            yield replace(state, api=deleted(api))


@cache
def planned(view: Object, selected: bool) -> tuple[Action, ...]:
    eni = eni_state(body(view), FACTS, SubnetFacts())
    return plan(NodeState("n1", (eni,), selected=selected), SizingPolicy(2, 1, 1)).actions


def eni_steps(state: State, view: Object) -> Iterator[State]:
    """Yield what the ENI's reconcile does; it always observes the cloud anew."""
    match decided(view, state.port):
        case DetachPort():
            yield replace(state, port="detached")
        case DeletePort():
            yield replace(state, port="deleted")
        case RemoveFinalizer():
            yield replace(state, api=None)
        case _:
            return


@cache
def decided(view: Object, status: str) -> Step:
    eni = body(view)
    server = SERVER if status == "attached" else ""
    port = Port("p1", "openeni-c-e", "net", "fa:16:3e:00:00:01", ACTIVE, device_id=server)
    facts = Facts(
        server_id=SERVER,
        tags=frozenset(),
        settings=PortSettings(),
        deleting=eni.metadata.deleting,
        ports=() if status == "deleted" else (port,),
        recorded_port="p1",
        in_use=in_use(eni, None if status == "deleted" else port),
        link_ready=True,
        elapsed=Elapsed(port_missing=CONFIRM_INTERVAL if status == "deleted" else None),
    )
    return next_step(facts)


def deleted(api: Object) -> Object:
    return api if api.deleting else replace(api, deleting=True, generation=api.generation + 1)


def agent_steps(state: State) -> Iterator[State]:
    view = state.agent
    if state.api is not None and view != state.api:
        yield agent_observes(state, state.api)
    if view is None:
        return
    yield replace(state, agent=None, retired=frozenset())
    requested = view.deleting or view.retiring
    for address in ADDRESSES:
        free = address not in state.granted | state.retired
        if free and state.link and not requested:
            yield replace(state, granted=state.granted | {address})
        if free and requested:
            yield replace(state, retired=state.retired | {address})
    if view.deleting and not state.granted:
        yield replace(state, link=False)
    news = frozenset((a, view.generation) for a in state.retired), state.link
    if state.api is not None and news != (state.api.acks, state.api.linked):
        yield replace(state, sent=news)


def agent_observes(state: State, api: Object) -> State:
    """After a start, earlier acknowledgements bind the agent, and it uses an attached NIC."""
    requested = api.deleting or api.retiring
    if state.agent is not None:
        return replace(state, agent=api, retired=state.retired if requested else frozenset())
    retired = frozenset(a for a, _ in api.acks) if requested else frozenset[str]()
    in_use = state.port == "attached" and not (api.deleting and not state.granted)
    return replace(state, agent=api, retired=retired, link=in_use)


def other_steps(state: State) -> Iterator[State]:
    for address in state.granted:
        yield replace(state, granted=state.granted - {address})
    if state.sent is not None and state.api is not None:
        acks, linked = state.sent
        written = replace(state.api, acks=acks, linked=linked)
        yield replace(state, api=written)
        yield replace(state, api=written, sent=None)
    if state.api is not None:
        yield replace(state, api=deleted(state.api))
    yield replace(state, selected=not state.selected)


def successors(state: State) -> Iterator[State]:
    yield from operator_steps(state)
    yield from agent_steps(state)
    yield from other_steps(state)


def reachable() -> set[State]:
    initial = State()
    found, queue = {initial}, deque([initial])
    while queue:
        for state in successors(queue.popleft()):
            if state.api is not None and state.api.generation > LAST_GENERATION:
                continue
            if state not in found:
                found.add(state)
                queue.append(state)
    return found


@pytest.mark.exhaustive
def test_no_port_is_detached_while_a_pod_holds_an_address_or_the_agent_uses_the_nic() -> None:
    states = reachable()
    for state in states:
        assert not state.granted or state.port == "attached", state
        used = state.agent is not None and state.link
        assert not used or state.port == "attached", state
    assert len(states) > 10_000, "the search has ended early"
    assert any(s.port == "deleted" and s.api is None for s in states), "no ENI is ever removed"
    assert any(s.granted and s.api and s.api.deleting for s in states)
    withdrawn = (s.api.generation == 3 and not s.api.retiring for s in states if s.api)
    assert any(withdrawn), "no retirement is ever withdrawn"
