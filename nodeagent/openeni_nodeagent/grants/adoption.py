"""Plan the repair of what differs between journal, kernel, PodIPs and pods. Pure.

Nothing is guessed. An address in the kernel is removed only if no pod of the node can be its owner,
and a grant ends only if its pod and its namespace are both gone; the caller does either only if it
is still planned CONFIRM_SECONDS later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.podip import PodIP
from openeni_nodeagent.grants.ledger import Attachment, Grant

CONFIRM_SECONDS: Final = 120.0
LONGEST_COOL_DOWN_SECONDS: Final = 3600.0  # the API's bound of ENIPool.spec.coolDown


@dataclass(frozen=True)
class NodeObservation:
    """The grants of the journal, with what kernel, API and file system show at the same time."""

    grants: tuple[Grant, ...]
    kernel: frozenset[str]  # addresses that have a route to a pod
    reserved: frozenset[str]  # in the kernel without a grant since this process started
    podips: tuple[PodIP, ...]
    pod_uids: frozenset[str]
    pod_addresses: frozenset[str]  # in the status of this node's pods
    namespaces: Mapping[str, bool]  # netns path of a grant -> True if it exists
    mtus: Mapping[str, int]  # ENI -> bytes, for its pods
    cool_downs: Mapping[str, float]  # pool -> seconds


@dataclass(frozen=True)
class Adopt:
    """The journal has no grant, but PodIP and kernel agree on the owner."""

    grant: Grant


@dataclass(frozen=True)
class Reconnect:
    """The pod's namespace exists, its datapath does not."""

    grant: Grant


@dataclass(frozen=True)
class EndGrant:
    """Neither the pod nor its namespace exists: the runtime never sent the DEL."""

    grant: Grant


@dataclass(frozen=True)
class RemoveStrayAddress:
    """The kernel has the address, and no pod on this node can be its owner."""

    address: str


RepairAction: TypeAlias = Adopt | Reconnect | EndGrant | RemoveStrayAddress


def plan_repair(observed: NodeObservation) -> tuple[RepairAction, ...]:
    """Return an action for everything that differs, in a stable order."""
    adopted = [_adopted(podip, observed) for podip in observed.podips if _fits(podip, observed)]
    claimed = {a for p in observed.podips for a in p.spec.addresses} | observed.pod_addresses
    return (
        *(Adopt(grant) for grant in adopted),
        *(Reconnect(g) for g in observed.grants if _disconnected(g, observed)),
        *(EndGrant(g) for g in observed.grants if _abandoned(g, observed)),
        *(RemoveStrayAddress(a) for a in sorted((observed.reserved & observed.kernel) - claimed)),
    )


def _fits(podip: PodIP, observed: NodeObservation) -> bool:
    """Return whether the PodIP, and no other, can tell whose a reserved address is."""
    mine = set(podip.spec.addresses)
    claims = sum(bool(mine & set(other.spec.addresses)) for other in observed.podips)
    granted = {grant.attachment.container_id for grant in observed.grants}
    return bool(mine & observed.reserved) and claims == 1 and podip.spec.container_id not in granted


def _adopted(podip: PodIP, observed: NodeObservation) -> Grant:
    attachment = Attachment(
        podip.spec.pod_uid, podip.spec.container_id, podip.status.pod_interface or "eth0"
    )
    return Grant(
        attachment,
        podip.namespace,
        podip.name,
        "",
        podip.spec.eni_name,
        podip.spec.pool_name,
        podip.spec.addresses,
        podip.spec.datapath_mode,
        observed.mtus.get(podip.spec.eni_name, 1500),
        at=0.0,
        cool_down=observed.cool_downs.get(podip.spec.pool_name, LONGEST_COOL_DOWN_SECONDS),
        connected=True,
        host_interface=podip.status.host_interface,
        gateway=(podip.status.gateway,) if podip.status.gateway else (),
    )


def describe(action: RepairAction) -> str:
    """Describe for the log what an action repairs."""
    match action:
        case Adopt(grant):
            return f"{_pod(grant)} has a PodIP and a datapath but no grant"
        case Reconnect(grant):
            return f"{_pod(grant)} has a grant but no datapath"
        case EndGrant(grant):
            return f"{_pod(grant)} has a grant, but neither the pod nor its namespace exists"
        case RemoveStrayAddress(address):
            return f"address {address} is in the kernel but has no owner on this node"


def _pod(grant: Grant) -> str:
    return f"pod {grant.namespace}/{grant.name} ({', '.join(grant.addresses)})"


def _disconnected(grant: Grant, observed: NodeObservation) -> bool:
    return (
        grant.connected
        and not set(grant.addresses) <= observed.kernel
        and observed.namespaces.get(grant.netns, False)
    )


def _abandoned(grant: Grant, observed: NodeObservation) -> bool:
    return (
        bool(grant.netns)
        and not observed.namespaces.get(grant.netns, False)
        and grant.attachment.pod_uid not in observed.pod_uids
    )
