"""Observe an ENI: its port in Neutron, its server, its node; in as few calls as possible."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI, PortStatus, PortSubnet
from openeni_crds.names import NODES, port_name, port_tags
from openeni_kube.store import NotFoundError, Store
from openeni_operator.cause import Cause
from openeni_operator.cloud import errors
from openeni_operator.cloud.api import Cloud, Place, Port
from openeni_operator.cluster_state import ClusterState
from openeni_operator.core_objects import parse_node
from openeni_operator.eni.lifecycle import Facts
from openeni_operator.eni.status import NetworkFacts, ObservedPort, in_use, port_status
from openeni_operator.eni.tracker import PortTracker
from openeni_operator.port_cache import PortCache

NODE_GRACE_PERIOD: Final = 60.0  # seconds; a deleted Node may be created again within this time


@dataclass(frozen=True)
class ENIDependencies:
    """Clients and caches of the ENI controller."""

    state: ClusterState
    store: Store
    cloud: Callable[[str], Cloud]
    cluster_id: str
    ports: PortCache
    clock: Callable[[], float]  # monotonic seconds
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds
    port_lost: Callable[[str], None]  # called with the node whose pods may have lost addresses


@dataclass(frozen=True)
class Observation:
    """The facts, and the port as ENI.status describes it."""

    facts: Facts
    port: PortStatus | None
    mismatch: Cause | None = None  # Neutron's port is not what was requested

    @property
    def observed_port(self) -> ObservedPort:
        return ObservedPort(self.facts.port, self.port)


def observe(deps: ENIDependencies, cloud: Cloud, eni: ENI, tracker: PortTracker) -> Observation:
    """Query Neutron, and Nova and the API server where it matters; update the tracker.

    Raises CloudError and StoreError: an error is not evidence of absence.
    """
    _check_place(cloud, eni)
    now = deps.clock()
    tags = frozenset(port_tags(deps.cluster_id, eni.metadata.uid))
    facts = Facts(
        server_id=eni.spec.server_id,
        tags=tags,
        deleting=eni.metadata.deleting,
        ports=_find_ports(deps, cloud, eni),
        recorded_port=eni.status.port.id if eni.status.port else "",
        guest_prepared=is_true(eni.status.conditions, Type.GUEST_PREPARED),
        link_ready=is_true(eni.status.conditions, Type.LINK_READY),
    )
    node_missing = _is_node_missing(deps, eni)
    tracker.update(now, facts, node_missing=node_missing)
    server_gone = node_missing and facts.deleting and not cloud.server_exists(eni.spec.server_id)
    missing_since = tracker.node_missing
    node_gone = missing_since is not None and now - missing_since >= NODE_GRACE_PERIOD
    facts = replace(
        facts,
        in_use=not (server_gone or node_gone) and in_use(eni, facts.port),
        server_gone=server_gone,
        elapsed=tracker.elapsed(now),
    )
    if facts.port is None:
        return Observation(facts, eni.status.port)
    described = port_status(facts.port, eni.status.port, _network_facts(cloud, eni, facts.port))
    if isinstance(described, Cause):
        return Observation(facts, eni.status.port, None if facts.deleting else described)
    return Observation(facts, described)


def _check_place(cloud: Cloud, eni: ENI) -> None:
    """Raise WrongPlaceError if these credentials could not see the ENI's port where it is."""
    recorded, name = eni.status.port, eni.spec.cloud
    if recorded is None or not recorded.project_id:
        return
    there = Place(recorded.project_id, recorded.region)
    if there != cloud.place:
        raise errors.WrongPlaceError(
            f"cloud {name!r}: the credentials are of {_named(cloud.place)}, port {recorded.id} is "
            f"in {_named(there)}: correct this entry of clouds.yaml"
        )


def _named(place: Place) -> str:
    return f"project {place.project_id}" + (f", region {place.region}" if place.region else "")


def _find_ports(deps: ENIDependencies, cloud: Cloud, eni: ENI) -> tuple[Port, ...]:
    """Return all ports of this ENI; use the cached list while nothing is in progress."""
    name = port_name(deps.cluster_id, eni.metadata.uid)
    recorded = eni.status.port
    if recorded and not eni.metadata.deleting and is_true(eni.status.conditions, Type.READY):
        cached = deps.ports.ports_on(eni.spec.cloud, cloud, eni.spec.network_id)
        own = tuple(p for p in cached if p.name == name)
        if len(own) == 1 and _is_unchanged(own[0], recorded, eni.spec.server_id):
            return own
    named = cloud.ports_named(name)
    if named or recorded is None:
        return named
    try:
        return (cloud.port(recorded.id),)  # it may have been renamed
    except errors.ResourceNotFoundError:
        return ()


def _is_unchanged(port: Port, recorded: PortStatus, server_id: str) -> bool:
    return (
        port.id == recorded.id
        and port.revision >= recorded.revision
        and port.device_id == server_id
    )


def _is_node_missing(deps: ENIDependencies, eni: ENI) -> bool:
    """Return True if no Node has the ENI's server; confirm with a GET, the cache may be stale."""
    cached = deps.state.node(eni.spec.node_name)
    if cached is not None and not cached.is_other_server(eni.spec.server_id):
        return False
    try:
        node = parse_node(deps.store.get(NODES, eni.spec.node_name))
    except NotFoundError:
        return True
    return node.is_other_server(eni.spec.server_id)


def _network_facts(cloud: Cloud, eni: ENI, port: Port) -> NetworkFacts:
    """Return the recorded MTU and subnets, which rarely change; ask Neutron for a new port."""
    recorded = eni.status.port
    if recorded is not None and recorded.id == port.id:
        return NetworkFacts(recorded.mtu, recorded.subnets, cloud.place)
    known = {s.id: s for s in cloud.subnets_of(eni.spec.network_id)}
    missing = [s for s in eni.spec.subnet_ids if s not in known]
    if missing:
        raise errors.ResourceNotFoundError(
            f"subnet {missing[0]} no longer exists on the network; delete this ENI"
        )
    chosen = (known[s] for s in eni.spec.subnet_ids)
    mtu = cloud.network(eni.spec.network_id).mtu
    subnets = tuple(PortSubnet(s.id, s.cidr, s.gateway) for s in chosen)
    return NetworkFacts(mtu, subnets, cloud.place)
