"""What an ENIPool names in its cloud, and the checks that the cloud can serve the pool. Pure."""

import dataclasses
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Protocol, TypeVar

from openeni_crds.conditions import Reason
from openeni_crds.eni import MOST_SECURITY_GROUPS
from openeni_crds.enipool import ENIPoolSpec
from openeni_crds.terms import Term, tags_of
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import Network, Place, QoSPolicy, SecurityGroup, Subnet
from openeni_operator.enipool.memory.subnet_usage import SubnetUsage

IPV6: Final = 6  # Neutron's ip_version
IPV6_MTU: Final = 1280  # RFC 8200, section 5
MAX_COUNT: Final = 2**31 - 1  # bound of the fields; an IPv6 subnet has more addresses
_PLAIN: Final = "without a mode (openstack subnet create --ip-version 6 --no-dhcp)"


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
class KeptSettings:
    """Settings of ports that were applied before, that no term selects now and that still exist."""

    groups: tuple[SecurityGroup, ...] = ()
    qos_policy: QoSPolicy | None = None


@dataclass(frozen=True)
class Resolution:
    network: Network
    subnets: tuple[PoolSubnet, ...]
    security_groups: tuple[SecurityGroup, ...]
    mtu: int  # bytes
    place: Place  # of the cloud
    # The number of fixed IPs, by the port's ID: they are not counted as free.
    listed_ports: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    qos: QoSPolicy | Cause | None = None  # the cause why the pool's term selects none
    kept: KeptSettings = KeptSettings()

    def serves(self, zone: str) -> bool:
        """Return True if there is a subnet for a node in this zone."""
        return any(s.zone in ("", zone) for s in self.subnets)

    def choose(self, zone: str, count: int, usage: SubnetUsage) -> tuple[Subnet, ...]:
        """Return a subnet for each IP family, for a node in this zone; () if there is none.

        It is the first in the pool's order with `count` free addresses. If none has that many, it
        is the first one: the free count is an estimate, and Neutron decides.
        """
        return tuple(
            next((s for s in usable if _has_free(s, count, usage)), usable[0]).subnet
            for usable in self._by_family(zone)
        )

    def alternative(self, zone: str, count: int, usage: SubnetUsage) -> tuple[Subnet, ...]:
        """Return what `choose` does, or () if one of its subnets has fewer free addresses.

        A subnet that is the only one of its family is not blamed for what another refused.
        """
        found = [
            next(
                (s.subnet for s in usable if _has_free(s, count, usage, alone=len(usable) == 1)),
                None,
            )
            for usable in self._by_family(zone)
        ]
        return () if None in found else tuple(s for s in found if s is not None)

    def room(self, subnet_ids: Iterable[str], usage: SubnetUsage) -> int | None:
        """Return how many addresses more each of the subnets has; None if that is not known."""
        known = {s.subnet.id: s for s in self.subnets}
        families = Counter(s.subnet.ip_version for s in known.values())
        rooms = [
            0 if found.subnet.id in usage.exhausted and not alone else max(0, _free(found, usage))
            for found in (known[s] for s in subnet_ids if s in known)
            for alone in [families[found.subnet.ip_version] == 1]
        ]
        return min(rooms, default=None)

    def _by_family(self, zone: str) -> list[list[PoolSubnet]]:
        here = [s for s in self.subnets if s.zone in ("", zone)]
        families = ([s for s in here if s.subnet.ip_version == version] for version in (4, 6))
        return [family for family in families if family]


def _has_free(found: PoolSubnet, count: int, usage: SubnetUsage, *, alone: bool = False) -> bool:
    subnet_id = found.subnet.id
    exhausted = subnet_id in usage.exhausted and not alone
    return not exhausted and _free(found, usage) >= count


def _free(found: PoolSubnet, usage: SubnetUsage) -> int:
    return found.free - usage.promised[found.subnet.id]


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Identified)
U = TypeVar("U")


def count_free(subnet: Subnet, taken: Sequence[int]) -> int:
    """Count addresses in the allocation pools that no visible port has: an upper bound.

    `taken` are the addresses on visible ports, as sorted numbers.
    """
    ranges = _ranges(subnet.pools)
    used = sum(bisect_right(taken, high) - bisect_left(taken, low) for low, high in ranges)
    return min(_size(subnet) - used, MAX_COUNT)


def size_of(subnet: Subnet) -> int:
    """Count the addresses in the allocation pools."""
    return min(_size(subnet), MAX_COUNT)


def _size(subnet: Subnet) -> int:
    return sum(high - low + 1 for low, high in _ranges(subnet.pools))


@lru_cache(maxsize=256)  # subnets: every reconcile of a pool asks
def _ranges(pools: tuple[tuple[str, str], ...]) -> tuple[tuple[int, int], ...]:
    return tuple((int(ip_address(first)), int(ip_address(last))) for first, last in pools)


def check_found(
    field: str,
    kind: str,
    term: Term,
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


def _describe(term: Term) -> str:
    if term.id is not None:
        return f"the ID {term.id!r}"
    if term.name is not None:
        return f"the name {term.name!r}"
    return f"the tags {', '.join(tags_of(term) or ())}"


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
                f"{_without_dhcp(subnet)}",
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


def without_port_security(resolution: Resolution) -> Cause | None:
    """Return why Neutron refuses ports with the pool's groups on its network, if it does.

    neutron.plugins.ml2.plugin, _portsec_ext_port_create_processing. Ports that are there have a
    setting of their own, which comes with the pool's groups (`eni/port_settings`).
    """
    network = resolution.network
    if network.port_security is not False or not resolution.security_groups:
        return None
    return Cause(
        Reason.INVALID_SPEC,
        f"spec.securityGroups: port security is off on network {network.id}, where Neutron refuses "
        f"ports with security groups; run openstack network set --enable-port-security "
        f"{network.id}, or select no groups",
        unsupported=True,
    )


def _without_dhcp(subnet: Subnet) -> str:
    """Return the way out: with an IPv6 mode, which cannot be changed, DHCP stays enabled.

    neutron.db.db_base_plugin_v2._validate_ipv6_update_dhcp refuses it.
    """
    if subnet.ipv6_mode:
        return f"replace it, since it has the IPv6 mode {subnet.ipv6_mode}, by one {_PLAIN}"
    return f"run openstack subnet set --no-dhcp {subnet.id}"


def _slaac(field: str) -> ResolutionError:
    return ResolutionError(
        Reason.SLAAC_ENABLED,
        f"{field} uses SLAAC: Neutron adds an address of it to every port; use a network without "
        f"such a subnet, and IPv6 subnets {_PLAIN}",
        unsupported=True,
    )
