"""Compare the addresses of an ENI's port with how many the ENI shall have. Pure.

An address leaves a port in four steps. The pool asks for it (`spec.retiring`) and wants fewer
(`spec.addressCount`); the agent retires it; the operator records it in `status.port.releasing`;
then it changes the port. Until the third step the request can be withdrawn, so an answer of the
agent counts at the ENI's present generation only, and the record is written to the very version of
the ENI that has the answer. From then on nothing takes it back, since the change may be made at any
time: for the agent the address has left the ENI. Each change is of one revision of the port, which
the status has before it is sent: an address that comes back has come by another revision.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.status.eni import PortStatus, PortSubnet
from openeni_operator.cloud.api import FixedIP, Port


@dataclass(frozen=True)
class Resize:
    """What the port has too much, and what it lacks."""

    release: tuple[str, ...] = ()  # addresses to remove
    add: tuple[str, ...] = ()  # IDs of subnets, one for each address to add
    claimed: FixedIP | None = None  # an address for a certain pod
    refused: tuple[str, ...] = ()  # such addresses, which the cloud has just refused


@dataclass(frozen=True)
class Claims:
    """Addresses that certain pods wait for, and those of them that the cloud has just refused."""

    addresses: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()  # of the port, which other ENIs are to get


NO_RESIZE: Final = Resize()
NO_CLAIMS: Final = Claims()


def resize_of(eni: ENI, port: PortStatus, claims: Claims = NO_CLAIMS, *, elastic: bool) -> Resize:
    """Return what to change; without `elastic`, only what has been recorded before.

    A claimed address counts like any other, and nothing takes its place when it is refused. Of an
    ENI that offers no addresses nothing is changed, but for what pods wait for: others may use the
    port for long.
    """
    retiring, retired = set(eni.spec.retiring), retired_addresses(eni)
    release, add, lacking = set(port.releasing), list[str](), list[FixedIP]()
    if elastic and not eni.offers_addresses:
        release |= claims.leaving & retired & set(port.addresses)
    elif elastic:
        for subnet in port.subnets:
            present = addresses_in(subnet, port.addresses)
            surplus = len(present) - eni.spec.address_count
            given_up = [a for a in present if a in retiring & retired]
            release.update(given_up[: max(0, surplus)])
            missing = missing_claims(port, subnet, claims.addresses)[: max(0, -surplus)]
            lacking += [FixedIP(subnet.id, address) for address in missing]
            add += [subnet.id] * (max(0, -surplus) - len(missing))
    claimed = (f for f in lacking if f.address not in claims.refused)
    refused = tuple(f.address for f in lacking if f.address in claims.refused)
    return Resize(tuple(sorted(release)), tuple(add), next(claimed, None), refused)


def missing_claims(port: PortStatus, subnet: PortSubnet, claims: Iterable[str]) -> list[str]:
    """Return the claimed addresses of the subnet that the port does not have in any way."""
    there = {*port.primary, *port.addresses, *port.releasing}
    network = ip_network(subnet.cidr)
    return [a for a in claims if a not in there and ip_address(a) in network]


def addresses_in(subnet: PortSubnet, addresses: Iterable[str]) -> list[str]:
    """Return the addresses of the subnet's IP family: the port has one subnet of each."""
    return [a for a in addresses if (":" in a) == (":" in subnet.cidr)]


def retired_addresses(eni: ENI) -> set[str]:
    """Return the addresses that the agent has retired at the ENI's present generation."""
    node = eni.status.node
    return {
        r.address for r in (node.retired if node else ()) if r.generation >= eni.metadata.generation
    }


def without(port: Port, released: Iterable[str]) -> tuple[FixedIP, ...]:
    """Return the port's fixed IPs without these addresses."""
    gone = set(released)
    return tuple(f for f in port.fixed_ips if f.address not in gone)


def with_more(port: Port, subnets: Iterable[str]) -> tuple[FixedIP, ...]:
    """Return the port's fixed IPs and, for each of the subnets, any other address of it."""
    return (*port.fixed_ips, *(FixedIP(subnet, "") for subnet in subnets))


def is_answered(asked: tuple[FixedIP, ...], found: Port) -> bool:
    """Return True if the port has just the fixed IPs that were asked for.

    Neutron adds those of SLAAC subnets unasked. If a change of somebody else has won, it can accept
    a request all the same (LP#1909008).
    """
    named = {f for f in asked if f.address}
    subnets = {f.subnet_id for f in asked}
    new = sorted(f.subnet_id for f in found.fixed_ips if f.subnet_id in subnets and f not in named)
    return named <= set(found.fixed_ips) and new == sorted(
        f.subnet_id for f in asked if not f.address
    )
