"""Encode operations on links, addresses, routes, rules, neighbours and token buckets.

pyroute2's message classes take twenty times as long for the same bytes, for the messages of one pod
a quarter of its ADD (decision 0006). The tests decode every kind of message with pyroute2. It has
no TCA_TBF_BURST, without which the kernel derives the burst from a time that is rounded.
"""

import struct
from socket import AF_INET, AF_INET6, AF_UNSPEC, inet_pton
from typing import Final

from openeni_nodeagent.addresses import IPV4, IPV6, family_of, packed_mac
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute, number, string
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    NIC,
    VETH,
    Address,
    Item,
    Link,
    Neighbour,
    Operation,
    Qdisc,
    Route,
    RouteType,
    Rule,
    Verb,
)

SOCKET_FAMILIES: Final = {IPV4: AF_INET, IPV6: AF_INET6}
_DEL: Final = 1  # RTM_DEL* follows RTM_NEW* (linux/rtnetlink.h)
_EXCLUSIVE: Final = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL
_REPLACING: Final = uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE
_ROUTE_TYPES: Final = {
    RouteType.UNICAST: uapi.RTN_UNICAST,
    RouteType.PROHIBIT: uapi.RTN_PROHIBIT,
    RouteType.UNREACHABLE: uapi.RTN_UNREACHABLE,
}
# Since Linux 5.17 a veth has as many queues each way as the machine has processors, each with its
# folder in sysfs (veth_get_num_queues). Nothing is queued there, but for programs of XDP.
_ONE_QUEUE: Final = number(uapi.IFLA_NUM_TX_QUEUES, 1) + number(uapi.IFLA_NUM_RX_QUEUES, 1)
IFINFOMSG: Final = struct.Struct("=BxHiII")
IFADDRMSG: Final = struct.Struct("=BBBBi")
CACHEINFO: Final = struct.Struct("=IIII")  # struct ifa_cacheinfo
_FOR_EVER: Final = 0xFFFFFFFF  # seconds that an address is valid
RTMSG: Final = struct.Struct("=BBBBBBBBI")  # struct fib_rule_hdr has the same layout
NDMSG: Final = struct.Struct("=BxxxiHBB")
TCMSG: Final = struct.Struct("=BBHiIII")
_RATE: Final = "BBHhHI"  # struct tc_ratespec
TBF: Final = struct.Struct(f"={_RATE}{_RATE}III")  # struct tc_tbf_qopt
_NO_PEAK: Final = (0, 0, 0, 0, 0, 0)


def create_link(link: Link, *, peer: Link | None = None, namespace: int | None = None) -> bytes:
    """Return the request that creates a link, down.

    `namespace` is a descriptor of the namespace that a veth's `peer`, or an ipvlan slave, is
    created in. Moving it there afterwards would wait for an RCU grace period.
    """
    in_namespace = b"" if namespace is None else number(uapi.IFLA_NET_NS_FD, namespace)
    own = _link_attributes(link)
    if link.kind == VETH and peer:
        header = IFINFOMSG.pack(AF_UNSPEC, 0, peer.index, 0, 0)
        data = attribute(uapi.VETH_INFO_PEER, header + _link_attributes(peer) + in_namespace)
    else:
        data = _ipvlan_data(link)
        own += number(uapi.IFLA_LINK, link.parent) + in_namespace
    body = IFINFOMSG.pack(AF_UNSPEC, 0, link.index, 0, 0) + own + _info(link, data)
    return _request(uapi.RTM_NEWLINK, _EXCLUSIVE, body)


def set_mac(index: int, mac: str) -> bytes:
    """Return the request that gives a link this MAC, and changes nothing else of it."""
    body = IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, 0)
    return _request(uapi.RTM_NEWLINK, 0, body + attribute(uapi.IFLA_ADDRESS, packed_mac(mac)))


def encode(operation: Operation) -> bytes:
    """Return the request for an operation. Raises TypeError for items of nftables and sysctls."""
    if isinstance(operation.item, Link) and operation.verb is Verb.ADD:
        return create_link(operation.item)
    kind, flags, body = _body(operation.item)
    if operation.verb is Verb.REMOVE:
        return _request(kind + _DEL, 0, _found(operation.item) or body)
    if operation.verb is Verb.CHANGE and flags:
        flags = _REPLACING
    return _request(kind, flags, body)


def _found(item: Item) -> bytes:
    """Return what the kernel has said of an address or a route, b"" if it was not asked.

    What somebody else has added may have a scope, a TOS or a peer, without which the kernel does
    not find it.
    """
    return item.message[HEADER.size :] if isinstance(item, Address | Route) else b""


def _request(kind: int, flags: int, body: bytes) -> bytes:
    flags |= uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def packed(address: str) -> bytes:
    """Return the bytes of an address."""
    return inet_pton(SOCKET_FAMILIES[family_of(address)], address)


def _info(link: Link, data: bytes) -> bytes:
    kind = attribute(uapi.IFLA_INFO_KIND, link.kind.encode())
    return attribute(uapi.IFLA_LINKINFO, kind + attribute(uapi.IFLA_INFO_DATA, data))


def _ipvlan_data(link: Link) -> bytes:
    """Return what all slaves of an ENI share: it is changed for all with any one of them."""
    mode = attribute(uapi.IFLA_IPVLAN_MODE, struct.pack("=H", link.mode))
    return mode + attribute(uapi.IFLA_IPVLAN_FLAGS, struct.pack("=H", link.flags))


def _link_attributes(link: Link) -> bytes:
    body = string(uapi.IFLA_IFNAME, link.name)
    if link.kind == VETH:
        body += attribute(uapi.IFLA_ADDRESS, packed_mac(link.mac)) + _ONE_QUEUE
    if link.group:
        body += number(uapi.IFLA_GROUP, link.group)
    return body + number(uapi.IFLA_MTU, link.mtu)


def _body(item: Item) -> tuple[int, int, bytes]:
    """Return message type, flags of an addition, and the message after its header."""
    match item:
        case Link():
            return _link(item)
        case Address():
            return _address(item)
        case Route():
            return _route(item)
        case Neighbour():
            return _neighbour(item)
        case Rule():
            return _rule(item)
        case Qdisc():
            return _qdisc(item)
        case _:
            raise TypeError(item)


def _link(item: Link) -> tuple[int, int, bytes]:
    is_on_node = item.kind == NIC or bool(item.alias)  # a pod may change its own link
    flags = uapi.IFF_UP if item.up else 0
    if is_on_node and item.default_arp == bool(item.mode):
        flags |= uapi.IFF_NOARP
    mask = uapi.IFF_UP | (uapi.IFF_NOARP if is_on_node else 0)
    body = IFINFOMSG.pack(AF_UNSPEC, 0, item.index, flags, mask)
    if item.mtu:
        body += number(uapi.IFLA_MTU, item.mtu)
    if item.alias:
        body += attribute(uapi.IFLA_IFALIAS, item.alias.encode())
    if is_on_node:
        body += number(uapi.IFLA_MASTER, item.master)
    if item.kind != NIC:
        body += number(uapi.IFLA_GROUP, item.group)
    if item.kind == IPVLAN:
        body += _info(item, _ipvlan_data(item))
    return uapi.RTM_NEWLINK, 0, body


def _address(item: Address) -> tuple[int, int, bytes]:
    address, family = packed(item.address), family_of(item.address)
    # Neutron has made sure that nobody else has the address: no duplicate address detection.
    flags = uapi.IFA_F_NODAD if family == IPV6 else 0
    hidden = item.no_source and family == IPV4
    scope = uapi.RT_SCOPE_LINK if hidden else uapi.RT_SCOPE_UNIVERSE
    body = IFADDRMSG.pack(SOCKET_FAMILIES[family], item.prefix, flags, scope, item.index)
    body += attribute(uapi.IFA_LOCAL, address) + attribute(uapi.IFA_ADDRESS, address)
    if item.no_source and family == IPV6:
        body += attribute(uapi.IFA_CACHEINFO, CACHEINFO.pack(0, _FOR_EVER, 0, 0))
    # The kernel may have given the link its link-local address meanwhile.
    return uapi.RTM_NEWADDR, _REPLACING, body


def _route(item: Route) -> tuple[int, int, bytes]:
    network, length = item.destination.split("/")
    on_link = item.type is RouteType.UNICAST and not item.gateway
    body = RTMSG.pack(
        SOCKET_FAMILIES[family_of(network)],
        int(length),
        0,
        0,
        0,
        item.protocol,
        uapi.RT_SCOPE_LINK if on_link else uapi.RT_SCOPE_UNIVERSE,
        _ROUTE_TYPES[item.type],
        uapi.RTNH_F_ONLINK if _needs_onlink(item) else 0,
    )
    body += number(uapi.RTA_TABLE, item.table)
    if item.metric:
        body += number(uapi.RTA_PRIORITY, item.metric)
    if int(length):
        body += attribute(uapi.RTA_DST, packed(network))
    if item.index:
        body += number(uapi.RTA_OIF, item.index)
    if item.gateway:
        body += attribute(uapi.RTA_GATEWAY, packed(item.gateway))
    if item.source:
        body += attribute(uapi.RTA_PREFSRC, packed(item.source))
    return uapi.RTM_NEWROUTE, _EXCLUSIVE, body


def _needs_onlink(route: Route) -> bool:
    """Return True if the route is of IPv4 and has a gateway.

    By IPv4 the kernel looks gateways up in the main table, which has no route to an ENI's. By IPv6
    it begins with the route's own table, where a route to the gateway stands, and turns to the main
    one only for a gateway that is said to be on the link: that one may have it behind the node's
    own NIC (ip6_route_check_nh, ip6_route_check_nh_onlink).
    """
    return family_of(route.gateway) == IPV4 if route.gateway else False


def _rule(item: Rule) -> tuple[int, int, bytes]:
    source, _, length = item.source.partition("/")
    destination, _, to_length = item.destination.partition("/")
    lengths = int(to_length or 0), int(length or 0)
    body = RTMSG.pack(SOCKET_FAMILIES[item.family], *lengths, 0, 0, 0, 0, uapi.FR_ACT_TO_TBL, 0)
    body += number(uapi.FRA_PRIORITY, item.priority) + number(uapi.FRA_TABLE, item.table)
    body += attribute(uapi.FRA_PROTOCOL, bytes([item.protocol]))
    if source:
        body += attribute(uapi.FRA_SRC, packed(source))
    if destination:
        body += attribute(uapi.FRA_DST, packed(destination))
    if item.iif:
        body += string(uapi.FRA_IIFNAME, item.iif)
    if item.oif:
        body += string(uapi.FRA_OIFNAME, item.oif)
    if item.mask:
        body += number(uapi.FRA_FWMARK, item.mark) + number(uapi.FRA_FWMASK, item.mask)
    return uapi.RTM_NEWRULE, _EXCLUSIVE, body


def _neighbour(item: Neighbour) -> tuple[int, int, bytes]:
    # As a proxy, too: newer kernels keep these without a carrier (pneigh_entry.permanent).
    family, flags = SOCKET_FAMILIES[family_of(item.address)], 0 if item.mac else uapi.NTF_PROXY
    body = NDMSG.pack(family, item.index, uapi.NUD_PERMANENT, flags, 0)
    body += attribute(uapi.NDA_DST, packed(item.address))
    body += attribute(uapi.NDA_PROTOCOL, bytes([item.protocol]))
    if item.mac:
        body += attribute(uapi.NDA_LLADDR, packed_mac(item.mac))
    return uapi.RTM_NEWNEIGH, _REPLACING, body


def _qdisc(item: Qdisc) -> tuple[int, int, bytes]:
    """A token bucket, which replaces any other qdisc."""
    body = TCMSG.pack(AF_UNSPEC, 0, 0, item.index, 0, uapi.TC_H_ROOT, 0)
    body += string(uapi.TCA_KIND, "tbf")
    rate = (0, uapi.TC_LINKLAYER_ETHERNET, 0, 0, 0, item.rate)
    parameters = attribute(uapi.TCA_TBF_PARMS, TBF.pack(*rate, *_NO_PEAK, item.limit, 0, 0))
    parameters += number(uapi.TCA_TBF_BURST, item.burst)
    return uapi.RTM_NEWQDISC, _REPLACING, body + attribute(uapi.TCA_OPTIONS, parameters)
