"""Have a gateway send to an address, and see whether it asks this node for it by ARP.

The kernel drops what is for an address that it does not have, so nobody notices. ipvlan hands ARP
requests for its pods' addresses to their slaves (ipvlan_handle_mode_l3), past all sockets of the
node: only those for other addresses are seen.
"""

import socket
import struct
from typing import Final

from openeni_nodeagent.datapath.linux.announce import internet_checksum

_ETH_P_ARP, _ETH_P_IP = 0x0806, 0x0800  # linux/if_ether.h
_REQUEST: Final = 1
_ARP: Final = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_MOST_FRAMES: Final = 1024  # that are read: more than a socket's buffer has of such frames
_ICMP: Final = 1
_ECHO_REQUEST: Final = 8


class ARPListener:
    """A packet socket on one link, from the time when a gateway was asked. It never waits."""

    def __init__(self, device: str, mac: str, gateway_mac: str, gateway: str, spare: str) -> None:
        """Send an echo request from `spare` to the gateway. Raises OSError."""
        self._spare, self._mac = socket.inet_aton(spare), _mac(mac)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            self._socket.bind((device, _ETH_P_ARP))
            frame = echo_request(self._mac, _mac(gateway_mac), spare, gateway)
            self._socket.sendto(frame, (device, _ETH_P_IP))
        except OSError:
            self._socket.close()
            raise

    def finish(self) -> bool:
        """Close, and return whether anybody has asked for the address."""
        with self._socket:
            return any(map(self._is_request, self._frames()))

    def _frames(self) -> list[bytes]:
        found: list[bytes] = []
        try:
            while len(found) < _MOST_FRAMES:
                found.append(self._socket.recv(_ARP.size))
        except OSError:  # there are no more, or the link is down
            pass
        return found

    def _is_request(self, frame: bytes) -> bool:
        """Return True for a question: who asks for its own address announces that."""
        if len(frame) < _ARP.size:
            return False
        _, _, _, _, _, _, _, operation, mac, sender, _, target = _ARP.unpack(frame)
        asks = operation == _REQUEST and mac != self._mac and sender != target
        return bool(asks and target == self._spare)


def echo_request(mac: bytes, to_mac: bytes, source: str, destination: str) -> bytes:
    """Return the Ethernet frame of an ICMP echo request without data."""
    echo = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 0, 0)
    echo = echo[:2] + struct.pack("!H", internet_checksum(echo)) + echo[4:]
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), 0, 0, 64, _ICMP, 0) + addresses
    header = header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:]
    return to_mac + mac + struct.pack("!H", _ETH_P_IP) + header + echo


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
