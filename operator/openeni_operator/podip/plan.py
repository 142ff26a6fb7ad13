"""Plan what the operator does about PodIPs: release those of deleted nodes, report lost addresses.

Pure. PodIPs are listed and never watched: there is one for every pod, and nearly all of them
concern only their node's agent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from openeni_crds.conditions import Condition, Reason, Type, condition, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.names import FINALIZER_PODIP
from openeni_crds.podip import PodIP


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


def plan_podips(
    podips: Iterable[PodIP], gone_nodes: frozenset[str], enis: Mapping[str, ENI]
) -> tuple[PodIPAction, ...]:
    """Return the actions; `gone_nodes` are nodes that the API server reports as not found."""
    actions: list[PodIPAction] = []
    for podip in podips:
        if podip.spec.node_name in gone_nodes:
            if FINALIZER_PODIP in podip.metadata.finalizers:
                actions.append(RemovePodIPFinalizer(podip))
            continue
        lost = _address_lost(podip, enis.get(podip.spec.eni_name))
        if lost is not None:
            actions.append(SetAddressLost(podip, lost))
    return tuple(actions)


def _address_lost(podip: PodIP, eni: ENI | None) -> Condition | None:
    """Return the condition to write; None if it is already there or the port is unknown."""
    if eni is None:
        return None
    if eni.status.port is not None:
        present = set(eni.status.port.addresses)
    elif _is_port_lost(eni):
        present = set[str]()
    else:
        return None
    missing = [a for a in podip.spec.addresses if a not in present]
    if bool(missing) == is_true(podip.status.conditions, Type.ADDRESS_LOST):
        return None
    if not missing:
        return condition(Type.ADDRESS_LOST, Reason.ASSIGNED, status=False)
    return condition(
        Type.ADDRESS_LOST,
        Reason.PORT_LOST,
        f"{', '.join(missing)} is no longer on the port of ENI {eni.name}: restart the pod",
        status=True,
    )


def _is_port_lost(eni: ENI) -> bool:
    found = find(eni.status.conditions, Type.PORT_READY)
    return found is not None and found.reason == Reason.PORT_LOST
