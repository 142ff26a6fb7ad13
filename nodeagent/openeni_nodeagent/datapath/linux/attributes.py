"""Encode netlink message headers and attributes, for rtnetlink and nfnetlink."""

import struct
from typing import Final

from openeni_nodeagent.datapath.linux.uapi import NLA_F_NESTED

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
