"""Keep an l2 pod's former gateway by IPv6 for as long as routes of the pod's own go by it.

It was fe80::1, as a veth pod's is. A VPN client adds a route to its server by the gateway that it
finds, and a pod may have tuned its default route, which is no longer ours then.
"""

from collections.abc import Sequence
from functools import partial
from socket import AF_INET6
from typing import Final

from openeni_crds import names
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute, number
from openeni_nodeagent.datapath.linux.namespace import in_namespace
from openeni_nodeagent.datapath.linux.netlink import ENTRIES_IN_POD, DumpTooLongError, Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import RTMSG, packed
from openeni_nodeagent.datapath.model import Neighbour, Operation, Route, State, Verb

_DUMP: Final = uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP


def is_former_gateway(operation: Operation) -> bool:
    """Return True for the removal of the permanent neighbour fe80::1."""
    item = operation.item
    is_gateway = isinstance(item, Neighbour) and item.address == names.GATEWAY_V6
    return operation.verb is Verb.REMOVE and is_gateway


def with_used_gateway(
    operations: Sequence[Operation], seen: State, namespace: int
) -> tuple[Operation, ...]:
    """Return the operations with a former gateway's removal last, or without if it is used.

    `seen` is what openeni has on the interface: its own routes are about to be replaced.
    """
    going = [o.item for o in operations if is_former_gateway(o) and isinstance(o.item, Neighbour)]
    if not going:
        return tuple(operations)
    own = sum(isinstance(i, Route) and i.gateway == names.GATEWAY_V6 for i in seen)
    found = in_namespace(namespace, partial(_routes_by_gateway, going[0].index))
    kept = (o for o in operations if found <= own or not is_former_gateway(o))
    return tuple(sorted(kept, key=is_former_gateway))


def _routes_by_gateway(index: int) -> int:
    """Return how many routes of a link go by fe80::1, whoever has added them.

    If a link has more routes than are read of a pod, all count as such. The kernel filters by link,
    also routes with several gateways. Those of nexthop objects without `nexthop_compat_mode`, and
    IPv4 routes by an IPv6 gateway, are not told apart.
    """
    body = RTMSG.pack(AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0) + number(uapi.RTA_OIF, index)
    request = HEADER.pack(HEADER.size + len(body), uapi.RTM_GETROUTE, _DUMP, 0, 0) + body
    named = attribute(uapi.RTA_GATEWAY, packed(names.GATEWAY_V6))
    try:
        with Netlink(limit=ENTRIES_IN_POD) as netlink:
            return len(netlink.dump(request, lambda raw: named in raw))
    except DumpTooLongError:
        return ENTRIES_IN_POD
