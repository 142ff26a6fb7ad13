"""Packets with a partial checksum, to be completed where their sender says: over an address.

A packet socket with PACKET_VNET_HDR (packet(7)) says so of a frame. The node joins fragments for
conntrack, and completes the checksum when it cuts them again, behind its filters. That of a whole
packet is completed when it leaves by a NIC that completes none itself.
"""

import ctypes
import fcntl
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from openeni_crds import names
from openeni_testing.network.attacks import checksum, type_of

_SOL_PACKET, _PACKET_VNET_HDR, _NEEDS_CSUM = 263, 15, 1
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h
_ETHERNET, _HEADER_4, _FRAGMENT = 14, 20, 8  # bytes
_TARGET: Final = 16  # of the receiver's address in an IPv4 header
_SUMMED_FROM: Final = 12  # where the checksum begins that lands there: at the addresses
_PAYLOAD: Final = b"rewritten!" + bytes(22)
Frame = tuple[int, int, bytes]  # with the begin of what is summed, and the checksum's offset in it


def send(device: str, frames: Sequence[Frame]) -> None:
    """Send frames with partial checksums."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        for start, offset, frame in frames:
            head = struct.pack("=BBHHHH", _NEEDS_CSUM, 0, 0, 0, start, offset)
            with suppress(OSError):
                sender.sendto(head + frame, (device, type_of(frame)))  # as `attacks.send_frames`


def fragments_4(mac: str, source: str, target: str) -> list[Frame]:
    """Return two fragments for another address, which becomes `target` in its last two bytes."""
    before = str(ip_address(int(ip_address(target)) ^ 0x1FF))
    payload = bytearray(_PAYLOAD)
    udp = struct.pack("!HHHH", 9, 9, 8 + len(payload), 0)
    size = len(udp) + len(payload)
    joined = _header_4(source, before, 63, size, 0) + udp + payload  # the node has taken one hop
    wanted = int.from_bytes(ip_address(target).packed[2:]) ^ 0xFFFF
    found = int.from_bytes(checksum(joined[_SUMMED_FROM:])) ^ 0xFFFF
    payload[-2:] = ((wanted - found) % 0xFFFF).to_bytes(2)
    data, ethernet = bytes(udp + payload), _ethernet(mac, b"\x08\0")
    one = ethernet + _header_4(source, before, 64, 24, 0x2000) + data[:24]
    two = ethernet + _header_4(source, before, 64, size - 24, 3) + data[24:]
    start = _ETHERNET + _SUMMED_FROM
    return [(start, _TARGET + 2 - _SUMMED_FROM, one), (_ETHERNET + _HEADER_4, 2, two)]


def fragments_6(mac: str, source: str, target: str) -> list[Frame]:
    """Return two fragments for another address, which becomes `target` in its first two bytes.

    The kernel moves the header by the fragment header's 8 bytes when it joins them
    (nf_ct_frag6_reasm), and so towards what is to be filled in.
    """
    addresses, udp = _of_6(source, target)

    def frame(data: bytes, offset: int, more: int) -> bytes:
        head = struct.pack("!IHBB", 6 << 28, _FRAGMENT + len(data), socket.IPPROTO_FRAGMENT, 64)
        fragment = struct.pack("!BBHI", socket.IPPROTO_UDP, 0, offset | more, 77)
        return _ethernet(mac, b"\x86\xdd") + head + addresses + fragment + data

    start = _ETHERNET + _FRAGMENT + 8  # the addresses of a header of IPv6
    return [(start, 16, frame(udp[:24], 0, 1)), (_ETHERNET + 48, 2, frame(udp[24:], 24, 0))]


def packet_6(mac: str, to: str, source: str, target: str) -> list[Frame]:
    """Return a packet for another address, which becomes `target` in its first two bytes."""
    addresses, udp = _of_6(source, target)
    head = struct.pack("!IHBB", 6 << 28, len(udp), socket.IPPROTO_UDP, 64)
    return [(_ETHERNET + 8, 16, _ethernet(mac, b"\x86\xdd", to) + head + addresses + udp)]


def complete_no_checksums(device: str) -> None:
    """Have a NIC complete no checksums of what it sends: the kernel does so before (ethtool)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0), 8)
        request = struct.pack("=16sQ16x", device.encode(), ctypes.addressof(value))
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


def _of_6(source: str, target: str) -> tuple[bytes, bytes]:
    """Return the addresses, and a UDP datagram that is right once the target is `target`."""
    size = 8 + len(_PAYLOAD)
    final = ip_address(target).packed
    pseudo = ip_address(source).packed + final + struct.pack("!II", size, socket.IPPROTO_UDP)
    udp = struct.pack("!HHHH", 9, 9, size, 0) + _PAYLOAD
    udp = udp[:6] + checksum(pseudo + udp) + udp[8:]
    # What is summed from the addresses on gives all ones but for the length and the protocol.
    before = struct.pack("!H", socket.IPPROTO_UDP + size) + final[2:]
    return ip_address(source).packed + before, udp


def _header_4(source: str, target: str, ttl: int, size: int, fragment: int) -> bytes:
    head = struct.pack(
        "!BBHHHBBH", 0x45, 0, _HEADER_4 + size, 0x4242, fragment, ttl, socket.IPPROTO_UDP, 0
    )
    head += ip_address(source).packed + ip_address(target).packed
    return head[:10] + checksum(head) + head[12:]


def _ethernet(mac: str, kind: bytes, to: str = names.VETH_MAC) -> bytes:
    return bytes.fromhex((to + mac).replace(":", "")) + kind
