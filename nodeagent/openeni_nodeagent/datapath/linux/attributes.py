"""Netlink message headers and attributes as bytes, shared by rtnetlink and nfnetlink."""

import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from openeni_nodeagent.datapath.linux.uapi import NLA_F_NESTED, NLA_TYPE_MASK

Attributes: TypeAlias = dict[int, bytes]
HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded to 4 bytes."""
    size = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(size, kind) + payload + bytes(-size % 4)


def nested(kind: int, payload: bytes) -> bytes:
    """Encode an attribute whose payload are attributes, with the flag that nf_tables asks for."""
    return attribute(kind | NLA_F_NESTED, payload)


def number(kind: int, value: int) -> bytes:
    """Encode a 32-bit number in the machine's byte order."""
    return attribute(kind, struct.pack("=I", value))


def big_endian(kind: int, value: int) -> bytes:
    """Encode a 32-bit number in network byte order, as nf_tables asks for."""
    return attribute(kind, struct.pack("!I", value))


def string(kind: int, text: str) -> bytes:
    """Encode a NUL-terminated string."""
    return attribute(kind, text.encode() + b"\0")


def attributes(payload: bytes, offset: int = 0) -> Attributes:
    """Return the attributes that begin at `offset`, by type; of a repeated type the last."""
    return dict(iterate(payload, offset))


def iterate(payload: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield type, without its flag bits, and payload of each attribute from `offset` on."""
    while offset + _ATTRIBUTE.size <= len(payload):
        size, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if size < _ATTRIBUTE.size:  # the kernel never sends this
            return
        yield kind & NLA_TYPE_MASK, payload[offset + _ATTRIBUTE.size : offset + size]
        offset += (size + 3) & ~3


def to_text(raw: bytes) -> str:
    """Decode a NUL-terminated string."""
    return raw.rstrip(b"\0").decode(errors="replace")
