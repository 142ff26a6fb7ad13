"""Send packets of one kind from a client to a server, and return who answered and whom it saw.

Every function sends from sockets of the calling thread's network namespace, gives up after the
flow's `patience`, and raises OSError if the network says why nothing can arrive.
"""

import errno
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from openeni_testing.matrix.axes import Traffic
from openeni_testing.matrix.paths import BULK_PORT, CLOSED_PORT, TCP_PORT, UDP_PORT
from openeni_testing.network.node import MTU

# linux/in.h, linux/in6.h: (level, option) by family
_DISCOVER: Final = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}  # MTU_DISCOVER
_MTU: Final = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}  # IP_MTU, IPV6_MTU
_NEVER_DF, _ALWAYS_DF = 0, 2  # IP_PMTUDISC_DONT, IP_PMTUDISC_DO
_UDP_OVERHEAD: Final = {4: 28, 6: 48}
_ECHO: Final = {4: (socket.IPPROTO_ICMP, 8), 6: (socket.IPPROTO_ICMPV6, 128)}
_ERRORS: Final = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}  # RECVERR
PATIENCE_SECONDS: Final = 5.0  # a slow machine's
SHORT_PATIENCE_SECONDS: Final = 0.5
_TRY_SECONDS: Final = 0.4  # until a datagram is sent again; the first may find no neighbour yet
_FRAGMENTED: Final = 4000  # bytes
_BULK: Final = 1 << 19  # bytes each way
_LONGEST: Final = 1 << 16
_PROGRAM_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Flow:
    """What a client sends to; `port` is the target's for a port of the server."""

    address: str
    family: int
    port: Callable[[int], int]
    expected: bool  # False: nothing should arrive, and the wait for it is short

    @property
    def patience(self) -> float:
        """Seconds until nothing will arrive any more."""
        return PATIENCE_SECONDS if self.expected else SHORT_PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Reply:
    """The server's name, and the address that it saw; "" where the traffic does not say."""

    server: str = ""
    client: str = ""


def send(traffic: Traffic, flow: Flow) -> Reply | None:
    """Send it; return None if nothing answers in time."""
    return _SENDERS[traffic](flow)


def _tcp(flow: Flow) -> Reply | None:
    with _connected(flow, socket.SOCK_STREAM, TCP_PORT) as client:
        client.settimeout(flow.patience)
        return _reply(client.recv(256))


def _bulk(flow: Flow) -> Reply | None:
    """Send and receive at once: the server returns what it gets."""
    with _connected(flow, socket.SOCK_STREAM, BULK_PORT) as client:
        client.setblocking(False)
        unsent, received = memoryview(bytes(_BULK)), 0
        while received < _BULK:
            readable, writable, _ = select.select(
                [client], [client] if unsent else [], [], flow.patience
            )
            if not readable and not writable:
                return None
            if writable:
                unsent = unsent[client.send(unsent) :]
            if readable:
                got = len(client.recv(_LONGEST))
                if not got:
                    return None
                received += got
    return Reply()


def _udp(flow: Flow) -> Reply | None:
    return _datagram(flow, 64, _ALWAYS_DF)


def _full(flow: Flow) -> Reply | None:
    """Send what fits into the pod's MTU.

    A pod may have learned of a narrower path to the node, from a client that the node masquerades.
    """
    if _known_mtu(flow) < MTU:
        _forget_path_mtus(flow)
    return _datagram(flow, MTU - _UDP_OVERHEAD[flow.family], _ALWAYS_DF)


def _fragments(flow: Flow) -> Reply | None:
    return _datagram(flow, _FRAGMENTED, _NEVER_DF)


def _datagram(flow: Flow, size: int, discover: int) -> Reply | None:
    """Send datagrams of this size until one is answered by one of the same size."""
    with _connected(flow, socket.SOCK_DGRAM, UDP_PORT) as client:
        client.setsockopt(*_DISCOVER[flow.family], discover)
        for _ in _tries(client, flow.patience):
            client.send(bytes(size))
            try:
                answer = client.recv(_LONGEST)
            except TimeoutError:
                continue
            return _reply(answer) if len(answer) == size else Reply(f"{len(answer)} bytes of")
    return None


def _error(flow: Flow) -> Reply | None:
    """Send to a closed port of who answers at an open one; return a reply if the socket learns it.

    Otherwise it might be the port of another machine on the way.
    """
    if (reply := _udp(flow)) is None:
        return None
    with _connected(flow, socket.SOCK_DGRAM, CLOSED_PORT) as client:
        for _ in _tries(client, flow.patience):
            try:
                client.send(b"openeni")
                client.recv(_LONGEST)
            except ConnectionRefusedError:
                return Reply(reply.server)
            except TimeoutError:
                continue
    return None


def _path_mtu(flow: Flow) -> Reply | None:
    """Send the longest datagram that the path is said to take until one is answered."""
    _forget_path_mtus(flow)
    with _connected(flow, socket.SOCK_DGRAM, UDP_PORT) as client:
        client.setsockopt(*_DISCOVER[flow.family], _ALWAYS_DF)
        first = _known_mtu(flow)
        for _ in _tries(client, flow.patience):
            now = client.getsockopt(*_MTU[flow.family])
            try:
                client.send(bytes(now - _UDP_OVERHEAD[flow.family]))
                answer = client.recv(_LONGEST)
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                continue
            return _reply(answer) if now < first else Reply("nothing narrow before")
    return None


def _echo(flow: Flow) -> Reply | None:
    protocol, request = _ECHO[flow.family]
    with socket.socket(_socket_family(flow), socket.SOCK_DGRAM, protocol) as client:
        for sequence, _ in enumerate(_tries(client, flow.patience)):
            packet = struct.pack("!BBHHH", request, 0, 0, 0, sequence) + b"openeni"
            client.sendto(packet, _socket_address(flow, 0))
            try:
                answer = client.recv(256)
            except TimeoutError:
                continue
            return Reply() if answer[8:] == b"openeni" else Reply("another echo from")
    return None


_SENDERS: Final[Mapping[Traffic, Callable[[Flow], Reply | None]]] = {
    Traffic.TCP: _tcp,
    Traffic.UDP: _udp,
    Traffic.ECHO: _echo,
    Traffic.FULL: _full,
    Traffic.FRAGMENTS: _fragments,
    Traffic.BULK: _bulk,
    Traffic.ERROR: _error,
    Traffic.PATH_MTU: _path_mtu,
}


@contextmanager
def _connected(flow: Flow, kind: socket.SocketKind, port: int) -> Generator[socket.socket]:
    """Yield a socket that is connected to what leads to the server's port."""
    with socket.socket(_socket_family(flow), kind) as client:
        client.settimeout(flow.patience)
        if not flow.expected:  # else only errors that nothing can mend end a wait for datagrams
            client.setsockopt(*_ERRORS[flow.family], 1)
        client.connect(_socket_address(flow, flow.port(port)))
        yield client


def _tries(client: socket.socket, patience: float) -> Iterator[None]:
    """Yield until patience ends; each try waits a moment for its answer."""
    client.settimeout(min(_TRY_SECONDS, patience))
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        yield


def _known_mtu(flow: Flow) -> int:
    with _connected(flow, socket.SOCK_DGRAM, UDP_PORT) as client:
        return client.getsockopt(*_MTU[flow.family])


def _forget_path_mtus(flow: Flow) -> None:
    command = ("ip", f"-{flow.family}", "route", "flush", "cache")
    subprocess.run(command, check=True, timeout=_PROGRAM_SECONDS)


def _socket_family(flow: Flow) -> socket.AddressFamily:
    return socket.AF_INET6 if flow.family == 6 else socket.AF_INET


def _socket_address(flow: Flow, port: int) -> tuple[object, ...]:
    """Return the address with the number of its link, if it names one: a socket takes no name."""
    (found,) = socket.getaddrinfo(
        flow.address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )
    return found[4]


def _reply(answer: bytes) -> Reply:
    """Parse what `Namespace.listen` and `Namespace.answer` send."""
    name, _, client = answer.rstrip(b" ").decode().partition(" ")
    return Reply(name, client)
