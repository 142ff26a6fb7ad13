"""Journal, kernel, PodIPs and pods must agree: what does not, and what follows from it. Pure.

Nothing is guessed: an address that the kernel carries is given back only when no pod of the node
can be its owner, and only after two looks apart in time; a grant ends only when its pod and its
namespace are both gone, twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.podip import PodIP
from openeni_nodeagent.grants.ledger import Grant, Holder

APART_SECONDS: Final = 120.0


@dataclass(frozen=True)
class World:
    """What the four say. `kernel` maps addresses to devices."""

    grants: tuple[Grant, ...]
    kernel: frozenset[str]
    unowned: frozenset[str]  # carried by the kernel since this process began, without a grant
    podips: tuple[PodIP, ...]
    pod_uids: frozenset[str]
    pod_addresses: frozenset[str]  # what pods of this node show in their status
    namespaces: Mapping[str, bool]  # netns path of a grant -> whether it is there
    mtus: Mapping[str, int]  # ENI -> bytes, of its pods


@dataclass(frozen=True)
class Adopt:
    """The journal lost it, but PodIP and kernel agree: its pod holds it."""

    grant: Grant


@dataclass(frozen=True)
class Reconnect:
    """The pod is there, its datapath is not."""

    grant: Grant


@dataclass(frozen=True)
class End:
    """Neither pod nor namespace is there: the DEL was lost with the runtime."""

    grant: Grant


@dataclass(frozen=True)
class Disown:
    """The kernel carries it, and nobody on this node can be its owner."""

    address: str


Finding: TypeAlias = Adopt | Reconnect | End | Disown


def findings(world: World) -> tuple[Finding, ...]:
    """Everything that does not agree, in a stable order."""
    adopted = [_adopt(p, world) for p in world.podips if set(p.spec.addresses) & world.unowned]
    claimed = {a for p in world.podips for a in p.spec.addresses} | world.pod_addresses
    return (
        *(Adopt(grant) for grant in adopted),
        *(Reconnect(g) for g in world.grants if _disconnected(g, world)),
        *(End(g) for g in world.grants if _abandoned(g, world)),
        *(Disown(a) for a in sorted((world.unowned & world.kernel) - claimed)),
    )


def _adopt(podip: PodIP, world: World) -> Grant:
    holder = Holder(
        podip.spec.pod_uid, podip.spec.container_id, podip.status.pod_interface or "eth0"
    )
    return Grant(
        holder,
        podip.namespace,
        podip.name,
        "",
        podip.spec.eni_name,
        podip.spec.pool_name,
        podip.spec.addresses,
        podip.spec.datapath_mode,
        world.mtus.get(podip.spec.eni_name, 1500),
        at=0.0,
        rest=APART_SECONDS,
        connected=True,
        host_interface=podip.status.host_interface,
        gateway=(podip.status.gateway,) if podip.status.gateway else (),
    )


def _disconnected(grant: Grant, world: World) -> bool:
    return (
        grant.connected
        and not set(grant.addresses) <= world.kernel
        and world.namespaces.get(grant.netns, False)
    )


def _abandoned(grant: Grant, world: World) -> bool:
    return (
        bool(grant.netns)
        and not world.namespaces.get(grant.netns, False)
        and grant.holder.pod_uid not in world.pod_uids
    )
