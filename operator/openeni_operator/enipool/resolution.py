"""What an ENIPool names in its cloud, and the checks that the cloud can serve the pool. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Protocol, TypeVar

from openeni_crds.conditions import Reason
from openeni_crds.eni import MOST_SECURITY_GROUPS
from openeni_crds.enipool import ENIPoolSpec
from openeni_crds.terms import SecurityGroupTerm, SubnetTerm
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import Network, Port, SecurityGroup, Subnet

IPV6: Final = 6  # Neutron's ip_version
IPV6_MTU: Final = 1280  # RFC 8200, section 5
MAX_FREE: Final = 2**31 - 1  # bound of the field; an IPv6 subnet has more


class ResolutionError(Exception):
    """Carries a Cause out of a nested check."""

    def __init__(self, reason: Reason, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        self.cause = Cause(reason, message, unsupported)


@dataclass(frozen=True)
class PoolSubnet:
    zone: str  # "" for every node
    subnet: Subnet
    free: int


@dataclass(frozen=True)
class Resolution:
    network: Network
    subnets: tuple[PoolSubnet, ...]
    security_groups: tuple[SecurityGroup, ...]
    mtu: int  # bytes

    def choose(self, zone: str, count: int) -> tuple[Subnet, ...]:
        """Return a subnet for each IP family, for a node in this zone; () if there is none.

        It is the first in the pool's order with `count` free addresses. If none has that many, it
        is the first one: the free count is an estimate, and Neutron decides.
        """
        chosen: list[Subnet] = []
        for version in (4, 6):
            usable = [
                s for s in self.subnets if s.subnet.ip_version == version and s.zone in ("", zone)
            ]
            with_room = [s for s in usable if s.free >= count]
            chosen.extend([s.subnet for s in with_room or usable][:1])
        return tuple(chosen)


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Identified)
U = TypeVar("U")


def count_free(subnet: Subnet, ports: Iterable[Port]) -> int:
    """Count addresses in the allocation pools that no visible port has: an upper bound."""
    ranges = [(int(ip_address(a)), int(ip_address(b))) for a, b in subnet.pools]
    taken = {
        number
        for port in ports
        for fixed in port.fixed_ips
        if fixed.subnet_id == subnet.id
        for number in [int(ip_address(fixed.address))]
        if any(low <= number <= high for low, high in ranges)
    }
    return min(max(0, sum(high - low + 1 for low, high in ranges) - len(taken)), MAX_FREE)


def check_found(
    field: str,
    kind: str,
    term: SubnetTerm | SecurityGroupTerm,
    cloud: str,
    found: tuple[T, ...],
) -> tuple[T, ...]:
    """Return what the term selects: exactly one by ID or name, at least one by tags."""
    if not found:
        raise ResolutionError(
            Reason.NOT_FOUND,
            f"{field}: cloud {cloud!r} has no {kind} with {_describe(term)} that this project can "
            "see; correct the term or create it",
        )
    if term.name is not None and len(found) > 1:
        ids = ", ".join(sorted(f.id for f in found))
        raise ResolutionError(
            Reason.AMBIGUOUS_NAME,
            f"{field}: {len(found)} {kind}s have {_describe(term)}; use the ID of one: {ids}",
        )
    return found


def _describe(term: SubnetTerm | SecurityGroupTerm) -> str:
    if term.id is not None:
        return f"the ID {term.id!r}"
    if term.name is not None:
        return f"the name {term.name!r}"
    return f"the tags {', '.join(term.tags or ())}"


def unique(found: Iterable[U]) -> tuple[U, ...]:
    """Drop duplicates and keep the order: two terms may select the same resource."""
    return tuple(dict.fromkeys(found))


def check_subnets(subnets: list[tuple[str, PoolSubnet]]) -> None:
    """Check the subnets, each with the field that selects it, against each other."""
    first = subnets[0][1].subnet
    for field, found in subnets:
        subnet = found.subnet
        where = f"{field}: subnet {subnet.name or subnet.id!r}"
        if subnet.network_id != first.network_id:
            raise ResolutionError(
                Reason.SUBNETS_DIFFER,
                f"{where} is on another network than subnet {first.name or first.id!r}; all must "
                "be on one: create a pool for each network",
            )
        if subnet.slaac:
            raise _slaac(where)
        if subnet.dhcp:
            raise ResolutionError(
                Reason.DHCP_ENABLED,
                f"{where} has DHCP enabled, which could lease a pod's address to a node: "
                f"run openstack subnet set --no-dhcp {subnet.id}",
                unsupported=True,
            )


def check_neighbours(subnets: Iterable[Subnet]) -> None:
    """Raise ResolutionError if any subnet of the network would add addresses to our ports."""
    for subnet in subnets:
        if subnet.slaac:
            raise _slaac(f"spec.subnets: subnet {subnet.name or subnet.id!r} on the same network")


def check_mtu(spec: ENIPoolSpec, network: Network, subnets: Iterable[Subnet]) -> None:
    """Raise ResolutionError if the pods' MTU does not fit the network or IPv6."""
    mtu = spec.datapath.mtu
    if mtu is not None and mtu > network.mtu:
        raise ResolutionError(
            Reason.INVALID_SPEC,
            f"spec.datapath.mtu: {mtu} is more than the network's {network.mtu}; lower it",
        )
    in_force = mtu or network.mtu
    if in_force < IPV6_MTU and IPV6 in {subnet.ip_version for subnet in subnets}:
        raise ResolutionError(
            Reason.INVALID_SPEC,
            f"spec.datapath.mtu: the pods' {in_force} is less than the {IPV6_MTU} that IPv6 needs; "
            "raise it, or the network's, or use IPv4 subnets only",
        )


def check_security_groups(groups: Sequence[SecurityGroup]) -> None:
    """Raise ResolutionError if the pool selects more than an ENI can have."""
    if len(groups) > MOST_SECURITY_GROUPS:
        raise ResolutionError(
            Reason.INVALID_SPEC,
            f"spec.securityGroups: the terms select {len(groups)} security groups, at most "
            f"{MOST_SECURITY_GROUPS} fit an ENI; use terms that select fewer",
        )


def _slaac(field: str) -> ResolutionError:
    return ResolutionError(
        Reason.SLAAC_ENABLED,
        f"{field} uses SLAAC: Neutron adds an address of it to every port; "
        "use a network whose subnets have dhcpv6-stateful or no IPv6 mode",
        unsupported=True,
    )
