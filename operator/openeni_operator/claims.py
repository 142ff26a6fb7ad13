"""Claims: which addresses shall leave an ENI, and which it shall get, by the watched PodIPs. Pure.

A PodIP that outlives its pod, or whose pod asks for addresses by name, claims them for a node: that
on which a pod of its name waits, else its own. A claim is a wish and gives nobody an address: what
leaves an ENI is retired by its node's agent first, and Neutron gives an address to one port only.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from openeni_crds.conditions import Reason, Status
from openeni_crds.eni import ENI
from openeni_crds.podip import PodIP
from openeni_operator.cloud.unassignable import role_of
from openeni_operator.cluster_state import ClusterState

# Of Placed: a pod waits, for nothing but the operator and agents.
IN_PROGRESS: Final = frozenset({Reason.WAITING_FOR_ADDRESS, Reason.WAITING_FOR_RELEASE})

# Of Placed: a pod waits for room, which may take long, or be made at the pool's next look.
LIMITS: Final = frozenset({Reason.POOL_LIMIT, Reason.NODE_LIMIT})

# Of Placed: the addresses are on no port, and no pod waits for them.
UNAWAITED: Final = frozenset({Reason.ADDRESS_NOT_ON_PORT, Reason.RETAINED})


@dataclass(frozen=True)
class PendingClaims:
    """What an ENI's port is to get for certain pods."""

    addresses: tuple[str, ...] = ()
    pods: frozenset[str] = frozenset()  # UIDs of those that wait on the node already, if Pending
    restarted: int = 0  # others that wait there: they were started again


def claimant_of(state: ClusterState, address: str, pool: str) -> PodIP | None:
    """Return the PodIP of the pool whose claim to the address counts.

    That is one whose pod has had it, else the oldest.
    """
    return min(state.podips_naming(pool, address), key=_rank, default=None)


def target_node(state: ClusterState, podip: PodIP) -> str:
    """Return the node that shall have the PodIP's addresses."""
    pod = state.waiting_pod(podip.key)
    return pod.node if pod is not None else podip.spec.node_name


def leaving_addresses(state: ClusterState, enis: Iterable[ENI]) -> dict[str, frozenset[str]]:
    """Return, by ENI, the addresses of its port that other nodes claim, or other ENIs of its own.

    The latter leave an ENI that serves no pods, once `Placed` says so: on no port they might be
    lost. So does whatever leaves one that offers no addresses.
    """
    if not state.podips_on(""):  # a PodIP that moves names no ENI
        return {}
    found: dict[str, frozenset[str]] = {}
    for eni in enis:
        addresses = eni.status.port.addresses if eni.status.port else ()
        leaving = frozenset(a for a in addresses if _leaves(state, a, eni))
        if leaving:
            found[eni.name] = leaving
    return found


def _leaves(state: ClusterState, address: str, eni: ENI) -> bool:
    podip = claimant_of(state, address, eni.spec.pool_name)
    if podip is None or podip.spec.eni_name:
        return False
    if podip.placed is not None and podip.placed.reason == Reason.ADDRESS_IN_USE:
        return False  # its pod has it, so nobody is asked for it
    if eni.offers_addresses and target_node(state, podip) != eni.spec.node_name:
        return True
    return podip.placed is not None and podip.placed.reason == Reason.WAITING_FOR_RELEASE


def in_transit(state: ClusterState, eni: ENI) -> frozenset[str]:
    """Return the addresses on their way to another ENI that the ENI might get with any request.

    They are on no port, or leave this one now. In a full subnet, or where the cloud hands out the
    lowest address, it would get one of them. One without a port may be the one that they go to.
    """
    port = eni.status.port
    releasing, unplaced = port.releasing if port else (), state.unplaced_addresses()
    if not (releasing or unplaced):
        return frozenset()
    subnets = [ip_network(subnet.cidr) for subnet in port.subnets] if port else []
    return frozenset(
        address
        for pool, address in {*unplaced, *((eni.spec.pool_name, a) for a in releasing)}
        if port is None or any(ip_address(address) in subnet for subnet in subnets)
        if any(_is_brought_elsewhere(state, p, eni) for p in state.podips_naming(pool, address))
    )


def _is_brought_elsewhere(state: ClusterState, podip: PodIP, eni: ENI) -> bool:
    """Return True if another ENI is to get what its pod waits for, and nobody else hinders that."""
    if podip.spec.eni_name == eni.name:
        return False
    of_target = target_node(state, podip) == eni.spec.node_name
    if eni.status.port is None and of_target and _goes_first(state, podip.spec.pool_name, eni):
        return False
    return _is_in_progress(podip) and _are_in_one_network(state, podip, eni)


def _goes_first(state: ClusterState, pool: str, eni: ENI) -> bool:
    """Return True if the new ENI does not wait for an address of the pool that comes to its node.

    It may be the one that it goes to. Of two pools whose first ENIs there would wait for each
    other's addresses, one does not.
    """
    own, node = eni.spec.pool_name, eni.spec.node_name
    if own >= pool:
        return own == pool
    ports = (e.status.port for e in state.enis_on(node) if e.spec.pool_name in {own, pool})
    return not any(ports) and in_transit_to(state, own)[node] > 0


def _is_in_progress(podip: PodIP) -> bool:
    """Return True if a pod waits for the PodIP's addresses, which nobody else has or hinders.

    So does one whose PodIP is new: nobody else has asked for what no pod has had.
    """
    if podip.metadata.deleting:
        return False
    placed = podip.placed
    return not podip.was_granted if placed is None else placed.reason in IN_PROGRESS | LIMITS


def _is_awaited(podip: PodIP) -> bool:
    """Return True if a pod waits for the PodIP's addresses, whatever hinders them."""
    placed = podip.placed
    if placed is None:
        return not podip.was_granted
    return placed.status == Status.FALSE and placed.reason not in UNAWAITED


def _are_in_one_network(state: ClusterState, podip: PodIP, eni: ENI) -> bool:
    """Return True if the PodIP's pool has the ENI's network: others may have equal addresses."""
    pool = podip.spec.pool_name
    of_pool = (other.spec.network_id for other in state.enis_of(pool))
    return pool == eni.spec.pool_name or eni.spec.network_id in of_pool


def in_transit_to(state: ClusterState, pool: str) -> Counter[str]:
    """Return, by node, how many pods' addresses are on their way there, with no ENI chosen yet.

    On no port, they take up what they have left of the pool's limit: it is for that node.
    """
    moving = [p for p in state.podips_on("") if p.spec.pool_name == pool and p.was_granted]
    if not moving:
        return Counter()
    unplaced = state.unplaced_addresses()
    return Counter(
        target_node(state, podip)
        for podip in moving
        if _is_in_progress(podip) and all((pool, a) in unplaced for a in podip.spec.addresses)
    )


def is_for_a_pod(state: ClusterState, pool: str, address: str) -> bool:
    """Return True if a pod of the pool had the address, or is about to get it.

    One that was on its way may come with a new port: as the ENI's own it would be lost to the pod.
    """
    podip = claimant_of(state, address, pool)
    return podip is not None and (podip.was_granted or _is_in_progress(podip))


def claimed_addresses(state: ClusterState, eni: ENI) -> tuple[str, ...]:
    """Return the addresses that the ENI's port is to have for certain pods.

    Not even an ENI that was chosen for it before gets one that no pod may have.
    """
    subnets = eni.status.port.subnets if eni.status.port else ()
    return tuple(
        address
        for podip in sorted(state.podips_on(eni.name), key=_rank)
        if podip.spec.node_name == eni.spec.node_name
        for address in podip.spec.addresses
        if claimant_of(state, address, eni.spec.pool_name) == podip
        and not role_of(address, subnets)
    )


def port_has_addresses_of(eni: ENI | None, podip: PodIP) -> bool:
    """Return True if the ENI's port has all addresses of the PodIP."""
    if eni is None or eni.status.port is None:
        return False
    return not _not_on_port(eni, podip.spec.addresses)


def _not_on_port(eni: ENI, addresses: Iterable[str]) -> tuple[str, ...]:
    """Return those of the addresses that the ENI's port does not have; none without a port."""
    port = eni.status.port
    if port is None:
        return ()
    present = {*port.primary, *port.addresses, *port.releasing}
    return tuple(a for a in addresses if a not in present)


def pending_claims(state: ClusterState, enis: Iterable[ENI]) -> dict[str, PendingClaims]:
    """Return, by ENI, the claims to addresses that its port does not have yet."""
    found: dict[str, PendingClaims] = {}
    for eni in enis:
        missing = _not_on_port(eni, claimed_addresses(state, eni))
        if missing:
            found[eni.name] = _pending_claims_of(state, eni, missing)
    return found


def _pending_claims_of(state: ClusterState, eni: ENI, addresses: tuple[str, ...]) -> PendingClaims:
    """Return the claims to these addresses, with the pods on the ENI's node that wait for some."""
    podips = [
        p for p in state.podips_on(eni.name) if not set(addresses).isdisjoint(p.spec.addresses)
    ]
    pods = {podip.key: state.waiting_pod(podip.key) for podip in podips}
    waiting = (p.uid for p in pods.values() if p is not None and p.node == eni.spec.node_name)
    restarted = sum(pods[podip.key] is None and _is_awaited(podip) for podip in podips)
    return PendingClaims(addresses, frozenset(waiting), restarted)


def _rank(podip: PodIP) -> tuple[bool, str, str]:
    return not podip.was_granted, podip.metadata.creation_timestamp, podip.key
