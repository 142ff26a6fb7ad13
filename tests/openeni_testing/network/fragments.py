"""Packets in two fragments, which come from different places."""

import struct
from typing import Final

from openeni_testing.network.attacks import MACs, checksum

_ETHERNET, _HEADER_4, _HEADER_6, _FRAGMENT = 14, 20, 40, 8  # bytes
_IPV6_FRAGMENT: Final = 44  # IPPROTO_FRAGMENT
_MORE_4, _MORE_6 = 0x2000, 1
_IPV4: Final = b"\x08\0"
_ID: Final = 0x4713
_AT: Final = 8  # bytes of data in the first fragment: the header of UDP


def cut(frame: bytes, first: MACs, rest: MACs) -> tuple[bytes, bytes]:
    """Return the frames of both fragments of a frame's packet, each with its own MACs."""
    is_4 = frame[12:14] == _IPV4
    length = struct.unpack_from("!H", frame, _ETHERNET + (2 if is_4 else 4))[0]
    size = _HEADER_4 if is_4 else _HEADER_6
    packet = frame[_ETHERNET : _ETHERNET + length + (0 if is_4 else _HEADER_6)]
    make = _fragment_4 if is_4 else _fragment_6
    head, data = packet[:size], packet[size:]
    one = make(head, data[:_AT], 0, more=True)
    other = make(head, data[_AT:], _AT, more=False)
    return _framed(first, frame, one), _framed(rest, frame, other)


def _framed(macs: MACs, frame: bytes, packet: bytes) -> bytes:
    sender, receiver = (bytes.fromhex(mac.replace(":", "")) for mac in macs)
    return receiver + sender + frame[12:14] + packet


def _fragment_4(head: bytes, part: bytes, offset: int, *, more: bool) -> bytes:
    field = offset // 8 | (_MORE_4 if more else 0)
    header = head[:2] + struct.pack("!HHH", _HEADER_4 + len(part), _ID, field) + head[8:10]
    header += bytes(2) + head[12:]
    return header[:10] + checksum(header) + header[12:] + part


def _fragment_6(head: bytes, part: bytes, offset: int, *, more: bool) -> bytes:
    header = head[:4] + struct.pack("!HB", _FRAGMENT + len(part), _IPV6_FRAGMENT) + head[7:]
    field = offset | (_MORE_6 if more else 0)
    return header + struct.pack("!BBHI", head[6], 0, field, _ID) + part
