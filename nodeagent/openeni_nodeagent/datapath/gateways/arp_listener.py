"""Have a gateway send to an address, and see whether it asks this node for it by ARP.

The kernel drops what is for an address that it does not have, so nobody notices. ipvlan hands ARP
requests for its pods' addresses to their slaves (ipvlan_handle_mode_l3), past all sockets of the
node: only those for other addresses are seen.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Final

from openeni_nodeagent.addresses import packed_mac
from openeni_nodeagent.datapath.node.announce import internet_checksum
from openeni_nodeagent.datapath_api import KernelRefusedError

_ETH_P_ARP, _ETH_P_IP = 0x0806, 0x0800  # linux/if_ether.h
_REQUEST: Final = 1
_BROADCAST: Final = b"\xff" * 6
_ARP: Final = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_MOST_FRAMES: Final = 1024  # that are read: more than a socket's buffer has of such frames
_ICMP: Final = 1
_ECHO_REQUEST: Final = 8


class ARPListener:
    """A packet socket on one link, from the time when a gateway was asked. It never waits."""

    def __init__(self, device: str, macs: tuple[str, str], gateway: str, spare: str) -> None:
        """Send an echo request from `spare` to the gateway; `macs` are the link's and its.

        Raises KernelRefusedError.
        """
        self._asked = socket.inet_aton(gateway), socket.inet_aton(spare)
        own, to = map(packed_mac, macs)
        self._device = device
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            self._socket.bind((device, _ETH_P_ARP))
            self._socket.sendto(echo_request(own, to, spare, gateway), (device, _ETH_P_IP))
        except OSError as error:
            self._socket.close()
            raise KernelRefusedError(f"{device}: {error}") from None

    def close(self) -> None:
        self._socket.close()

    def finish(self) -> bool:
        with self._socket:
            return any(map(self._is_question, self._frames()))

    def _frames(self) -> Iterator[bytes]:
        for _ in range(_MOST_FRAMES):
            try:
                yield self._socket.recv(_ARP.size)
            except BlockingIOError:
                return
            except OSError as error:  # the link was down: what came meanwhile is not known
                raise KernelRefusedError(f"{self._device}: {error}") from None

    def _is_question(self, frame: bytes) -> bool:
        """Return True if the gateway asks everybody for the address.

        Others may ask this node alone, because a pod had the address: a network may pass that on
        although it answers what everybody is asked (neutron, br_tun.py, install_arp_responder).
        """
        if len(frame) < _ARP.size:
            return False
        receiver, _, _, _, _, _, _, operation, _, sender, _, target = _ARP.unpack(frame)
        is_to_all = (receiver, operation) == (_BROADCAST, _REQUEST)
        return is_to_all and (sender, target) == self._asked


def echo_request(mac: bytes, to_mac: bytes, source: str, destination: str) -> bytes:
    """Return the Ethernet frame of an ICMP echo request without data."""
    echo = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 0, 0)
    echo = echo[:2] + struct.pack("!H", internet_checksum(echo)) + echo[4:]
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), 0, 0, 64, _ICMP, 0) + addresses
    header = header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:]
    return to_mac + mac + struct.pack("!H", _ETH_P_IP) + header + echo
