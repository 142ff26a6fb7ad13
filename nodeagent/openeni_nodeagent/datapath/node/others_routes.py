"""Observe what others lead out of openeni's own links: pods' ends on the node, and slaves."""

import struct
from typing import Final

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6
from openeni_nodeagent.datapath.linux import dumps, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, payloads
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import RTMSG
from openeni_nodeagent.datapath.linux.sysctls import speaks_ipv6
from openeni_nodeagent.datapath.model import RTPROT_KERNEL, Link, State
from openeni_nodeagent.datapath.ownership import is_on_node

_INDEX: Final = struct.Struct("=I")


def others_routes(netlink: Netlink, seen: State) -> State:
    """Return the unicast routes out of openeni's links that neither it nor the kernel has added.

    One dump has those of all: the kernel goes through every route for each. The others' messages
    are not decoded.
    """
    links = {_INDEX.pack(i.index) for i in seen if isinstance(i, Link) and is_on_node(i)}

    def wanted(raw: bytes) -> bool:
        _, _, _, _, _, protocol, *_ = RTMSG.unpack_from(raw, HEADER.size)
        if protocol in (names.PROTOCOL, RTPROT_KERNEL):
            return False
        found = payloads(raw, HEADER.size + RTMSG.size)
        return found.get(uapi.RTA_OIF) in links

    families = ((IPV4, IPV6) if speaks_ipv6() else (IPV4,)) if links else ()
    return frozenset(
        route
        for family in families
        for route in dumps.everybodys_routes(netlink, family, kind=uapi.RTN_UNICAST, wanted=wanted)
    )
