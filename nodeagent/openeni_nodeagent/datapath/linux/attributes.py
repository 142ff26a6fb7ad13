"""Encode, read and drop netlink attributes, for rtnetlink and nfnetlink."""

import struct
from collections.abc import Iterator
from typing import Final

from openeni_nodeagent.datapath.linux.uapi import NLA_F_NESTED

HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr
_NUMBER: Final = struct.Struct("=HHI")  # and a number of 32 bits
_KIND_MASK: Final = 0x3FFF  # linux/netlink.h: NLA_TYPE_MASK


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded to 4 bytes."""
    size = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(size, kind) + payload + bytes(-size % 4)


def nested(kind: int, payload: bytes) -> bytes:
    """Encode an attribute whose payload are attributes, with the flag that nf_tables asks for."""
    return attribute(kind | NLA_F_NESTED, payload)


def number(kind: int, value: int) -> bytes:
    """Encode a 32-bit number in the machine's byte order."""
    return _NUMBER.pack(_NUMBER.size, kind, value)


def big_endian(kind: int, value: int) -> bytes:
    """Encode a 32-bit number in network byte order, as nf_tables asks for."""
    return attribute(kind, struct.pack("!I", value))


def string(kind: int, text: str) -> bytes:
    """Encode a NUL-terminated string."""
    return attribute(kind, text.encode() + b"\0")


def with_attributes(message: bytes, body: int, kinds: frozenset[int]) -> bytes:
    """Return a message without its attributes of other kinds, flags, sequence number and port id.

    `body` is the size in bytes of what it has between its header and its attributes.
    """
    position = HEADER.size + body
    kept = bytearray(message[:position])
    for kind, begin, end in _walk(message, position):
        if kind in kinds:
            kept += message[begin:end]
    _, type_, *_ = HEADER.unpack_from(message)
    HEADER.pack_into(kept, 0, len(kept), type_, 0, 0, 0)
    return bytes(kept)


def payloads(data: bytes, position: int = 0) -> dict[int, bytes]:
    """Return what the attributes from `position` on contain, padded to 4 bytes, by kind."""
    return {kind: data[begin + _ATTRIBUTE.size : end] for kind, begin, end in _walk(data, position)}


def _walk(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yield the kind of each attribute, where it begins, and where the next one does."""
    while position + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, position)
        following = position + (max(size, _ATTRIBUTE.size) + 3 & ~3)
        yield kind & _KIND_MASK, position, following
        position = following
