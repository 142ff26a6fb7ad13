"""Plan what the operator does about PodIPs: release those of deleted nodes, report lost addresses.

Pure. PodIPs are listed and never watched: there is one for every pod, and nearly all of them
concern only their node's agent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.conditions import Condition, Reason, Type, condition, find, is_true, merge
from openeni_crds.eni import ENI
from openeni_crds.names import FINALIZER_PODIP
from openeni_crds.podip import PodIP

OWNED: Final = (Type.ADDRESS_LOST, Type.RETAINED, Type.PLACED)  # conditions of the operator


@dataclass(frozen=True)
class RemovePodIPFinalizer:
    """Remove the finalizer: no agent is left to remove the datapath."""

    podip: PodIP


@dataclass(frozen=True)
class SetAddressLost:
    """Write the condition AddressLost."""

    podip: PodIP
    lost: Condition


PodIPAction: TypeAlias = RemovePodIPFinalizer | SetAddressLost


def plan_podip(
    podip: PodIP, eni: ENI | None, *, node_gone: bool, eni_gone: bool = False
) -> PodIPAction | None:
    """Return the action.

    `node_gone` says that the node has been missing for long enough, `eni_gone` that the API server
    has no ENI of the name in the PodIP's spec any more: None alone may be a cache that is behind.
    """
    if node_gone:
        released = FINALIZER_PODIP not in podip.metadata.finalizers
        return None if released else RemovePodIPFinalizer(podip)
    if is_without_pod(podip) or (eni is None and not eni_gone):
        return None
    lost = _address_lost(podip, eni)
    return SetAddressLost(podip, lost) if lost is not None else None


def matters_whether_eni_is_gone(podip: PodIP) -> bool:
    """Return True if a pod has the addresses, and has not been told that they are lost.

    Those of a PodIP without an ENI, or without a pod, are to be placed anew (`placement`).
    """
    told = is_true(podip.status.conditions, Type.ADDRESS_LOST)
    return bool(podip.spec.eni_name) and not told and not is_without_pod(podip)


def is_without_pod(podip: PodIP) -> bool:
    """Return True if no pod has the addresses, by the agent of the PodIP's node."""
    reported = find(podip.status.conditions, Type.DATAPATH_READY)
    return reported is not None and reported.reason in {
        Reason.RETAINED,
        Reason.WAITING_FOR_ADDRESS,
    }


def agent_has_seen(podip: PodIP) -> bool:
    """Return True if the agent of the PodIP's node has reported on its present spec."""
    reported = find(podip.status.conditions, Type.DATAPATH_READY)
    return reported is not None and reported.observed_generation == podip.metadata.generation


def own_conditions(
    podip: PodIP, wanted: Iterable[Condition], now: str
) -> tuple[Condition, ...] | None:
    """Return all of the operator's conditions, which are written together; None: nothing is new."""
    before = {c.type: c for c in podip.status.conditions if c.type in OWNED}
    after = before | {c.type: c for c in merge(podip.status.conditions, wanted, now)}
    return None if after == before else tuple(after[type_] for type_ in sorted(after))


def _address_lost(podip: PodIP, eni: ENI | None) -> Condition | None:
    """Return the condition to write; None if it is already there or nothing is known.

    Without an ENI, all addresses are lost: the agent grants only those of an ENI that exists.
    """
    if eni is not None and find(eni.status.conditions, Type.PORT_READY) is None:
        return None
    port = eni.status.port if eni is not None else None
    present = set(port.addresses) if port else set[str]()
    missing = [a for a in podip.spec.addresses if a not in present]
    if bool(missing) == is_true(podip.status.conditions, Type.ADDRESS_LOST):
        return None
    if not missing:
        return condition(Type.ADDRESS_LOST, Reason.ASSIGNED, status=False)
    name = podip.spec.eni_name
    where = f"no longer on the port of ENI {name}" if eni else f"lost, since ENI {name} is gone"
    message = f"{', '.join(missing)} is {where}: restart the pod"
    return condition(Type.ADDRESS_LOST, Reason.PORT_LOST, message, status=True)
