"""Decode the kernel's rtnetlink messages as items of the datapath's model."""

import sys
from socket import AF_INET, AF_INET6, inet_ntop

from openeni_nodeagent.addresses import IPV4, IPV6
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import Attributes, attributes, to_text
from openeni_nodeagent.datapath.linux.rtnetlink_encode import IFADDRMSG, IFINFOMSG, NDMSG, RTMSG
from openeni_nodeagent.datapath.model import IPVLAN, Address, Item, Link, Neighbour, Route, Rule


def decode(kind: int, payload: bytes) -> Item | None:
    """Return the item of a message of type `kind` (RTM_NEW*).

    None where the datapath has no such items: multicast routes, learned neighbours and the like.
    """
    match kind:
        case uapi.RTM_NEWLINK:
            return _link(payload)
        case uapi.RTM_NEWADDR:
            return _address(payload)
        case uapi.RTM_NEWROUTE:
            return _route(payload)
        case uapi.RTM_NEWNEIGH:
            return _neighbour(payload)
        case uapi.RTM_NEWRULE:
            return _rule(payload)
        case _:
            raise KeyError(kind)


def _number(found: Attributes, kind: int, default: int = 0) -> int:
    raw = found.get(kind)
    return default if raw is None else int.from_bytes(raw, sys.byteorder)


def _ip(packed: bytes | None) -> str:
    if not packed:
        return ""
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)  # noqa: PLR2004 - bytes


def _cidr(family: int, packed: bytes | None, length: int) -> str:
    return f"{_ip(packed or bytes(16 if family == AF_INET6 else 4))}/{length}"


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = IFINFOMSG.unpack_from(payload)
    found = attributes(payload, IFINFOMSG.size)
    info = attributes(found.get(uapi.IFLA_LINKINFO, b""))
    kind = to_text(info.get(uapi.IFLA_INFO_KIND, b""))
    slave = kind == IPVLAN
    data = attributes(info.get(uapi.IFLA_INFO_DATA, b"")) if slave else {}
    return Link(
        to_text(found[uapi.IFLA_IFNAME]),
        index,
        kind,
        found.get(uapi.IFLA_ADDRESS, b"").hex(":"),
        _number(found, uapi.IFLA_MTU),
        up=bool(flags & uapi.IFF_UP),
        parent=_number(found, uapi.IFLA_LINK) if slave else 0,
        mode=_number(data, uapi.IFLA_IPVLAN_MODE),
        alias=to_text(found.get(uapi.IFLA_IFALIAS, b"")),
    )


def _address(payload: bytes) -> Address:
    _, prefix, _, _, index = IFADDRMSG.unpack_from(payload)
    found = attributes(payload, IFADDRMSG.size)
    return Address(index, _ip(found.get(uapi.IFA_LOCAL) or found[uapi.IFA_ADDRESS]), prefix)


def _route(payload: bytes) -> Route | None:
    family, length, _, _, table, protocol, _, kind, _ = RTMSG.unpack_from(payload)
    if kind not in (uapi.RTN_UNICAST, uapi.RTN_PROHIBIT) or family not in (AF_INET, AF_INET6):
        return None
    found = attributes(payload, RTMSG.size)
    return Route(
        _cidr(family, found.get(uapi.RTA_DST), length),
        _number(found, uapi.RTA_TABLE, table),
        0 if kind == uapi.RTN_PROHIBIT else _number(found, uapi.RTA_OIF),
        _ip(found.get(uapi.RTA_GATEWAY)),
        _ip(found.get(uapi.RTA_PREFSRC)),
        protocol,
    )


def _neighbour(payload: bytes) -> Neighbour | None:
    _, index, state, flags, _ = NDMSG.unpack_from(payload)
    found = attributes(payload, NDMSG.size)
    proxy = bool(flags & uapi.NTF_PROXY)
    if not (proxy or state & uapi.NUD_PERMANENT):
        return None
    mac = "" if proxy else found.get(uapi.NDA_LLADDR, b"").hex(":")
    return Neighbour(index, _ip(found[uapi.NDA_DST]), mac, _number(found, uapi.NDA_PROTOCOL))


def _rule(payload: bytes) -> Rule | None:
    family, _, length, _, table, _, _, _, _ = RTMSG.unpack_from(payload)
    if family not in (AF_INET, AF_INET6):
        return None  # RTNL_FAMILY_IPMR and RTNL_FAMILY_IP6MR: multicast routing
    found = attributes(payload, RTMSG.size)
    return Rule(
        IPV6 if family == AF_INET6 else IPV4,
        _number(found, uapi.FRA_PRIORITY),
        _number(found, uapi.FRA_TABLE, table),
        _cidr(family, found[uapi.FRA_SRC], length) if uapi.FRA_SRC in found else "",
        to_text(found.get(uapi.FRA_IIFNAME, b"")),
        _number(found, uapi.FRA_FWMARK),
        _number(found, uapi.FRA_FWMASK),
        _number(found, uapi.FRA_PROTOCOL),
    )
