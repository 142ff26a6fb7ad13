"""What an ENIPool's names mean in its cloud, and whether the cloud can serve it as asked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final, Protocol, TypeVar

from openeni_crds.conditions import Reason
from openeni_crds.enipool import ENIPoolSpec
from openeni_crds.terms import SecurityGroupTerm, SubnetTerm
from openeni_operator.cloud.api import Cloud, Network, Port, SecurityGroup, Subnet

COUNTED: Final = 2**31 - 1  # a bigger number of free addresses means nothing to anybody


@dataclass(frozen=True)
class Problem:
    """Why the pool cannot be served; the message names the field and what to do."""

    reason: Reason
    message: str
    unsupported: bool = False  # the cloud cannot do it, as opposed to a wrong spec


class _ProblemError(Exception):
    """The short way out of a look-up."""

    def __init__(self, reason: Reason, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        self.problem = Problem(reason, message, unsupported)


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
        """Return one subnet a family for a node of this zone, () where there is none.

        The first in the pool's order with `count` free addresses; else the first, since the number
        of free ones is only an estimate and Neutron's answer is the truth.
        """
        chosen: list[Subnet] = []
        for version in (4, 6):
            fit = [
                s for s in self.subnets if s.subnet.ip_version == version and s.zone in ("", zone)
            ]
            roomy = [s for s in fit if s.free >= count]
            chosen.extend([s.subnet for s in roomy or fit][:1])
        return tuple(chosen)


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Identified)
U = TypeVar("U")
Term = TypeVar("Term", SubnetTerm, SecurityGroupTerm)
Ports = Callable[[str], tuple[Port, ...]]  # all that are seen on a network, by its id


def resolve(spec: ENIPoolSpec, cloud: Cloud, ports: Ports) -> Resolution | Problem:
    """Look up everything the pool names. Raises a CloudError where the cloud does not answer."""
    try:
        subnets = [
            (field, PoolSubnet(term.zone, subnet, 0))
            for i, term in enumerate(spec.subnets)
            for field in [f"spec.subnets[{i}]"]
            for subnet in _found(field, "subnet", term, spec.cloud, cloud.find_subnets)
        ]
        groups = [
            group
            for i, term in enumerate(spec.security_groups)
            for group in _found(
                f"spec.securityGroups[{i}]",
                "security group",
                term,
                spec.cloud,
                cloud.find_security_groups,
            )
        ]
        _check_subnets(subnets)
        network = cloud.network(subnets[0][1].subnet.network_id)
        _check_network(spec, network, cloud.subnets_of(network.id))
    except _ProblemError as error:
        return error.problem
    seen = ports(network.id)
    return Resolution(
        network,
        _once(replace(found, free=free_in(found.subnet, seen)) for _, found in subnets),
        _once(groups),
        spec.datapath.mtu or network.mtu,
    )


def free_in(subnet: Subnet, ports: Iterable[Port]) -> int:
    """Addresses of the allocation pools that no visible port has: an upper bound."""
    ranges = [(int(ip_address(a)), int(ip_address(b))) for a, b in subnet.pools]
    taken = {
        number
        for port in ports
        for fixed in port.fixed_ips
        if fixed.subnet_id == subnet.id
        for number in [int(ip_address(fixed.address))]
        if any(low <= number <= high for low, high in ranges)
    }
    return min(max(0, sum(high - low + 1 for low, high in ranges) - len(taken)), COUNTED)


def _found(
    field: str, kind: str, term: Term, cloud: str, find: Callable[[Term], tuple[T, ...]]
) -> tuple[T, ...]:
    """Return what the term selects: exactly one by id or name, at least one by tags."""
    found = find(term)
    if not found:
        raise _ProblemError(
            Reason.NOT_FOUND,
            f"{field}: cloud {cloud!r} has no {kind} with {_words(term)} that this project can "
            "see; correct the term or create it",
        )
    if term.name is not None and len(found) > 1:
        ids = ", ".join(sorted(f.id for f in found))
        raise _ProblemError(
            Reason.AMBIGUOUS_NAME,
            f"{field}: {len(found)} {kind}s have {_words(term)}; give the id of one: {ids}",
        )
    return found


def _words(term: SubnetTerm | SecurityGroupTerm) -> str:
    if term.id is not None:
        return f"the id {term.id!r}"
    if term.name is not None:
        return f"the name {term.name!r}"
    return f"the tags {', '.join(term.tags or ())}"


def _once(found: Iterable[U]) -> tuple[U, ...]:
    """Return each of them once, in the order of the terms: two terms may mean the same."""
    return tuple(dict.fromkeys(found))


def _check_subnets(subnets: list[tuple[str, PoolSubnet]]) -> None:
    first = subnets[0][1].subnet
    for field, found in subnets:
        subnet = found.subnet
        where = f"{field}: subnet {subnet.name or subnet.id!r}"
        if subnet.network_id != first.network_id:
            raise _ProblemError(
                Reason.SUBNETS_DIFFER,
                f"{where} is of another network than subnet {first.name or first.id!r}; all must "
                "be of one: make a pool for each network",
            )
        if subnet.slaac:
            raise _slaac(where)
        if subnet.dhcp:
            raise _ProblemError(
                Reason.DHCP_ENABLED,
                f"{where} has DHCP on, which could hand a pod's address to a node: "
                f"openstack subnet set --no-dhcp {subnet.id}",
                unsupported=True,
            )


def _check_network(spec: ENIPoolSpec, network: Network, subnets: tuple[Subnet, ...]) -> None:
    for subnet in subnets:
        if subnet.slaac:
            raise _slaac(f"spec.subnets: subnet {subnet.name or subnet.id!r} of the same network")
    asked = spec.datapath.mtu
    if asked is not None and asked > network.mtu:
        raise _ProblemError(
            Reason.INVALID_SPEC,
            f"spec.datapath.mtu: {asked} is more than the network's {network.mtu}; lower it",
        )


def _slaac(field: str) -> _ProblemError:
    return _ProblemError(
        Reason.SLAAC_ENABLED,
        f"{field} uses SLAAC: Neutron gives each port one address of it, unasked; "
        "use a subnet with dhcpv6-stateful or no IPv6 mode, on a network without SLAAC",
        unsupported=True,
    )
