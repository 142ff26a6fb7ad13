"""Observe an ENI: its port in Neutron, its server, its node; in as few calls as possible."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from openeni_crds.capacity import Growth
from openeni_crds.conditions import Reason, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.names import port_name, port_tags
from openeni_crds.status.eni import PortStatus, PortSubnet
from openeni_kube.events import Recorder
from openeni_kube.store import Store
from openeni_operator.cause import Cause
from openeni_operator.claim_refusals import ClaimRefusals
from openeni_operator.claims import (
    claimed_addresses,
    in_transit,
    is_for_a_pod,
    leaving_addresses,
)
from openeni_operator.cloud import errors
from openeni_operator.cloud.api import Cloud, Place, Port
from openeni_operator.cluster_state import ClusterState
from openeni_operator.eni.created import CreatedENIs
from openeni_operator.eni.facts import Facts
from openeni_operator.eni.port_settings import settings_of
from openeni_operator.eni.port_status import NetworkFacts, describe_port
from openeni_operator.eni.report import report_is_about
from openeni_operator.eni.resize import NO_RESIZE, Claims, resize_of
from openeni_operator.eni.safeguards import attached_twice, why_inactive
from openeni_operator.eni.status import ObservedPort, in_use, is_given_up, is_port_deleted
from openeni_operator.eni.timing import CONFIRM_INTERVAL, CREATE_SETTLE_TIME
from openeni_operator.eni.tracker import PortTracker
from openeni_operator.missing_nodes import MissingNodes, counts_as_gone
from openeni_operator.shared_reads import CloudReads

BELIEVED_LOSSES: Final = 3  # ports that may vanish together, or
BELIEVED_SHARE: Final = 0.1  # this share of a network's; if more do, the view is at fault


@dataclass(frozen=True)
class ENIDependencies:
    """Clients and caches of the ENI controller."""

    state: ClusterState
    store: Store
    cloud: Callable[[str], Cloud]
    cluster_id: str
    reads: CloudReads
    missing_nodes: MissingNodes
    clock: Callable[[], float]  # monotonic seconds
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds
    recorder: Recorder
    addresses_changed: Callable[[str], None]  # called with the node whose pods may be concerned
    claim_refusals: ClaimRefusals
    created: CreatedENIs


@dataclass(frozen=True)
class Observation:
    """The facts, and the port as ENI.status describes it."""

    facts: Facts
    port: PortStatus | None
    fault: Cause | None = None  # the port cannot serve pods
    elastic: bool = False  # its addresses may be changed
    mtu_changed: Cause | None = None  # the network has another MTU than the port

    @property
    def observed_port(self) -> ObservedPort:
        requested = self.facts.elapsed.settings_requested
        settled = requested is None or requested >= CREATE_SETTLE_TIME
        return ObservedPort(
            self.facts.port,
            self.port,
            self.fault,
            settled=settled,
            elastic=self.elastic,
            resize=self.facts.resize,
            inactive=why_inactive(self.facts),
            mtu_changed=self.mtu_changed,
        )


def observe(deps: ENIDependencies, cloud: Cloud, eni: ENI, tracker: PortTracker) -> Observation:
    """Query Neutron, and Nova and the API server where it matters; update the tracker.

    Raises CloudError and StoreError: an error is not evidence of absence.
    """
    _check_place(cloud, eni)
    now, recorded, elastic = deps.clock(), eni.status.port, _is_elastic(deps, eni)
    mtu_changed = _mtu_changed(deps, cloud, eni)
    found = _find_ports(deps, cloud, eni, tracker)
    ports = () if isinstance(found, Cause) else found
    behind = _is_behind(ports, recorded, tracker, now) and elastic and not eni.metadata.deleting
    facts = Facts(
        server_id=eni.spec.server_id,
        tags=frozenset(port_tags(deps.cluster_id, eni.metadata.uid)),
        settings=settings_of(eni),
        deleting=eni.metadata.deleting,
        ports=ports,
        recorded_port=recorded.id if recorded else "",
        guest_prepared=_is_reported(eni, ports, Type.GUEST_PREPARED),
        given_up=is_given_up(eni),
        link_ready=_is_reported(eni, ports, Type.LINK_READY),
        behind=behind,
    )
    if isinstance(found, Cause) and not facts.deleting:
        return Observation(facts, recorded, found)
    tracker.update(now, facts, looked=tracker.known_ports(now, cloud.place) is None)
    missing_for = deps.missing_nodes.missing_for(eni.spec.node_name, eni.spec.server_id)
    node_missing = missing_for is not None
    server_gone = node_missing and facts.deleting and not cloud.server_exists(eni.spec.server_id)
    facts = replace(
        facts,
        in_use=not (server_gone or counts_as_gone(missing_for)) and in_use(eni, facts.port),
        server_gone=server_gone,
        mass_loss=_is_mass_loss(deps, cloud, eni, tracker),
        unshown=tracker.unshown if recorded and recorded.id == tracker.created else 0,
        elapsed=tracker.elapsed(now),
        refused=tracker.refused,
    )
    transit = in_transit(deps.state, eni)
    if facts.port is None or behind:
        facts = replace(facts, yields=tracker.yields(now, transit, asks=facts.port is None))
        return Observation(facts, recorded, attached_twice(facts), mtu_changed=mtu_changed)
    network = _network_facts(deps, cloud, eni, facts.port)
    described, fault = describe_port(facts.port, eni, network, _for_pods(deps, eni, facts.port))
    fault = fault or attached_twice(facts)
    if described is not None and (fault is None or eni.is_broken):  # by its status, too
        resize = resize_of(eni, described, _claims(deps, eni), elastic=elastic)
        yields = tracker.yields(now, transit, asks=bool(resize.add))
        facts = replace(facts, resize=resize, yields=yields)
    return Observation(facts, described, fault, elastic, mtu_changed)


def _is_elastic(deps: ENIDependencies, eni: ENI) -> bool:
    """Return True if the pool adds addresses to ports and removes them, by its last reconcile."""
    pool = deps.state.pool(eni.spec.pool_name)
    return pool is not None and pool.status.growth is Growth.ELASTIC


def _claims(deps: ENIDependencies, eni: ENI) -> Claims:
    """Return the addresses that certain pods wait for, and those that leave for such pods."""
    claimed = claimed_addresses(deps.state, eni)
    refused = (a for a in claimed if deps.claim_refusals.get(eni.name, a) is not None)
    leaving = leaving_addresses(deps.state, (eni,)).get(eni.name, frozenset[str]())
    return Claims(claimed, frozenset(refused), leaving)


def _is_behind(
    ports: tuple[Port, ...], recorded: PortStatus | None, tracker: PortTracker, now: float
) -> bool:
    """Return True if the cloud has for long shown the recorded port as it was before.

    A database node that is behind shows addresses that the port has no more, and lacks new ones.
    Raises StaleReadError in the beginning: it may catch up.
    """
    shown = next((p for p in ports if recorded and p.id == recorded.id), None)
    older = shown is not None and recorded is not None and shown.revision < recorded.revision
    if shown is not None and shown.revision == tracker.confirmed_revision:
        older = False
    if tracker.is_behind(now, older=older) and shown and recorded:
        raise errors.StaleReadError(
            f"Neutron shows revision {shown.revision} of port {shown.id} after revision "
            f"{recorded.revision}: a node of its database is behind; looking again"
        )
    return older


def _is_reported(eni: ENI, ports: tuple[Port, ...], type_: Type) -> bool:
    """Return True if the agent reports the condition, and means one of these ports."""
    about = any(report_is_about(eni, port.mac_address) for port in ports)
    return about and is_true(eni.status.conditions, type_)


def _check_place(cloud: Cloud, eni: ENI) -> None:
    """Raise WrongPlaceError if these credentials could not see the ENI's port where it is."""
    recorded, name = eni.status.port, eni.spec.cloud
    if recorded is None or not recorded.project_id:
        return
    there = Place(recorded.project_id, recorded.region)
    if not there.may_be(cloud.place):
        raise errors.WrongPlaceError(
            f"cloud {name!r}: the credentials are of {_named(cloud.place)}, port {recorded.id} is "
            f"in {_named(there)}: correct this entry of clouds.yaml"
        )


def _named(place: Place) -> str:
    return f"project {place.project_id}" + (f", region {place.region}" if place.region else "")


def _find_ports(
    deps: ENIDependencies, cloud: Cloud, eni: ENI, tracker: PortTracker
) -> tuple[Port, ...] | Cause:
    """Return all ports of this ENI; a Cause if the recorded one turns out to be somebody else's.

    The list that many share is used while nothing is in progress.
    """
    known = tracker.known_ports(deps.clock(), cloud.place)
    if known is not None:
        return known
    name = port_name(deps.cluster_id, eni.metadata.uid)
    recorded = eni.status.port
    if recorded and not eni.metadata.deleting and is_true(eni.status.conditions, Type.READY):
        listed = deps.reads.ports_on(eni.spec.cloud, cloud, eni.spec.network_id)
        own = listed.by_name.get(name, ())
        resize = resize_of(eni, recorded, _claims(deps, eni), elastic=_is_elastic(deps, eni))
        settled = resize == NO_RESIZE
        if settled and len(own) == 1 and _is_unchanged(own[0], recorded, eni):
            return own
    named = cloud.ports_named(name)
    if named or recorded is None:
        return named
    try:
        port = cloud.port(recorded.id)
    except errors.ResourceNotFoundError:
        return ()
    if port.name == name or port.tags >= frozenset(port_tags(deps.cluster_id, eni.metadata.uid)):
        return (port,)  # the list is behind, or the port was renamed
    return Cause(
        Reason.PORT_CHANGED,
        f"port {port.id} of ENI.status has neither the name nor the tags of this ENI: it is left "
        f"alone; name it {name} if it is the ENI's, else delete this ENI",
    )


def _is_unchanged(port: Port, recorded: PortStatus, eni: ENI) -> bool:
    return (
        port.id == recorded.id
        and port.revision >= recorded.revision
        and port.device_id == eni.spec.server_id
        and not settings_of(eni).differences(port)
    )


def _is_mass_loss(deps: ENIDependencies, cloud: Cloud, eni: ENI, tracker: PortTracker) -> bool:
    """Return True if many ports of the network are gone, once one would be believed to be."""
    since = tracker.port_missing
    if since is None or deps.clock() - since < CONFIRM_INTERVAL or is_port_deleted(eni):
        return False
    network_id, name = eni.spec.network_id, eni.spec.cloud
    listed = deps.reads.ports_on(name, cloud, network_id, not_before=since)
    recorded = [
        other.status.port.id
        for other in deps.state.enis()
        if other.status.port and (other.spec.cloud, other.spec.network_id) == (name, network_id)
        if not is_port_deleted(other)
    ]
    lost = sum(port not in listed.sizes for port in recorded)
    return lost > max(BELIEVED_LOSSES, BELIEVED_SHARE * len(recorded))


def _for_pods(deps: ENIDependencies, eni: ENI, port: Port) -> frozenset[str]:
    """Return those addresses of a port that is not recorded yet which certain pods are to have."""
    recorded = eni.status.port
    if recorded is not None and recorded.id == port.id:
        return frozenset()
    addresses = (fixed.address for fixed in port.fixed_ips)
    return frozenset(a for a in addresses if is_for_a_pod(deps.state, eni.spec.pool_name, a))


def _network_facts(deps: ENIDependencies, cloud: Cloud, eni: ENI, port: Port) -> NetworkFacts:
    """Return the recorded MTU and subnets, which rarely change; look them up for a new port."""
    recorded = eni.status.port
    if recorded is not None and recorded.id == port.id:
        return NetworkFacts(recorded.mtu, recorded.subnets, cloud.place)
    found = deps.reads.network(eni.spec.cloud, cloud, eni.spec.network_id)
    missing = [s for s in eni.spec.subnet_ids if s not in found.subnets]
    if missing:
        raise errors.ResourceNotFoundError(
            f"subnet {missing[0]} no longer exists on the network; delete this ENI"
        )
    chosen = (found.subnets[s] for s in eni.spec.subnet_ids)
    subnets = tuple(PortSubnet(s.id, s.cidr, s.gateway) for s in chosen)
    return NetworkFacts(found.network.mtu, subnets, cloud.place)


def _mtu_changed(deps: ENIDependencies, cloud: Cloud, eni: ENI) -> Cause | None:
    """Return the cause if the network's MTU is no longer what the port and its pods have.

    Its pools look at the network. Until one has, what was reported stays.
    """
    recorded, reason = eni.status.port, Reason.MTU_CHANGED
    present = deps.reads.known_mtu(eni.spec.cloud, cloud, eni.spec.network_id)
    if present is None:
        before = find(eni.status.conditions, Type.UP_TO_DATE)
        return Cause(reason, before.message) if before and before.reason == reason else None
    if recorded is None or recorded.mtu == present >= eni.spec.mtu:
        return None
    return Cause(
        reason,
        f"the network's MTU is {present} now, the NIC keeps {recorded.mtu} and its pods "
        f"{eni.spec.mtu}: delete this ENI for another one",
    )
