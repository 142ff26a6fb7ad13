"""List what a pool's terms resolve to, and count what is free, for ENIPool.status. Pure."""

from itertools import islice

from openeni_crds.status.enipool import (
    MOST_RESOLVED,
    ResolvedSecurityGroup,
    ResolvedSubnet,
)
from openeni_operator.enipool.port_selection import PortSelection
from openeni_operator.enipool.resolution import MAX_COUNT, Resolution, size_of


def resolved_subnets(resolution: Resolution) -> tuple[ResolvedSubnet, ...]:
    found = (
        ResolvedSubnet(
            id=s.subnet.id,
            name=s.subnet.name,
            network_id=s.subnet.network_id,
            cidr=s.subnet.cidr,
            zone=s.zone,
            free_count=s.free,
            address_count=size_of(s.subnet),
        )
        for s in resolution.subnets
    )
    return tuple(islice(found, MOST_RESOLVED))


def applied_groups(selection: PortSelection) -> tuple[ResolvedSecurityGroup, ...]:
    found = (ResolvedSecurityGroup(g.id, g.name) for g in selection.groups)
    return tuple(islice(found, MOST_RESOLVED))


def free_count(resolution: Resolution) -> int:
    """Sum the free addresses of the pool's subnets, each counted once, in the scarcer family."""
    by_family: dict[int, dict[str, int]] = {}
    for found in resolution.subnets:
        by_family.setdefault(found.subnet.ip_version, {})[found.subnet.id] = found.free
    return min([MAX_COUNT, *(sum(free.values()) for free in by_family.values())])
