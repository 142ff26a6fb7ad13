"""Have a gateway send to an address, and see whether it asks this node for it by ARP.

The kernel drops what is for an address that it does not have, so nobody notices. ipvlan hands ARP
requests for its pods' addresses to their slaves (ipvlan_handle_mode_l3), past all sockets of the
node: only those for other addresses are seen.
"""

import ctypes
import socket
import struct
from typing import Final

from openeni_nodeagent.addresses import packed_mac
from openeni_nodeagent.datapath.node.announce import internet_checksum
from openeni_nodeagent.datapath_api import KernelRefusedError

_ETH_P_ARP, _ETH_P_IP = 0x0806, 0x0800  # linux/if_ether.h
_REQUEST: Final = 1
_ARP_BYTES: Final = 42  # of a frame
_SO_ATTACH_FILTER: Final = 26
_LOAD_32, _LOAD_16, _UNLESS_EQUAL, _RETURN = 0x20, 0x28, 0x15, 0x06  # linux/filter.h
_INSTRUCTION: Final = struct.Struct("HBBI")
_FILTER: Final = struct.Struct("HP")
_ICMP: Final = 1
_ECHO_REQUEST: Final = 8


class ARPListener:
    """A packet socket on one link, from the time when a gateway was asked. It never waits."""

    def __init__(self, device: str, macs: tuple[str, str], gateway: str, spare: str) -> None:
        """Send an echo request from `spare` to the gateway; `macs` are the link's and its.

        Raises KernelRefusedError.
        """
        own, to = map(packed_mac, macs)
        self._device = device
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            _attach(self._socket, _question(gateway, spare))
            self._socket.bind((device, _ETH_P_ARP))
            self._socket.sendto(echo_request(own, to, spare, gateway), (device, _ETH_P_IP))
        except OSError as error:
            self._socket.close()
            raise KernelRefusedError(f"{device}: {error}") from None

    def close(self) -> None:
        self._socket.close()

    def finish(self) -> bool:
        with self._socket:
            try:
                return bool(self._socket.recv(_ARP_BYTES))
            except BlockingIOError:
                return False
            except OSError as error:  # the link was down: what came meanwhile is not known
                raise KernelRefusedError(f"{self._device}: {error}") from None


def _question(sender: str, target: str) -> list[bytes]:
    """Return the filter that only lets pass that the sender asks everybody for the target.

    The socket's buffer would be full of what others ask. These may ask this node alone, because a
    pod had the address: a network may pass that on although it answers what everybody is asked
    (neutron, br_tun.py, install_arp_responder).
    """
    sent, asked = (int.from_bytes(socket.inet_aton(address)) for address in (sender, target))
    wanted = [
        (_LOAD_32, 0, 0xFFFFFFFF),  # the frame's receiver
        (_LOAD_16, 4, 0xFFFF),
        (_LOAD_16, 20, _REQUEST),
        (_LOAD_32, 28, sent),
        (_LOAD_32, 38, asked),
    ]
    left = 2 * len(wanted)  # instructions until the last one, which drops
    program: list[bytes] = []
    for load, place, value in wanted:
        left -= 2
        program.append(_INSTRUCTION.pack(load, 0, 0, place))
        program.append(_INSTRUCTION.pack(_UNLESS_EQUAL, 0, left + 1, value))
    return [
        *program,
        _INSTRUCTION.pack(_RETURN, 0, 0, _ARP_BYTES),
        _INSTRUCTION.pack(_RETURN, 0, 0, 0),
    ]


def _attach(to: socket.socket, program: list[bytes]) -> None:
    text = ctypes.create_string_buffer(b"".join(program))
    to.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, _FILTER.pack(len(program), ctypes.addressof(text))
    )


def echo_request(mac: bytes, to_mac: bytes, source: str, destination: str) -> bytes:
    """Return the Ethernet frame of an ICMP echo request without data."""
    echo = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 0, 0)
    echo = echo[:2] + struct.pack("!H", internet_checksum(echo)) + echo[4:]
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), 0, 0, 64, _ICMP, 0) + addresses
    header = header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:]
    return to_mac + mac + struct.pack("!H", _ETH_P_IP) + header + echo
