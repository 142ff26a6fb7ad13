"""The kernel's rtnetlink messages as items: what `observe` sees."""

import struct
import sys
from collections.abc import Callable, Iterator
from socket import AF_INET, AF_INET6, inet_ntop

from openeni_nodeagent.datapath.linux.rtnetlink import (
    ADDRESS,
    IFADDR,
    IFINFO,
    LINK,
    ND,
    NEIGHBOUR,
    PERMANENT,
    PROHIBIT,
    PROXY,
    ROUTE,
    RT,
    RULE,
    UNICAST,
    UP,
)
from openeni_nodeagent.datapath.model import IPVLAN, Address, Item, Link, Neighbour, Route, Rule

Attributes = dict[int, bytes]


def decode(kind: int, payload: bytes) -> Item | None:
    """The item that a message shows, None where it is of a sort that openeni never makes."""
    decoders: dict[int, Callable[[bytes], Item | None]] = {
        LINK: _link,
        ADDRESS: _address,
        ROUTE: _route,
        NEIGHBOUR: _neighbour,
        RULE: _rule,
    }
    return decoders[kind](payload)


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
    return default if raw is None else int.from_bytes(raw, sys.byteorder)


def _ntop(raw: bytes | None) -> str:
    return "" if not raw else inet_ntop(AF_INET6 if len(raw) > 4 else AF_INET, raw)  # noqa: PLR2004


def _cidr(family: int, raw: bytes | None, length: int) -> str:
    return f"{_ntop(raw or bytes(16 if family == AF_INET6 else 4))}/{length}"


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = IFINFO.unpack_from(payload)
    found = attributes(payload, IFINFO.size)
    info = attributes(found.get(18, b""), 0)
    kind = _word(info.get(1, b""))
    slave = kind == IPVLAN
    return Link(
        _word(found[3]),
        index,
        kind,
        found.get(1, b"").hex(":"),
        _value(found, 4),
        up=bool(flags & UP),
        parent=_value(found, 5) if slave else 0,
        mode=_value(attributes(info.get(2, b""), 0), 1) if slave else 0,
        alias=_word(found.get(20, b"")),
    )


def _address(payload: bytes) -> Address:
    _, prefix, _, _, index = IFADDR.unpack_from(payload)
    found = attributes(payload, IFADDR.size)
    return Address(index, _ntop(found.get(2) or found[1]), prefix)


def _route(payload: bytes) -> Route | None:
    family, length, _, _, table, protocol, _, kind, _ = RT.unpack_from(payload)
    if kind not in (UNICAST, PROHIBIT) or family not in (AF_INET, AF_INET6):
        return None
    found = attributes(payload, RT.size)
    return Route(
        _cidr(family, found.get(1), length),
        _value(found, 15, table),
        0 if kind == PROHIBIT else _value(found, 4),
        _ntop(found.get(5)),
        _ntop(found.get(7)),
        protocol,
    )


def _neighbour(payload: bytes) -> Neighbour | None:
    _, index, state, flags, _ = ND.unpack_from(payload)
    found = attributes(payload, ND.size)
    proxy = bool(flags & PROXY)
    if not (proxy or state & PERMANENT):
        return None
    mac = "" if proxy else found.get(2, b"").hex(":")
    return Neighbour(index, _ntop(found[1]), mac, _value(found, 12))


def _rule(payload: bytes) -> Rule | None:
    family, _, length, _, table, _, _, _, _ = RT.unpack_from(payload)
    if family not in (AF_INET, AF_INET6):
        return None  # the multicast router's
    found = attributes(payload, RT.size)
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
