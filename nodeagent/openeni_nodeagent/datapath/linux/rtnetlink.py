"""Operations as rtnetlink messages.

pyroute2 does this too, at 0.16 to 0.3 ms a message, which for the dozen messages of one ADD is
more than the kernel's own work; this takes 3 us. The tests decode every message of ours with
pyroute2. Numbers are those of linux/rtnetlink.h, if_link.h, neighbour.h and fib_rules.h.
"""

import struct
from functools import singledispatch
from socket import AF_INET, AF_INET6, AF_UNSPEC, inet_pton
from typing import Final

from openeni_crds import names
from openeni_nodeagent.datapath.model import (
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
UP: Final = 1  # IFF_UP
PERMANENT, PROXY = 0x80, 0x08  # NUD_PERMANENT, NTF_PROXY
UNICAST, PROHIBIT = 1, 8
_ONLINK: Final = 4  # RTNH_F_ONLINK: an ENI has no route to its gateway but the one being made
_SCOPE_LINK, _SCOPE_NOWHERE = 253, 255
_TO_TABLE: Final = 1  # FR_ACT_TO_TBL
_NO_DAD: Final = 0x02  # IFA_F_NODAD: Neutron has seen to it that the address is nobody else's
HEADER: Final = struct.Struct("=IHHII")
IFINFO: Final = struct.Struct("=BxHiII")
IFADDR: Final = struct.Struct("=BBBBi")
RT: Final = struct.Struct("=BBBBBBBBI")
ND: Final = struct.Struct("=BxxxiHBB")


def create(link: Link, *, peer: Link | None = None, namespace: int | None = None) -> bytes:
    """Create a link, down.

    `namespace` is a descriptor of where a veth's `peer` goes, or the ipvlan slave itself: made
    there, not moved there, which would wait for RCU.
    """
    there = b"" if namespace is None else attribute(28, struct.pack("=I", namespace))
    own = _link_attributes(link)
    if link.kind == VETH and peer:
        mirror = IFINFO.pack(AF_UNSPEC, 0, peer.index, 0, 0) + _link_attributes(peer) + there
        info = attribute(2, attribute(1, mirror))  # IFLA_INFO_DATA, VETH_INFO_PEER
    else:
        info = attribute(2, attribute(1, struct.pack("=H", link.mode)))  # IFLA_IPVLAN_MODE
        own += attribute(5, struct.pack("=I", link.parent)) + there
    info = attribute(18, attribute(1, link.kind.encode()) + info)
    body = IFINFO.pack(AF_UNSPEC, 0, link.index, 0, 0) + own + info
    return _request(LINK, _CREATE | _EXCLUSIVE, body)


def encode(operation: Operation) -> bytes:
    """The message of every operation on links, addresses, routes, rules and neighbours."""
    if isinstance(operation.item, Link) and operation.verb is Verb.ADD:
        return create(operation.item)
    kind, flags, body = _body(operation.item)
    if operation.verb is Verb.REMOVE:
        return _request(kind + 1, 0, body)
    return _request(kind, flags, body)


def dump(kind: int, *, proxies: bool = False) -> bytes:
    """Ask for all of a kind, of both families; proxy neighbours are a dump of their own."""
    sizes = {LINK: IFINFO, ADDRESS: IFADDR, RULE: RT, NEIGHBOUR: ND}
    body = ND.pack(AF_UNSPEC, 0, 0, PROXY, 0) if proxies else bytes(sizes[kind].size)
    return _dump(kind, body)


def dump_routes(family: int, *, index: int = 0) -> bytes:
    """Ask for one family's routes: ours, or with `index` everybody's out of that link."""
    if index:
        return _dump(ROUTE, RT.pack(_FAMILY[family], *bytes(7), 0) + _number(4, index))
    return _dump(ROUTE, RT.pack(_FAMILY[family], 0, 0, 0, 0, names.PROTOCOL, 0, 0, 0))


def attribute(kind: int, payload: bytes) -> bytes:
    size = len(payload) + 4
    return struct.pack("=HH", size, kind) + payload + bytes(-size % 4)


def _dump(kind: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind + 2, _DUMP, 0, 0) + body


def _request(kind: int, flags: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, _REQUEST_ACK | flags, 0, 0) + body


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def pton(address: str) -> bytes:
    return inet_pton(_FAMILY[family_of(address)], address)


def _link_attributes(link: Link) -> bytes:
    mac = attribute(1, bytes.fromhex(link.mac.replace(":", ""))) if link.kind == VETH else b""
    return attribute(3, link.name.encode() + b"\0") + mac + _number(4, link.mtu)


@singledispatch
def _body(item: Item) -> tuple[int, int, bytes]:
    raise TypeError(item)


@_body.register
def _(item: Link) -> tuple[int, int, bytes]:
    alias = attribute(20, item.alias.encode()) if item.alias else b""
    body = IFINFO.pack(AF_UNSPEC, 0, item.index, UP if item.up else 0, UP)
    return LINK, 0, body + _number(4, item.mtu) + alias


@_body.register
def _(item: Address) -> tuple[int, int, bytes]:
    raw, family = pton(item.address), family_of(item.address)
    flags = _NO_DAD if family == 6 else 0  # noqa: PLR2004
    body = IFADDR.pack(_FAMILY[family], item.prefix, flags, 0, item.index)
    return ADDRESS, _CREATE | _EXCLUSIVE, body + attribute(2, raw) + attribute(1, raw)


@_body.register
def _(item: Route) -> tuple[int, int, bytes]:
    network, length = item.destination.split("/")
    body = RT.pack(
        _FAMILY[family_of(network)],
        int(length),
        0,
        0,
        0,
        item.protocol,
        0 if item.gateway or item.prohibits else _SCOPE_LINK,
        PROHIBIT if item.prohibits else UNICAST,
        _ONLINK if item.gateway else 0,
    )
    body += _number(15, item.table)
    if int(length):
        body += attribute(1, pton(network))
    if item.index:
        body += _number(4, item.index)
    if item.gateway:
        body += attribute(5, pton(item.gateway))
    if item.source:
        body += attribute(7, pton(item.source))
    return ROUTE, _CREATE | _EXCLUSIVE, body


@_body.register
def _(item: Rule) -> tuple[int, int, bytes]:
    source, _, length = item.source.partition("/")
    family = _FAMILY[item.family]
    body = RT.pack(family, 0, int(length or 0), 0, 0, 0, 0, _TO_TABLE, 0)
    body += _number(6, item.priority) + _number(15, item.table)
    body += attribute(21, bytes([item.protocol]))
    if source:
        body += attribute(2, pton(source))
    if item.iif:
        body += attribute(3, item.iif.encode() + b"\0")
    if item.mask:
        body += _number(10, item.mark) + _number(16, item.mask)
    return RULE, _CREATE | _EXCLUSIVE, body


@_body.register
def _(item: Neighbour) -> tuple[int, int, bytes]:
    state, flags = (PERMANENT, 0) if item.mac else (0, PROXY)
    body = ND.pack(_FAMILY[family_of(item.address)], item.index, state, flags, 0)
    body += attribute(1, pton(item.address)) + attribute(12, bytes([item.protocol]))
    if item.mac:
        body += attribute(2, bytes.fromhex(item.mac.replace(":", "")))
    return NEIGHBOUR, _CREATE | _REPLACE, body
