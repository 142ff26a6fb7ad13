"""Fragments to an address of the node that the kernel rewrites once it has joined them.

As `partial_checksums` says: it completes a checksum where their sender says when it cuts them
again, here on their way to `lo`. So they become what they were not when the output hook saw them.
"""

import struct
from ipaddress import ip_address
from typing import Final

from openeni_testing.network.attacks import checksum
from openeni_testing.network.partial_checksums import Frame

_ETHERNET, _HEADER_4, _HEADER_6, _FRAGMENT = 14, 20, 40, 8  # bytes
_FIRST: Final = 24  # bytes of data in the first fragment
_IPV6_FRAGMENT: Final = 44  # IPPROTO_FRAGMENT
_MORE_4, _MORE_6 = 0x2000, 1
_UDP, _ICMPV6, _ICMP = 17, 58, 1
_FLOW_LABEL: Final = 2  # its last 16 bits, which are free
SMALL, SMALL_6 = 600, 1280  # path MTUs


def from_another(mac: str, source: str, target: str, other: str) -> list[Frame]:
    """Return a datagram over IPv6 whose sender becomes `other`, which has other last two bytes."""
    payload = b"openeni!" * 4
    udp = struct.pack("!HHHH", 9, 9, 8 + len(payload), 0) + payload
    own, to, becomes = (ip_address(a).packed for a in (source, target, other))
    pseudo = becomes + to + struct.pack("!II", len(udp), _UDP)
    udp = udp[:6] + checksum(pseudo + udp) + udp[8:]
    packet = struct.pack("!IHBB", 6 << 28, len(udp), _UDP, 64) + own + to + udp
    return _cut_6(mac, _with_sum(packet, _FLOW_LABEL, becomes[14:]), 0, 8 + 14)


def too_big_4(mac: str, source: str, target: str, sent: bytes) -> list[Frame]:
    """Return what becomes an error about the path MTU of a packet that the node has sent."""
    error = struct.pack("!BBHHH", 3, 4, 0, 0, SMALL) + sent[: _HEADER_4 + 8]
    error = error[:2] + checksum(error) + error[4:]
    hidden = b"\0\0" + error[2:]  # an echo reply; its sum is what makes it an error
    addresses = ip_address(source).packed + ip_address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0x4244, 0, 64, _ICMP, 0)
    return _cut_4(mac, head + addresses + hidden, _HEADER_4, 0)


def too_big_6(mac: str, source: str, target: str, sent: bytes) -> list[Frame]:
    """Return what becomes an error about the path MTU of a packet that the node has sent."""
    own, to = ip_address(source).packed, ip_address(target).packed
    error = struct.pack("!BBHI", 2, 0, 0, SMALL_6) + sent[: _HEADER_6 + 8]
    error = (
        error[:2] + checksum(own + to + struct.pack("!II", len(error), _ICMPV6) + error) + error[4:]
    )
    hidden = b"\x80" + error[1:]  # an echo request
    packet = struct.pack("!IHBB", 6 << 28, len(hidden), _ICMPV6, 64) + own + to + hidden
    return _cut_6(mac, _with_sum(packet, _FLOW_LABEL, b"\2\0"), 0, _HEADER_6)


def _with_sum(data: bytes, place: int, wanted: bytes) -> bytes:
    """Return the data with such 16 bits at `place` that its checksum is as wanted."""
    data = data[:place] + bytes(2) + data[place + 2 :]
    missing = int.from_bytes(checksum(data)) - int.from_bytes(wanted)
    return data[:place] + (missing % 0xFFFF).to_bytes(2) + data[place + 2 :]


def _cut_4(mac: str, packet: bytes, start: int, offset: int) -> list[Frame]:
    """Return two fragments of a packet; summed from `start`, into `offset` from there."""
    head, data = packet[:_HEADER_4], packet[_HEADER_4:]

    def fragment(part: bytes, field: int) -> bytes:
        of_part = struct.pack("!H2sHB", _HEADER_4 + len(part), head[4:6], field, head[8])
        header = head[:2] + of_part + head[9:10] + bytes(2) + head[12:]
        header = header[:10] + checksum(header) + header[12:]
        return _ethernet(mac, b"\x08\0") + header + part

    first, second = fragment(data[:_FIRST], _MORE_4), fragment(data[_FIRST:], _FIRST // 8)
    return [(_ETHERNET + start, offset, first), (_ETHERNET + _HEADER_4, 2, second)]


def _cut_6(mac: str, packet: bytes, start: int, offset: int) -> list[Frame]:
    """Return two fragments of a packet; summed from `start`, into `offset` from there.

    The kernel moves the header by the fragment header's 8 bytes when it joins them.
    """
    head, data, protocol = packet[:_HEADER_6], packet[_HEADER_6:], packet[6]

    def fragment(part: bytes, field: int) -> bytes:
        header = head[:4] + struct.pack("!HB", _FRAGMENT + len(part), _IPV6_FRAGMENT) + head[7:]
        of_part = struct.pack("!BBHI", protocol, 0, field, 78)
        return _ethernet(mac, b"\x86\xdd") + header + of_part + part

    first, second = fragment(data[:_FIRST], _MORE_6), fragment(data[_FIRST:], _FIRST)
    place = _ETHERNET + _HEADER_6 + _FRAGMENT
    return [(_ETHERNET + _FRAGMENT + start, offset, first), (place, 2, second)]


def _ethernet(mac: str, kind: bytes) -> bytes:
    """Return the header of a frame to the link that sends it."""
    return 2 * bytes.fromhex(mac.replace(":", "")) + kind
