"""Announce to the subnet that an address is now behind this ENI.

Peers may keep the MAC of the ENI that had the address before in their neighbour tables for minutes.
A gratuitous ARP request (RFC 5227, section 3) or an unsolicited neighbour advertisement (RFC 4861,
section 7.2.6) updates the existing entries. Only one frame is sent: if it is lost, the entries
expire as they would without it.
"""

import socket
import struct
from contextlib import suppress
from typing import Final

from openeni_nodeagent.addresses import IPV6, family_of, packed_mac

_BROADCAST: Final = b"\xff" * 6
_ALL_NODES: Final = socket.inet_pton(socket.AF_INET6, "ff02::1")
_ALL_NODES_MAC: Final = bytes.fromhex("333300000001")
_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD  # linux/if_ether.h
_ICMP6: Final = 58
_ADVERTISEMENT: Final = 136
_OVERRIDE: Final = 0x20000000


class Announcer:
    """Keeps one socket open: closing it waits for an RCU grace period, 10 ms and more."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def announce(self, ifindex: int, mac: str, addresses: tuple[str, ...]) -> None:
        """Send one frame for each address out of the link with this index; errors are ignored."""
        own = packed_mac(mac)
        with suppress(OSError):
            # Protocol 0 receives nothing. Two threads may both open a socket at the first call;
            # the surplus one is closed with the last reference to it.
            self._socket = self._socket or socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            device = socket.if_indextoname(ifindex)  # Python takes names alone
            for address in addresses:
                self._socket.sendto(frame(own, address), socket.MSG_DONTWAIT, (device, 0))

    def close(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None


def frame(mac: bytes, address: str) -> bytes:
    """Return the Ethernet frame that announces `address` at `mac`."""
    if family_of(address) == IPV6:
        return _advertisement(mac, socket.inet_pton(socket.AF_INET6, address))
    raw = socket.inet_pton(socket.AF_INET, address)
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + raw + bytes(6) + raw
    return _BROADCAST + mac + struct.pack("!H", _ETH_P_ARP) + request


def _advertisement(mac: bytes, address: bytes) -> bytes:
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + address
    body += struct.pack("!BB", 2, 1) + mac  # option: target link-layer address, 8 octets
    pseudo = address + _ALL_NODES + struct.pack("!II", len(body), _ICMP6)
    body = body[:2] + struct.pack("!H", internet_checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMP6, 255) + address + _ALL_NODES
    return _ALL_NODES_MAC + mac + struct.pack("!H", _ETH_P_IPV6) + header + body


def internet_checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total = sum(data[0::2]) * 256 + sum(data[1::2])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
