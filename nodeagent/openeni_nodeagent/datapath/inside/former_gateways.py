"""Keep a pod's former gateway for as long as routes of the pod's own go by it.

What a version before has planned as the gateway may be in use: a VPN client adds a route to its
server by the gateway that it finds.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from openeni_nodeagent.addresses import family_of, host_cidr
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute
from openeni_nodeagent.datapath.linux.namespace import in_namespace
from openeni_nodeagent.datapath.linux.netlink import ENTRIES_IN_POD, Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import RTMSG, SOCKET_FAMILIES, packed
from openeni_nodeagent.datapath.model import Item, Neighbour, Operation, Route, State, Verb

_DUMP: Final = uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP


def is_of_gateway(operation: Operation) -> bool:
    """Return True for the removal of a permanent neighbour: no pod has one but its gateway."""
    return operation.verb is Verb.REMOVE and isinstance(operation.item, Neighbour)


def keeping_used_gateways(
    operations: Sequence[Operation], seen: State, namespace: int
) -> tuple[Operation, ...]:
    """Return the operations with removals of gateways last, and without those of used ones.

    `seen` is what openeni has in the namespace: its own routes are replaced or go.
    """
    going = [
        o.item.address for o in operations if is_of_gateway(o) and isinstance(o.item, Neighbour)
    ]
    if not going:
        return tuple(operations)
    own = [i.gateway for i in seen if isinstance(i, Route)]
    used = {a for a in going if in_namespace(namespace, partial(_routes_by, a)) > own.count(a)}
    needed = {*used, *map(host_cidr, used)}
    kept = (o for o in operations if o.verb is not Verb.REMOVE or _place(o.item) not in needed)
    return tuple(sorted(kept, key=is_of_gateway))


def _place(item: Item) -> str:
    """Return the address of a neighbour, and the destination of a route."""
    match item:
        case Neighbour():
            return item.address
        case Route():
            return item.destination
        case _:
            return ""


def _routes_by(gateway: str) -> int:
    """Return the number of everybody's routes by a gateway, those with several included."""
    body = RTMSG.pack(SOCKET_FAMILIES[family_of(gateway)], 0, 0, 0, 0, 0, 0, 0, 0)
    request = HEADER.pack(HEADER.size + len(body), uapi.RTM_GETROUTE, _DUMP, 0, 0) + body
    named = attribute(uapi.RTA_GATEWAY, packed(gateway))
    with Netlink(limit=ENTRIES_IN_POD) as netlink:
        return len(netlink.dump(request, lambda raw: named in raw))
