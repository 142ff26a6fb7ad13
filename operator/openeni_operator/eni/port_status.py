"""Describe a port for ENI.status. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

import msgspec

from openeni_crds.conditions import Reason
from openeni_crds.eni import ENI
from openeni_crds.status.eni import MOST_ADDRESSES, PortStatus, PortSubnet
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import Place, Port


@dataclass(frozen=True)
class NetworkFacts:
    """The facts of a port's network, and of where it is, that ENI.status repeats."""

    mtu: int
    subnets: tuple[PortSubnet, ...]
    place: Place


def describe_port(
    port: Port,
    eni: ENI,
    network: NetworkFacts,
    for_pods: frozenset[str] = frozenset(),
) -> tuple[PortStatus | None, Cause | None]:
    """Describe the port, and return the cause if it cannot serve pods.

    The primary addresses are chosen once and kept. Neutron sorts fixed IPs as text, so their
    position has no meaning, and an address that a pod has must never become the primary one.
    Of a new port they are none of `for_pods`, which certain pods are to have.
    """
    recorded = eni.status.port
    before = recorded if recorded is not None and recorded.id == port.id else None
    primary = before.primary if before else _lowest(port, network, for_pods)
    own = {subnet.id for subnet in network.subnets}  # anybody may add fixed IPs of other subnets
    present = {f.address for f in port.fixed_ips if f.subnet_id in own}
    releasing = present & set(before.releasing) if before else set[str]()
    addresses = tuple(sorted(present - set(primary) - releasing, key=_numeric))
    if len(primary) != len(network.subnets):
        return None, _changed(port, "has no address in a subnet of the ENI")
    described = PortStatus(
        id=port.id,
        name=port.name,
        mac_address=port.mac_address,
        revision=port.revision,
        mtu=network.mtu,
        subnets=network.subnets,
        primary=primary,
        addresses=addresses[:MOST_ADDRESSES],
        releasing=tuple(sorted(releasing, key=_numeric)),
        lost=_lost(before, present),
        project_id=network.place.project_id,
        region=network.place.region,
    )
    if not present >= set(primary):
        return described, _changed(port, "lacks the primary address of the ENI")
    if len(addresses) > MOST_ADDRESSES:
        return described, _changed(
            port, f"has {len(addresses)} fixed IPs for pods, and an ENI can use {MOST_ADDRESSES}"
        )
    return described, None


def is_recorded(eni: ENI, port: PortStatus | None) -> bool:
    """Return True if the ENI's status has the port as it was observed, but for its revision."""
    recorded = eni.status.port
    if port is None or recorded is None:
        return False
    return msgspec.structs.replace(port, revision=recorded.revision) == recorded


def mark_releasing(port: PortStatus, released: Iterable[str]) -> PortStatus:
    """Return the port as it is to be recorded before these addresses are removed from it."""
    releasing = set(released)
    return msgspec.structs.replace(
        port,
        addresses=tuple(a for a in port.addresses if a not in releasing),
        releasing=tuple(sorted(releasing, key=_numeric)),
    )


def _changed(port: Port, what: str) -> Cause:
    return Cause(
        Reason.PORT_CHANGED,
        f"port {port.id} {what}, because its fixed IPs were changed: restore them, or wait until "
        "the operator has replaced this ENI, after its last pod",
    )


def _lost(before: PortStatus | None, present: set[str]) -> tuple[str, ...]:
    """Return the addresses that the port had and has no more."""
    if before is None:
        return ()
    had = {*before.primary, *before.addresses, *before.lost}
    return tuple(sorted(had - present, key=_numeric))[:MOST_ADDRESSES]


def _lowest(port: Port, network: NetworkFacts, for_pods: frozenset[str]) -> tuple[str, ...]:
    """Return the lowest address in each subnet: stable if a crash loses the first choice."""
    chosen: list[str] = []
    for subnet in network.subnets:
        own = [f.address for f in port.fixed_ips if f.subnet_id == subnet.id]
        chosen.extend(sorted(own, key=lambda a: (a in for_pods, _numeric(a)))[:1])
    return tuple(chosen)


def _numeric(address: str) -> tuple[int, int]:
    parsed = ip_address(address)
    return parsed.version, int(parsed)
