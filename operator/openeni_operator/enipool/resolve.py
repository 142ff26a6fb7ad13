"""Resolve what an ENIPool names in its cloud, and check that the cloud can serve the pool."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Protocol, TypeVar

from openeni_crds.conditions import Reason
from openeni_crds.enipool import ENIPoolSpec, Growth
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import Cloud, Network, Port, Subnet

MAX_FREE: Final = 2**31 - 1  # bound of the field; an IPv6 subnet has more


class _ResolutionError(Exception):
    """Carries a Cause out of a nested look-up."""

    def __init__(self, reason: Reason, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        self.cause = Cause(reason, message, unsupported)


@dataclass(frozen=True)
class PoolSubnet:
    requested: str  # the name or ID in the spec
    zone: str
    subnet: Subnet
    free: int


@dataclass(frozen=True)
class Resolution:
    network: Network
    subnets: tuple[PoolSubnet, ...]
    security_groups: tuple[str, ...]
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


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)
ListPorts = Callable[[str], tuple[Port, ...]]  # by network ID


def resolve(spec: ENIPoolSpec, cloud: Cloud, list_ports: ListPorts) -> Resolution | Cause:
    """Look up all that the pool names. Raises a CloudError if the cloud does not respond."""
    try:
        subnets = [
            _find(f"spec.subnets[{i}].subnet", "subnet", s.subnet, spec, cloud.find_subnets)
            for i, s in enumerate(spec.subnets)
        ]
        groups = tuple(
            _find(
                f"spec.securityGroups[{i}]", "security group", g, spec, cloud.find_security_groups
            )
            for i, g in enumerate(spec.security_groups)
        )
        _check_subnets(spec, subnets)
        network = cloud.network(subnets[0].network_id)
        _check_network(spec, network, cloud.subnets_of(network.id))
    except _ResolutionError as error:
        return error.cause
    ports = list_ports(network.id)
    return Resolution(
        network,
        tuple(
            PoolSubnet(requested.subnet, requested.zone, subnet, count_free(subnet, ports))
            for requested, subnet in zip(spec.subnets, subnets, strict=True)
        ),
        tuple(g.id for g in groups),
        spec.datapath.mtu or network.mtu,
    )


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


def _find(
    field: str, kind: str, requested: str, spec: ENIPoolSpec, find: Callable[[str], tuple[T, ...]]
) -> T:
    found = find(requested)
    if not found:
        raise _ResolutionError(
            Reason.NOT_FOUND,
            f"{field}: cloud {spec.cloud!r} has no {kind} {requested!r} that this project can see; "
            "correct the name or create it",
        )
    first, *others = found
    if others:
        ids = ", ".join(sorted(f.id for f in found))
        raise _ResolutionError(
            Reason.AMBIGUOUS_NAME,
            f"{field}: {len(found)} {kind}s are named {requested!r}; use the ID of one: {ids}",
        )
    return first


def _check_subnets(spec: ENIPoolSpec, subnets: list[Subnet]) -> None:
    for i, subnet in enumerate(subnets):
        field = f"spec.subnets[{i}].subnet: subnet {spec.subnets[i].subnet!r}"
        if subnet.network_id != subnets[0].network_id:
            raise _ResolutionError(
                Reason.SUBNETS_DIFFER,
                f"{field} is on another network than the first; all must be on one: "
                "create a pool for each network",
            )
        if subnet.slaac:
            raise _slaac(field)
        if subnet.dhcp:
            raise _ResolutionError(
                Reason.DHCP_ENABLED,
                f"{field} has DHCP enabled, which could lease a pod's address to a node: "
                "run openstack subnet set --no-dhcp",
                unsupported=True,
            )
    if spec.capacity.growth is Growth.ELASTIC:
        raise _ResolutionError(
            Reason.GROWTH_UNSUPPORTED,
            "spec.capacity.growth: Elastic is not supported yet; use Auto or Static",
            unsupported=True,
        )


def _check_network(spec: ENIPoolSpec, network: Network, subnets: tuple[Subnet, ...]) -> None:
    for subnet in subnets:
        if subnet.slaac:
            raise _slaac(f"spec.subnets: subnet {subnet.name or subnet.id!r} on the same network")
    mtu = spec.datapath.mtu
    if mtu is not None and mtu > network.mtu:
        raise _ResolutionError(
            Reason.INVALID_SPEC,
            f"spec.datapath.mtu: {mtu} is more than the network's {network.mtu}; lower it",
        )


def _slaac(field: str) -> _ResolutionError:
    return _ResolutionError(
        Reason.SLAAC_ENABLED,
        f"{field} uses SLAAC: Neutron adds an address of it to every port; "
        "use a network whose subnets have dhcpv6-stateful or no IPv6 mode",
        unsupported=True,
    )
