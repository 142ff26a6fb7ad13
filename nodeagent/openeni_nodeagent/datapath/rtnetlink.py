"""Operations as rtnetlink messages, and the kernel's messages as items.

pyroute2 does this too, at 0.16 to 0.3 ms a message, which for the dozen messages of one ADD is
more than the kernel's own work; this takes 3 us. The tests decode every message of ours with
pyroute2. Numbers are those of linux/rtnetlink.h, if_link.h, neighbour.h and fib_rules.h.
"""

import struct
from collections.abc import Iterator
from functools import singledispatch
from socket import AF_INET, AF_INET6, AF_UNSPEC, inet_ntop, inet_pton
from typing import Final

from openeni_nodeagent.datapath.model import (
    IPVLAN,
    VETH,
    Address,
    Item,
    Link,
    Neighbour,
    Operation,
    Route,
    Rule,
    Verb,
    family_of,
)

LINK, ADDRESS, ROUTE, NEIGHBOUR, RULE = 16, 20, 24, 28, 32  # RTM_NEW*; RTM_DEL* is 1 more
_FAMILY: Final = {4: AF_INET, 6: AF_INET6}
_REQUEST_ACK, _REPLACE, _EXCLUSIVE, _CREATE, _DUMP = 0x5, 0x100, 0x200, 0x400, 0x301
_UP: Final = 1  # IFF_UP
_PERMANENT, _PROXY = 0x80, 0x08  # NUD_PERMANENT, NTF_PROXY
_UNICAST, _PROHIBIT = 1, 8
_ONLINK: Final = 4  # RTNH_F_ONLINK: an ENI has no route to its gateway but the one being made
_SCOPE_LINK, _SCOPE_NOWHERE = 253, 255
_TO_TABLE: Final = 1  # FR_ACT_TO_TBL
_NO_DAD: Final = 0x02  # IFA_F_NODAD: Neutron has seen to it that the address is nobody else's
_HEADER: Final = struct.Struct("=IHHII")
_IFINFO: Final = struct.Struct("=BxHiII")
_IFADDR: Final = struct.Struct("=BBBBi")
_RT: Final = struct.Struct("=BBBBBBBBI")
_ND: Final = struct.Struct("=BxxxiHBB")
Attributes = dict[int, bytes]


def create(link: Link, *, peer: Link | None = None, namespace: int | None = None) -> bytes:
    """Create a link, down. `namespace` is a descriptor of where a veth's `peer` goes, or the
    ipvlan slave itself: made there, not moved there, which would wait for RCU.
    """
    there = b"" if namespace is None else _attribute(28, struct.pack("=I", namespace))
    own = _link_attributes(link)
    if link.kind == VETH and peer:
        mirror = _IFINFO.pack(AF_UNSPEC, 0, peer.index, 0, 0) + _link_attributes(peer) + there
        info = _attribute(2, _attribute(1, mirror))  # IFLA_INFO_DATA, VETH_INFO_PEER
    else:
        info = _attribute(2, _attribute(1, struct.pack("=H", link.mode)))  # IFLA_IPVLAN_MODE
        own += _attribute(5, struct.pack("=I", link.parent)) + there
    info = _attribute(18, _attribute(1, link.kind.encode()) + info)
    body = _IFINFO.pack(AF_UNSPEC, 0, link.index, 0, 0) + own + info
    return _request(LINK, _CREATE | _EXCLUSIVE, body)


def encode(operation: Operation) -> bytes:
    """The message of every operation on links, addresses, routes, rules and neighbours."""
    if isinstance(operation.item, Link) and operation.verb is Verb.ADD:
        return create(operation.item)
    kind, flags, body = _body(operation.item)
    if operation.verb is Verb.REMOVE:
        return _request(kind + 1, 0, body)
    return _request(kind, flags, body)


def dump(kind: int, *, family: int = AF_UNSPEC, proxies: bool = False) -> bytes:
    """Ask for all of a kind; proxy neighbours are a dump of their own."""
    sizes = {LINK: _IFINFO, ADDRESS: _IFADDR, ROUTE: _RT, RULE: _RT, NEIGHBOUR: _ND}
    body = bytes([family]) + bytes(sizes[kind].size - 1)
    if proxies:
        body = _ND.pack(family, 0, 0, _PROXY, 0)
    return _HEADER.pack(_HEADER.size + len(body), kind + 2, _DUMP, 0, 0) + body


def by_name(name: str) -> bytes:
    """Ask for one link."""
    body = _IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + _attribute(3, name.encode() + b"\0")
    return _request(LINK + 2, 0, body)


def decode(kind: int, payload: bytes) -> Item | None:
    """The item that a message shows, None where it is of a sort that openeni never makes."""
    decoders = {
        LINK: _link,
        ADDRESS: _address,
        ROUTE: _route,
        NEIGHBOUR: _neighbour,
        RULE: _rule,
    }
    return decoders[kind](payload)


def _attribute(kind: int, payload: bytes) -> bytes:
    size = len(payload) + 4
    return struct.pack("=HH", size, kind) + payload + bytes(-size % 4)


def _request(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_ACK | flags, 0, 0) + body


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _pton(address: str) -> bytes:
    return inet_pton(_FAMILY[family_of(address)], address)


def _link_attributes(link: Link) -> bytes:
    mac = _attribute(1, bytes.fromhex(link.mac.replace(":", ""))) if link.kind == VETH else b""
    return _attribute(3, link.name.encode() + b"\0") + mac + _number(4, link.mtu)


@singledispatch
def _body(item: Item) -> tuple[int, int, bytes]:
    raise TypeError(item)


@_body.register
def _(item: Link) -> tuple[int, int, bytes]:
    alias = _attribute(20, item.alias.encode()) if item.alias else b""
    body = _IFINFO.pack(AF_UNSPEC, 0, item.index, _UP if item.up else 0, _UP)
    return LINK, 0, body + _number(4, item.mtu) + alias


@_body.register
def _(item: Address) -> tuple[int, int, bytes]:
    raw, family = _pton(item.address), family_of(item.address)
    flags = _NO_DAD if family == 6 else 0  # noqa: PLR2004
    body = _IFADDR.pack(_FAMILY[family], item.prefix, flags, 0, item.index)
    return ADDRESS, _CREATE | _EXCLUSIVE, body + _attribute(2, raw) + _attribute(1, raw)


@_body.register
def _(item: Route) -> tuple[int, int, bytes]:
    network, length = item.destination.split("/")
    body = _RT.pack(
        _FAMILY[family_of(network)],
        int(length),
        0,
        0,
        0,
        item.protocol,
        0 if item.gateway or item.prohibits else _SCOPE_LINK,
        _PROHIBIT if item.prohibits else _UNICAST,
        _ONLINK if item.gateway else 0,
    )
    body += _number(15, item.table)
    if int(length):
        body += _attribute(1, _pton(network))
    if item.index:
        body += _number(4, item.index)
    if item.gateway:
        body += _attribute(5, _pton(item.gateway))
    if item.source:
        body += _attribute(7, _pton(item.source))
    return ROUTE, _CREATE | _EXCLUSIVE, body


@_body.register
def _(item: Rule) -> tuple[int, int, bytes]:
    source, _, length = item.source.partition("/")
    family = _FAMILY[item.family]
    body = _RT.pack(family, 0, int(length or 0), 0, 0, 0, 0, _TO_TABLE, 0)
    body += _number(6, item.priority) + _number(15, item.table)
    body += _attribute(21, bytes([item.protocol]))
    if source:
        body += _attribute(2, _pton(source))
    if item.iif:
        body += _attribute(3, item.iif.encode() + b"\0")
    if item.mask:
        body += _number(10, item.mark) + _number(16, item.mask)
    return RULE, _CREATE | _EXCLUSIVE, body


@_body.register
def _(item: Neighbour) -> tuple[int, int, bytes]:
    state, flags = (_PERMANENT, 0) if item.mac else (0, _PROXY)
    body = _ND.pack(_FAMILY[family_of(item.address)], item.index, state, flags, 0)
    body += _attribute(1, _pton(item.address)) + _attribute(12, bytes([item.protocol]))
    if item.mac:
        body += _attribute(2, bytes.fromhex(item.mac.replace(":", "")))
    return NEIGHBOUR, _CREATE | _REPLACE, body


def attributes(payload: bytes, offset: int) -> Attributes:
    """The attributes that begin at `offset`; the nested-flag bits of their kinds cleared."""
    return dict(_attributes(payload, offset))


def _attributes(payload: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + 4 <= len(payload):
        size, kind = struct.unpack_from("=HH", payload, offset)
        if size < 4:  # noqa: PLR2004 - shorter than its own header: not one of the kernel's
            return
        yield kind & 0x3FFF, payload[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def _word(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")


def _value(found: Attributes, kind: int, default: int = 0) -> int:
    raw = found.get(kind)
    return default if raw is None else int.from_bytes(raw, "little")


def _ntop(raw: bytes | None) -> str:
    return "" if not raw else inet_ntop(AF_INET6 if len(raw) > 4 else AF_INET, raw)  # noqa: PLR2004


def _cidr(family: int, raw: bytes | None, length: int) -> str:
    return f"{_ntop(raw or bytes(16 if family == AF_INET6 else 4))}/{length}"


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(payload)
    found = attributes(payload, _IFINFO.size)
    info = attributes(found.get(18, b""), 0)
    kind = _word(info.get(1, b""))
    slave = kind == IPVLAN
    return Link(
        _word(found[3]),
        index,
        kind,
        found.get(1, b"").hex(":"),
        _value(found, 4),
        up=bool(flags & _UP),
        parent=_value(found, 5) if slave else 0,
        mode=_value(attributes(info.get(2, b""), 0), 1) if slave else 0,
        alias=_word(found.get(20, b"")),
    )


def _address(payload: bytes) -> Address:
    _, prefix, _, _, index = _IFADDR.unpack_from(payload)
    found = attributes(payload, _IFADDR.size)
    return Address(index, _ntop(found.get(2) or found[1]), prefix)


def _route(payload: bytes) -> Route | None:
    family, length, _, _, table, protocol, _, kind, _ = _RT.unpack_from(payload)
    if kind not in (_UNICAST, _PROHIBIT):
        return None
    found = attributes(payload, _RT.size)
    return Route(
        _cidr(family, found.get(1), length),
        _value(found, 15, table),
        0 if kind == _PROHIBIT else _value(found, 4),
        _ntop(found.get(5)),
        _ntop(found.get(7)),
        protocol,
    )


def _neighbour(payload: bytes) -> Neighbour | None:
    _, index, state, flags, _ = _ND.unpack_from(payload)
    found = attributes(payload, _ND.size)
    proxy = bool(flags & _PROXY)
    if not (proxy or state & _PERMANENT) or 1 not in found:
        return None
    mac = "" if proxy else found.get(2, b"").hex(":")
    return Neighbour(index, _ntop(found[1]), mac, _value(found, 12))


def _rule(payload: bytes) -> Rule:
    family, _, length, _, table, _, _, _, _ = _RT.unpack_from(payload)
    found = attributes(payload, _RT.size)
    return Rule(
        6 if family == AF_INET6 else 4,
        _value(found, 6),
        _value(found, 15, table),
        _cidr(family, found[2], length) if 2 in found else "",  # noqa: PLR2004
        _word(found.get(3, b"")),
        _value(found, 10),
        _value(found, 16),
        _value(found, 21),
    )
