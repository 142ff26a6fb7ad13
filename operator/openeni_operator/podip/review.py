"""PodIPs that need the operator: their node is gone, or Neutron has lost their addresses.

Pure. PodIPs are listed, never watched: there is one for every pod, and nearly all of them are the
agents' business alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from openeni_crds.conditions import Condition, Reason, Type, condition, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.names import FINALIZER_PODIP
from openeni_crds.podip import PodIP


@dataclass(frozen=True)
class Release:
    """Nobody is left to take the datapath down: the finalizer may go."""

    podip: PodIP


@dataclass(frozen=True)
class Tell:
    """Say whether the address is lost."""

    podip: PodIP
    lost: Condition


Act: TypeAlias = Release | Tell


def review(
    podips: Iterable[PodIP], gone: frozenset[str], enis: Mapping[str, ENI]
) -> tuple[Act, ...]:
    """Return what to do; `gone` names nodes that the API server says are no more."""
    found: list[Act] = []
    for podip in podips:
        if podip.spec.node_name in gone:
            if FINALIZER_PODIP in podip.metadata.finalizers:
                found.append(Release(podip))
            continue
        lost = _loss(podip, enis.get(podip.spec.eni_name))
        if lost is not None:
            found.append(Tell(podip, lost))
    return tuple(found)


def _loss(podip: PodIP, eni: ENI | None) -> Condition | None:
    """Return the condition to write, or None where it stands already or nothing is known."""
    if eni is None:
        return None
    if eni.status.port is not None:
        here = set(eni.status.port.addresses)
    elif _port_lost(eni):
        here = set[str]()
    else:
        return None
    missing = [a for a in podip.spec.addresses if a not in here]
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


def _port_lost(eni: ENI) -> bool:
    found = find(eni.status.conditions, Type.PORT_READY)
    return found is not None and found.reason == Reason.PORT_LOST
