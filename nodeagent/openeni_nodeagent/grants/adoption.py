"""Plan the repair of what differs between journal, kernel, PodIPs and pods. Pure.

Nothing is guessed. A grant that the journal has lost is adopted from a PodIP only if its pod exists
and the kernel has the address on the pod's own device, and no other PodIP could claim it. If only
the record that its ADD succeeded is lost, its PodIP or its pod's status shows that. An address in
the kernel is removed only if no pod of the node can be its owner, and a grant ends only if nothing
of its pod is left or its ADD never succeeded; the caller does either only if it is still planned
CONFIRM_SECONDS later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from msgspec.structs import replace

from openeni_crds.datapath_mode import DatapathMode
from openeni_crds.podip import PodIP
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_nodeagent.pod_options import PortMapping

CONFIRM_SECONDS: Final = 120.0  # longer than any ADD
LONGEST_COOL_DOWN_SECONDS: Final = 3600.0  # the API's bound of ENIPool.spec.coolDown


@dataclass(frozen=True)
class AdoptedENI:
    """Holds what an adopted grant needs of its ENI."""

    mtu: int  # bytes, for its pods
    port: str


@dataclass(frozen=True)
class ObservedPod:
    """A pod of this node at the API server."""

    runtime_uid: str
    addresses: frozenset[str]  # in its status; none as long as kubelet has reported none
    name: str  # namespace/name


@dataclass(frozen=True)
class NodeObservation:
    """The grants of the journal, with what kernel, API and file system show at the same time."""

    grants: tuple[Grant, ...]
    kernel: Mapping[str, str]  # addresses that have a route to a pod -> device of the route
    unexplained: frozenset[str]  # of these, addresses of whose grants nothing is known
    podips: tuple[PodIP, ...]
    pods: Mapping[str, ObservedPod]  # by UID at the API server
    living: frozenset[Attachment]  # whose network namespaces exist
    ready: frozenset[Attachment]  # whose ENIs' links are
    enis: Mapping[str, AdoptedENI]  # by name
    cool_downs: Mapping[str, float]  # pool -> seconds
    # In the kernel, by the address that they lead to
    host_ports: Mapping[str, tuple[PortMapping, ...]] = field(
        default_factory=dict[str, tuple[PortMapping, ...]]
    )


@dataclass(frozen=True)
class Adopt:
    """The journal has no grant, but PodIP, pod and kernel agree on the owner.

    Or it has it as before its ADD: `known`.
    """

    grant: Grant
    known: Grant | None = None


@dataclass(frozen=True)
class EndGrant:
    """The runtime never sent the DEL."""

    grant: Grant
    reason: EndReason


@dataclass(frozen=True)
class RemoveStrayAddress:
    """The kernel has the address, and no pod on this node can be its owner."""

    address: str


RepairAction: TypeAlias = Adopt | EndGrant | RemoveStrayAddress


def plan_repair(observed: NodeObservation) -> tuple[RepairAction, ...]:
    """Return an action for everything that differs, in a stable order."""
    candidates = [podip for podip in observed.podips if _may_own(podip, observed)]
    of_podips = {a for p in observed.podips if _has_pod(p, observed) for a in p.spec.addresses}
    of_pods = {a for pod in observed.pods.values() for a in pod.addresses}
    strays = observed.unexplained - of_podips - of_pods
    return (
        *(Adopt(_adopted(p, observed)) for p in candidates if not _contested(p, candidates)),
        *(Adopt(g, known) for known in observed.grants if (g := _connected(known, observed))),
        *(EndGrant(g, why) for g in observed.grants if (why := _over(g, observed)) is not None),
        *(RemoveStrayAddress(a) for a in sorted(strays)),
    )


def _has_pod(podip: PodIP, observed: NodeObservation) -> bool:
    return podip.spec.pod_uid in observed.pods


def _may_own(podip: PodIP, observed: NodeObservation) -> bool:
    """Return True if the PodIP's pod may have an unexplained address, by all that can be seen."""
    pod = observed.pods.get(podip.spec.pod_uid)
    addresses = frozenset(podip.spec.addresses)
    found = addresses & observed.unexplained
    device = podip.status.host_interface
    return (
        bool(found)
        and pod is not None
        and not podip.metadata.deleting
        and bool(device)
        and all(observed.kernel.get(address) == device for address in found)
        and not (pod.addresses and pod.addresses.isdisjoint(addresses))
        and not _shown_by_another(podip, observed)
        and not any(_conflicts(grant, podip) for grant in observed.grants)
    )


def _shown_by_another(podip: PodIP, observed: NodeObservation) -> bool:
    """Return True if kubelet has reported one of the addresses for another pod."""
    return any(
        not pod.addresses.isdisjoint(podip.spec.addresses)
        for uid, pod in observed.pods.items()
        if uid != podip.spec.pod_uid
    )


def _conflicts(grant: Grant, podip: PodIP) -> bool:
    """Return True if a grant has the PodIP's container, an address of it, or its device."""
    return (
        grant.attachment.container_id == podip.spec.container_id
        or not set(podip.spec.addresses).isdisjoint(grant.addresses)
        or (_has_own_device(podip) and grant.host_interface == podip.status.host_interface)
    )


def _contested(podip: PodIP, candidates: list[PodIP]) -> bool:
    """Return True if another PodIP has as good a claim to an address or to the device."""
    return any(
        not set(podip.spec.addresses).isdisjoint(other.spec.addresses)
        or podip.spec.container_id == other.spec.container_id
        or (_has_own_device(podip) and podip.status.host_interface == other.status.host_interface)
        for other in candidates
        if other is not podip
    )


def _has_own_device(podip: PodIP) -> bool:
    """Return True if no other pod shares the node's end: ipvlan pods of an ENI share a slave."""
    return podip.spec.datapath_mode == DatapathMode.VETH


def _adopted(podip: PodIP, observed: NodeObservation) -> Grant:
    spec, status = podip.spec, podip.status
    eni = observed.enis.get(spec.eni_name, AdoptedENI(1500, ""))
    return Grant(
        Attachment(
            observed.pods[spec.pod_uid].runtime_uid,
            spec.container_id,
            status.pod_interface or "eth0",
        ),
        podip.namespace,
        podip.name,
        "",
        spec.eni_name,
        spec.pool_name,
        spec.addresses,
        spec.datapath_mode,
        eni.mtu,
        at=0.0,
        cool_down=observed.cool_downs.get(spec.pool_name, LONGEST_COOL_DOWN_SECONDS),
        connected=True,
        host_interface=status.host_interface,
        gateway=(status.gateway,) if status.gateway else (),
        api_uid=spec.pod_uid,
        port=eni.port,
        retention=spec.retention,
        requested=podip.is_watched and not podip.is_retained,
        host_ports=tuple(p for a in spec.addresses for p in observed.host_ports.get(a, ())),
    )


def _connected(grant: Grant, observed: NodeObservation) -> Grant | None:
    """Return a grant as its ADD has left it, if that succeeded and the journal does not know it.

    A PodIP names container and device from then on. Where none has been published, the pod's status
    has the addresses.
    """
    if grant.connected:
        return None
    of_pod = [p for p in observed.podips if not set(p.spec.addresses).isdisjoint(grant.addresses)]
    for podip in of_pod:
        status = podip.status
        if podip.spec.container_id == grant.attachment.container_id and status.host_interface:
            gateway = (status.gateway,) if status.gateway else ()
            return _as_connected(grant, status.host_interface, gateway)
    shown = any(
        pod.runtime_uid == grant.attachment.pod_uid and pod.addresses.issuperset(grant.addresses)
        for pod in observed.pods.values()
    )
    device = observed.kernel.get(grant.addresses[0], "")
    return _as_connected(grant, device, ()) if shown and not of_pod else None


def _as_connected(grant: Grant, host_interface: str, gateway: tuple[str, ...]) -> Grant:
    return replace(grant, connected=True, host_interface=host_interface, gateway=gateway)


def describe(action: RepairAction) -> str:
    """Describe for the log what an action repairs."""
    match action:
        case Adopt(grant, Grant()):
            return f"{_pod(grant)} has a grant, but the record that its ADD succeeded is lost"
        case Adopt(grant):
            return f"{_pod(grant)} has a PodIP and a datapath but no grant"
        case EndGrant(grant, EndReason.NEVER_CONNECTED):
            return f"{_pod(grant)} has a grant, but its ADD failed and no DEL followed"
        case EndGrant(grant):
            return f"{_pod(grant)} has a grant, but neither the pod nor its namespace exists"
        case RemoveStrayAddress(address):
            return f"address {address} is in the kernel but has no owner on this node"


def _pod(grant: Grant) -> str:
    return f"pod {grant.namespace}/{grant.name} ({', '.join(grant.addresses)})"


def _over(grant: Grant, observed: NodeObservation) -> EndReason | None:
    """Return why the grant is over although no DEL has come, None if it is not.

    The namespace of an adopted grant is not known: then the pod alone decides.
    """
    could_connect = grant.attachment in observed.ready
    if could_connect and not grant.connected and not _connected(grant, observed):
        return EndReason.NEVER_CONNECTED
    owner = grant.attachment.pod_uid, grant.pod_key
    exists = any((p.runtime_uid, p.name) == owner for p in observed.pods.values())
    return None if exists or grant.attachment in observed.living else EndReason.POD_GONE
