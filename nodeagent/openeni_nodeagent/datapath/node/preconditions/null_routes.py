"""Find out whether the node rejects what comes from an ENI's subnets.

By IPv4 the kernel looks up the way back to each sender (fib_validate_source), also of an ARP
request for a pod that the node answers for (arp_process). A route of the table main that rejects
ends that before names.RULE_WAY_BACK, behind which it has to stay: the node's own address may be in
the same subnet.
"""

import errno
from collections.abc import Iterable
from typing import Final

from openeni_crds import names
from openeni_crds.status.eni import PortSubnet
from openeni_nodeagent.addresses import IPV4, family_of, on_link, overlap
from openeni_nodeagent.datapath.describe import text
from openeni_nodeagent.datapath.linux import dumps, uapi
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import TABLE_MAIN, Route, Rule
from openeni_nodeagent.datapath_api import DatapathError

# fib_props in net/ipv4/fib_semantics.c. Where there is no route at all it is ENETUNREACH.
_REJECTING: Final = {
    -errno.EINVAL: uapi.RTN_BLACKHOLE,
    -errno.EHOSTUNREACH: uapi.RTN_UNREACHABLE,
    -errno.EACCES: uapi.RTN_PROHIBIT,
}


def require_way_back(subnets: Iterable[PortSubnet], others_rules: Iterable[Rule]) -> None:
    """Raise DatapathError if a route rejects what one of these subnets sends.

    The kernel asks with a pod's address as the source and its link as `iif`, which nobody else can
    without a pod. So nothing is judged where rules of others may answer it in another way.
    """
    rules = tuple(others_rules)
    with Netlink() as netlink:
        for subnet in (s for s in subnets if family_of(s.cidr) == IPV4):
            if any(_may_tell_pods_apart(rule, subnet.cidr) for rule in rules):
                continue
            asked = subnet.gateway or subnet.cidr.partition("/")[0]
            if kind := _REJECTING.get(dumps.route_type(netlink, asked)):
                route = _route(netlink, kind, asked)
                raise DatapathError(
                    f"{route} has the kernel drop what this ENI receives from {subnet.cidr}: "
                    f"delete it, or give the node a route to {subnet.cidr} by its own gateway"
                )


def _may_tell_pods_apart(rule: Rule, subnet: str) -> bool:
    if rule.family != IPV4 or rule.priority >= names.RULE_WAY_BACK:
        return False
    of_pods = bool(rule.source) and overlap(rule.source, subnet)
    return of_pods or bool(rule.iif) or rule.is_narrower


def _route(netlink: Netlink, kind: int, address: str) -> str:
    """Return a description of what rejects an address: a route of the table main, or a rule."""
    within = [
        route
        for route in dumps.everybodys_routes(netlink, IPV4, kind=kind)
        if route.table == TABLE_MAIN and on_link(address, route.destination)
    ]
    return text(max(within, key=_prefix)) if within else "a rule"


def _prefix(route: Route) -> int:
    return int(route.destination.partition("/")[2])
