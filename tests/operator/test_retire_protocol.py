"""Taking an ENI away: every state that operator and agent can reach together, looked at.

Two addresses, an operator that plans and steps by the real rules on a view that may be old, an
agent that keeps the protocol's word, status writes that are late, crashes of both at any time, a
person who deletes the ENI. In no state may a pod hold an address whose port is not attached.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from openeni_crds.conditions import Reason, Type, condition
from openeni_crds.eni import ENI, AddressAt, ENISpec, ENIStatus, NodeStatus, PortStatus, PortSubnet
from openeni_crds.enipool import Datapath, Mode
from openeni_crds.meta import ObjectMeta
from openeni_operator.cloud.api import ACTIVE, Port
from openeni_operator.core_objects import Node
from openeni_operator.eni.lifecycle import DeletePort, DetachPort, Facts, RemoveFinalizer, next_step
from openeni_operator.eni.status import in_use
from openeni_operator.enipool.facts import eni_state
from openeni_operator.enipool.plan import DeleteENI, NodeState, RetireENI, SizingPolicy, plan

ADDRESSES = ("10.98.0.3", "10.98.0.4")
SERVER = "server-1"
NOW = "2026-01-01T00:00:00Z"
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
    api: Object | None = Object()  # None: the finalizer is off
    port: str = "attached"  # or "free", or "gone"
    operator: Object | None = None  # what it last saw; None: it is down
    agent: Object | None = None  # what it last saw; None: it is down
    link: bool = True  # the agent uses the NIC
    given_up: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()  # journalled: outlives the agent
    sent: tuple[Acks, bool] | None = None  # a status write on its way
    leaving: bool = False  # the pool is being deleted


def body(seen: Object) -> ENI:
    """The object in the API's words."""
    status = ENIStatus(
        conditions=(condition(Type.LINK_READY, Reason.LINK_UP, status=seen.linked),),
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
        node=NodeStatus(retired=tuple(AddressAt(a, g) for a, g in sorted(seen.acks))),
    )
    spec = ENISpec(
        pool="pods",
        node_name="n1",
        server_id=SERVER,
        cloud="default",
        network="net",
        subnets=("s",),
        security_groups=(),
        datapath=Datapath(Mode.VETH),
        mtu=1450,
        addresses=2,
        retiring=ADDRESSES if seen.retiring else (),
    )
    metadata = ObjectMeta(
        name="e", generation=seen.generation, deletion_timestamp=NOW if seen.deleting else ""
    )
    return ENI(metadata, spec, status)


def steps_of_operator(world: State) -> Iterator[State]:
    seen = world.operator
    if world.api is not None and seen != world.api:
        yield replace(world, operator=world.api)
    if seen is None:
        return
    yield replace(world, operator=None)
    yield from planned(world, seen)
    yield from stepped(world, seen)


def planned(world: State, seen: Object) -> Iterator[State]:
    """What the pool's reconcile does."""
    node = Node("n1", {}, SERVER, 110)
    state = NodeState("n1", (eni_state(body(seen), node, NOW),), selected=not world.leaving)
    for action in plan(state, SizingPolicy(2, 1, 1)).actions:
        api = world.api
        if api is None:
            continue
        if isinstance(action, RetireENI) and api.generation == seen.generation:
            yield replace(world, api=replace(api, retiring=True, generation=api.generation + 1))
        if isinstance(action, DeleteENI):
            yield replace(world, api=deleted(api))


def stepped(world: State, seen: Object) -> Iterator[State]:
    """What the ENI's reconcile does; the cloud is always looked at anew."""
    eni = body(seen)
    server = SERVER if world.port == "attached" else ""
    port = Port("p1", "openeni-c-e", "net", "fa:16:3e:00:00:01", ACTIVE, device_id=server)
    facts = Facts(
        server_id=SERVER,
        tags=frozenset(),
        deleting=eni.metadata.deleting,
        ports=() if world.port == "gone" else (port,),
        recorded_port="p1",
        in_use=in_use(eni, None if world.port == "gone" else port),
        linked=True,
    )
    match next_step(facts):
        case DetachPort():
            yield replace(world, port="free")
        case DeletePort():
            yield replace(world, port="gone")
        case RemoveFinalizer():
            yield replace(world, api=None)
        case _:
            return


def deleted(api: Object) -> Object:
    return api if api.deleting else replace(api, deleting=True, generation=api.generation + 1)


def steps_of_agent(world: State) -> Iterator[State]:
    seen = world.agent
    if world.api is not None and seen != world.api:
        yield looked(world, world.api)
    if seen is None:
        return
    yield replace(world, agent=None, given_up=frozenset())
    asked_back = seen.deleting or seen.retiring
    for address in ADDRESSES:
        free = address not in world.granted | world.given_up
        if free and world.link and not asked_back:
            yield replace(world, granted=world.granted | {address})
        if free and asked_back:
            yield replace(world, given_up=world.given_up | {address})
    if seen.deleting and not world.granted:
        yield replace(world, link=False)
    said = frozenset((a, seen.generation) for a in world.given_up)
    yield replace(world, sent=(said, world.link))


def looked(world: State, api: Object) -> State:
    """After a start, what was acknowledged before binds, and the NIC is used if it is there."""
    if world.agent is not None:
        return replace(world, agent=api)
    given_up = frozenset(a for a, _ in api.acks)
    in_use = world.port == "attached" and not (api.deleting and not world.granted)
    return replace(world, agent=api, given_up=given_up, link=in_use)


def steps_of_the_rest(world: State) -> Iterator[State]:
    for address in world.granted:
        yield replace(world, granted=world.granted - {address})
    if world.sent is not None and world.api is not None:
        acks, linked = world.sent
        written = replace(world.api, acks=acks, linked=linked)
        yield replace(world, api=written)
        yield replace(world, api=written, sent=None)
    if world.api is not None:
        yield replace(world, api=deleted(world.api))
    yield replace(world, leaving=True)


def successors(world: State) -> Iterator[State]:
    yield from steps_of_operator(world)
    yield from steps_of_agent(world)
    yield from steps_of_the_rest(world)


def reachable() -> set[State]:
    begun = State()
    found, left = {begun}, deque([begun])
    while left:
        for world in successors(left.popleft()):
            if world.api is not None and world.api.generation > LAST_GENERATION:
                continue
            if world not in found:
                found.add(world)
                left.append(world)
    return found


def test_no_port_ever_goes_while_a_pod_holds_an_address_or_the_agent_uses_the_nic() -> None:
    worlds = reachable()
    for world in worlds:
        assert not world.granted or world.port == "attached", world
        used = world.agent is not None and world.link
        assert not used or world.port == "attached", world
    assert len(worlds) > 10_000, "the search has hardly begun"
    assert any(w.port == "gone" and w.api is None for w in worlds), "an ENI can go at all"
    assert any(w.granted and w.api and w.api.deleting for w in worlds)
