"""The beginning of an SCTP association (RFC 9260) over raw sockets: few kernels have SCTP."""

import socket
import struct
from dataclasses import dataclass
from typing import Final

from openeni_testing.network.netns import Namespace

_INIT, _INIT_ACK = 1, 2
_HEADER: Final = struct.Struct("!HHII")
_CHUNK: Final = struct.Struct("!BBHIIHHI")  # of INIT and INIT ACK
_POLYNOMIAL: Final = 0x82F63B78  # CRC32c, reflected
_PORT: Final = 40000  # of the client
_SECONDS: Final = 5.0
_TAG: Final = 0x0E21


@dataclass(frozen=True)
class Packet:
    source: str
    source_port: int
    port: int
    tag: int
    kind: int


def associate(
    client: Namespace, server: Namespace, address: str, port: int
) -> tuple[Packet, Packet] | None:
    """Send INIT, answer what arrives at the server with INIT ACK; return both as they arrived."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with client.run(_open, family) as here, server.run(_open, family) as there:
        here.sendto(_packet(_PORT, port, 0, _INIT), (address, 0))
        if (init := _receive(there, _INIT)) is None:
            return None
        answer = _packet(init.port, init.source_port, _TAG, _INIT_ACK)
        there.sendto(answer, (init.source, 0))
        acknowledged = _receive(here, _INIT_ACK)
    return None if acknowledged is None else (init, acknowledged)


def _open(family: socket.AddressFamily) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    opened.settimeout(_SECONDS)
    return opened


def _receive(at: socket.socket, kind: int) -> Packet | None:
    while True:
        try:
            data, sender = at.recvfrom(1 << 16)
        except TimeoutError:
            return None
        if at.family == socket.AF_INET:  # a raw socket of IPv4 has the IP header as well
            data = data[(data[0] & 0xF) * 4 :]
        source_port, port, tag, _ = _HEADER.unpack_from(data)
        if data[_HEADER.size] == kind:
            return Packet(sender[0], source_port, port, tag, kind)


def _packet(source_port: int, port: int, tag: int, kind: int) -> bytes:
    chunk = _CHUNK.pack(kind, 0, _CHUNK.size, _TAG, 1 << 16, 1, 1, 1)
    bare = _HEADER.pack(source_port, port, tag, 0) + chunk
    return bare[:8] + struct.pack("<I", _crc32c(bare)) + bare[12:]


def _crc32c(data: bytes) -> int:
    total = 0xFFFFFFFF
    for byte in data:
        total ^= byte
        for _ in range(8):
            total = total >> 1 ^ (_POLYNOMIAL if total & 1 else 0)
    return total ^ 0xFFFFFFFF
