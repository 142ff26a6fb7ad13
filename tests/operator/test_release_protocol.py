"""Model check of the release of single addresses: explore every state of operator and agent.

Two addresses; an operator that asks for addresses and withdraws at will, and otherwise decides by
the real rules on a view that may be outdated, of a port as Neutron's databases may show it; changes
of the port that are made late, or never; an agent that keeps to the protocol; delayed status
writes; crashes of both at any time. In no state may a pod hold an address that the port lacks. That
a whole ENI goes is `test_retire_protocol`'s.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import msgspec
import pytest

from openeni_crds.eni import ENI, ENISpec
from openeni_crds.enipool import Datapath, Mode
from openeni_crds.meta import ObjectMeta
from openeni_crds.status.eni import ENIStatus, NodeStatus, PortStatus, PortSubnet, RetireAnswer
from openeni_operator.cloud.api import ACTIVE, FixedIP, Place, Port
from openeni_operator.eni.facts import Facts
from openeni_operator.eni.lifecycle import next_step
from openeni_operator.eni.port_settings import PortSettings
from openeni_operator.eni.port_status import NetworkFacts, describe_port, mark_releasing
from openeni_operator.eni.resize import resize_of, with_more, without
from openeni_operator.eni.steps import AddAddresses, ReleaseAddresses
from openeni_operator.enipool.address_choice import request_addresses

PRIMARY, ADDRESSES = "10.98.0.2", ("10.98.0.3", "10.98.0.4")
SUBNET, SERVER = PortSubnet("s", "10.98.0.0/22"), "server-1"
NETWORK = NetworkFacts(1450, (SUBNET,), Place("project"))
LAST_GENERATION = 4
LAST_REVISION = 3
Acks = frozenset[tuple[str, int]]
FixedIPs = tuple[FixedIP, ...]
INITIAL = (FixedIP("s", PRIMARY), *(FixedIP("s", a) for a in ADDRESSES))


@dataclass(frozen=True)
class Object:
    """The ENI as the API server holds it; `port` is its status' description."""

    port: PortStatus
    generation: int = 1
    count: int = 2
    retiring: tuple[str, ...] = ()
    acks: Acks = frozenset()


@dataclass(frozen=True)
class State:
    api: Object
    history: tuple[FixedIPs, ...] = (INITIAL,)  # the port, by its revision
    puts: frozenset[tuple[FixedIPs, int]] = frozenset()  # sent, of a revision
    operator: Object | None = None  # as the operator last saw it; None: the operator is down
    agent: Object | None = None  # as the agent last saw it; None: the agent is down
    retired: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()  # in the journal, which outlives the agent
    sent: Acks | None = None  # a status write in flight


@cache
def body(view: Object) -> ENI:
    """Return the ENI."""
    node = NodeStatus(retired=tuple(RetireAnswer(a, g) for a, g in sorted(view.acks)))
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
        address_count=view.count,
        retiring=view.retiring,
    )
    metadata = ObjectMeta(name="e", generation=view.generation)
    return ENI(metadata, spec, ENIStatus(port=view.port, node=node))


def port_of(fixed_ips: FixedIPs, revision: int) -> Port:
    return Port(
        "p1",
        "openeni-c-e",
        "net",
        "fa:16:3e:00:00:01",
        ACTIVE,
        device_id=SERVER,
        fixed_ips=fixed_ips,
        revision=revision,
    )


@cache
def described(view: Object | None, fixed_ips: FixedIPs, revision: int) -> PortStatus:
    made = body(view) if view else body(Object(_first_port()))
    found, fault = describe_port(port_of(fixed_ips, revision), made, NETWORK)
    assert found is not None
    assert fault is None
    return found


def _first_port() -> PortStatus:
    return PortStatus("p1", "", "fa:16:3e:00:00:01", 0, 1450, (SUBNET,), (PRIMARY,), ADDRESSES)


def operator_steps(state: State) -> Iterator[State]:
    view = state.operator
    if view != state.api:
        yield replace(state, operator=state.api)
    if view is None:
        return
    yield replace(state, operator=None)
    if state.api.generation == view.generation < LAST_GENERATION:
        yield from (replace(state, api=changed) for changed in requests(view, state.api))
    for revision in range(view.port.revision, len(state.history)):
        yield from eni_steps(state, view, revision)


def requests(view: Object, api: Object) -> Iterator[Object]:
    """Yield what the pool may write into the spec: for single addresses, for all, or none."""
    for keep in (1, 2):
        wanted = request_addresses(body(view), keep, ())
        yield asked(api, wanted.count, wanted.retiring)
    yield asked(api, view.count, view.port.addresses)


def asked(api: Object, count: int, retiring: tuple[str, ...]) -> Object:
    if (count, retiring) == (api.count, api.retiring):
        return api
    return replace(api, count=count, retiring=retiring, generation=api.generation + 1)


def eni_steps(state: State, view: Object, revision: int) -> Iterator[State]:
    """Yield what the ENI's reconcile does.

    A status is written to the version that was seen, also before a change of the port is sent.
    """
    if view != state.api:
        return
    status, step = decided(view, state.history[revision], revision)
    port = port_of(state.history[revision], revision)
    match step:
        case ReleaseAddresses(_, addresses):
            change, status = without(port, addresses), mark_releasing(status, addresses)
        case AddAddresses(_, subnets):
            change = with_more(port, subnets)
        case _:
            change = ()
    written = replace(state, api=replace(view, port=status))
    yield written
    if change:
        yield replace(written, puts=state.puts | {(change, revision)})


@cache
def decided(view: Object, fixed_ips: FixedIPs, revision: int) -> tuple[PortStatus, object]:
    """Return the port as the status is to describe it, and the next step."""
    status = described(view, fixed_ips, revision)
    facts = Facts(
        server_id=SERVER,
        tags=frozenset(),
        settings=PortSettings(),
        ports=(port_of(fixed_ips, revision),),
        recorded_port="p1",
        link_ready=True,
        resize=resize_of(body(view), status, elastic=True),
    )
    return status, next_step(facts)


def neutron_steps(state: State) -> Iterator[State]:
    """Make a change that was sent, if the port is still at its revision; or never."""
    for put in state.puts:
        fixed_ips, revision = put
        later = replace(state, puts=state.puts - {put})
        if revision == len(state.history) - 1 < LAST_REVISION:
            yield replace(later, history=(*state.history, allocated(fixed_ips)))
        yield later


def allocated(fixed_ips: FixedIPs) -> FixedIPs:
    """Give each new address: one that was just released comes back."""
    named = [f for f in fixed_ips if f.address]
    free = [a for a in ADDRESSES if a not in {f.address for f in named}]
    new = free[: len(fixed_ips) - len(named)]
    return tuple(sorted((*named, *(FixedIP("s", a) for a in new)), key=lambda f: f.address))


def agent_steps(state: State) -> Iterator[State]:
    view = state.agent
    if view != state.api:
        yield agent_observes(state)
    if view is None:
        return
    yield replace(state, agent=None, retired=frozenset())
    for address in view.port.addresses:
        free = address not in state.granted | state.retired
        if free and address not in view.retiring:
            yield replace(state, granted=state.granted | {address})
        if free and address in view.retiring:
            yield replace(state, retired=state.retired | {address})
    news = frozenset((a, view.generation) for a in state.retired)
    if news != state.api.acks:
        yield replace(state, sent=news)


def agent_observes(state: State) -> State:
    """After a start, earlier acknowledgements bind the agent."""
    api = state.api
    before = state.retired if state.agent else frozenset(a for a, _ in api.acks) - state.granted
    return replace(state, agent=api, retired=before & set(api.retiring) & set(api.port.addresses))


def other_steps(state: State) -> Iterator[State]:
    for address in state.granted:
        yield replace(state, granted=state.granted - {address})
    if state.sent is not None:
        written = replace(state.api, acks=state.sent)
        yield replace(state, api=written)
        yield replace(state, api=written, sent=None)
        yield replace(state, sent=None)


def successors(state: State) -> Iterator[State]:
    yield from operator_steps(state)
    yield from neutron_steps(state)
    yield from agent_steps(state)
    yield from other_steps(state)


def reachable() -> set[State]:
    initial = State(Object(msgspec.structs.replace(_first_port(), revision=0)))
    found, queue = {initial}, deque([initial])
    while queue:
        for state in successors(queue.popleft()):
            if state not in found:
                found.add(state)
                queue.append(state)
    return found


@pytest.mark.exhaustive
def test_no_address_leaves_the_port_under_a_pod() -> None:
    states = reachable()
    for state in states:
        assert state.granted <= addresses_of(state.history[-1]), state
    assert len(states) > 10_000, "the search has ended early"
    assert any(len(addresses_of(s.history[-1])) < len(ADDRESSES) for s in states), "none ever goes"
    back = (s for s in states if len(s.history) > 2 and len(s.granted) > 1)
    assert any(back), "no address ever comes back to be granted"
    late = (s for s in states if s.puts and len(s.granted) > 1 and not s.api.port.releasing)
    assert any(late), "no change of the port is ever under way while pods have all addresses"
    withdrawn = (s for s in states if s.api.generation == LAST_GENERATION and not s.api.retiring)
    assert any(withdrawn), "no request is ever withdrawn"


def addresses_of(fixed_ips: FixedIPs) -> set[str]:
    return {fixed.address for fixed in fixed_ips} - {PRIMARY}
