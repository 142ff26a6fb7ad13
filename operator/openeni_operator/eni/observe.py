"""What is true of one ENI right now, read in as few calls as it takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI, PortStatus, PortSubnet
from openeni_crds.names import NODES, port_name, port_tags
from openeni_kube.store import NotFoundError as NoObjectError
from openeni_kube.store import Store
from openeni_operator.cloud import errors
from openeni_operator.cloud.api import Cloud, Port
from openeni_operator.cluster import node_of
from openeni_operator.eni.lifecycle import NODE_GRACE, Facts
from openeni_operator.eni.memory import Memory
from openeni_operator.eni.status import Seen, Segment, Trouble, in_use, port_status
from openeni_operator.mirror import Mirror
from openeni_operator.ports import PortLists


@dataclass(frozen=True)
class World:
    """What a reconcile works with; made once in `__main__`."""

    mirror: Mirror
    store: Store
    cloud: Callable[[str], Cloud]
    cluster_id: str
    ports: PortLists
    clock: Callable[[], float]  # monotonic seconds
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds
    lost: Callable[[str], None]  # told the node whose pods may have lost addresses


@dataclass(frozen=True)
class Sight:
    """The facts, and the port as the status is to describe it."""

    facts: Facts
    port: PortStatus | None
    unfit: Trouble | None = None  # Neutron's port is not what was asked for

    @property
    def seen(self) -> Seen:
        return Seen(self.facts.port, self.port)


def observe(world: World, cloud: Cloud, eni: ENI, memory: Memory) -> Sight:
    """Look at Neutron, and at Nova and the API server where it matters.

    Raises CloudError and StoreError: no answer is no fact.
    """
    now = world.clock()
    tags = frozenset(port_tags(world.cluster_id, eni.metadata.uid))
    facts = Facts(
        server_id=eni.spec.server_id,
        tags=tags,
        deleting=eni.metadata.deleting,
        ports=_look(world, cloud, eni),
        recorded=eni.status.port.id if eni.status.port else "",
        prepared=is_true(eni.status.conditions, Type.GUEST_PREPARED),
        linked=is_true(eni.status.conditions, Type.LINK_READY),
    )
    gone = _node_is_gone(world, eni)
    memory.notice(now, facts, node_gone=gone)
    ages = memory.ages(now)
    server_gone = gone and facts.deleting and _server_is_gone(cloud, eni)
    no_agent = server_gone or (ages.node_gone is not None and ages.node_gone >= NODE_GRACE)
    facts = replace(
        facts,
        in_use=not no_agent and in_use(eni, facts.port),
        server_gone=server_gone,
        ages=ages,
    )
    if facts.port is None:
        return Sight(facts, eni.status.port)
    described = port_status(facts.port, eni.status.port, _segment(cloud, eni, facts.port))
    if isinstance(described, Trouble):
        return Sight(facts, eni.status.port, None if facts.deleting else described)
    return Sight(facts, described)


def _look(world: World, cloud: Cloud, eni: ENI) -> tuple[Port, ...]:
    """Return all ports of this ENI; from the network's list if nothing is on its way."""
    name = port_name(world.cluster_id, eni.metadata.uid)
    recorded = eni.status.port
    if recorded and not eni.metadata.deleting and is_true(eni.status.conditions, Type.READY):
        listed = world.ports.of(eni.spec.cloud, cloud, eni.spec.network_id)
        own = tuple(p for p in listed if p.name == name)
        if len(own) == 1 and _as_it_was(own[0], recorded, eni.spec.server_id):
            return own
    named = cloud.ports_named(name)
    if named or recorded is None:
        return named
    try:
        return (cloud.port(recorded.id),)  # somebody may have given it another name
    except errors.NotFoundError:
        return ()


def _as_it_was(port: Port, recorded: PortStatus, server_id: str) -> bool:
    return (
        port.id == recorded.id
        and port.revision >= recorded.revision
        and port.device_id == server_id
    )


def _node_is_gone(world: World, eni: ENI) -> bool:
    """Whether the ENI's server is no node any more; the mirror alone is not believed."""
    known = world.mirror.node(eni.spec.node_name)
    if known is not None and not known.is_other_than(eni.spec.server_id):
        return False
    try:
        found = node_of(world.store.get(NODES, eni.spec.node_name))
    except NoObjectError:
        return True
    return found.is_other_than(eni.spec.server_id)


def _server_is_gone(cloud: Cloud, eni: ENI) -> bool:
    try:
        cloud.server(eni.spec.server_id)
    except errors.NotFoundError:
        return True
    return False


def _segment(cloud: Cloud, eni: ENI, port: Port) -> Segment:
    """What is known already, else what Neutron says: cidr, gateway and MTU hardly ever change."""
    before = eni.status.port
    if before is not None and before.id == port.id:
        return Segment(before.mtu, before.subnets)
    known = {s.id: s for s in cloud.subnets_of(eni.spec.network_id)}
    missing = [s for s in eni.spec.subnet_ids if s not in known]
    if missing:
        raise errors.NotFoundError(
            f"the network has no subnet {missing[0]} any more; delete this ENI"
        )
    chosen = (known[s] for s in eni.spec.subnet_ids)
    mtu = cloud.network(eni.spec.network_id).mtu
    return Segment(mtu, tuple(PortSubnet(s.id, s.cidr, s.gateway) for s in chosen))
