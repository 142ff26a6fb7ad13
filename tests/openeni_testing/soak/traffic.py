"""Numbered datagrams through the whole datapath, each answered, counted at both ends.

One thread sends, another one receives everywhere: what arrives at a server goes back.
"""

import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from openeni_testing.network.netns import Namespace
from openeni_testing.waiting import wait_for

PERIOD_SECONDS: Final = 0.003  # between two datagrams of a flow
BUFFER_BYTES: Final = 1 << 23  # no datagram is lost because this process was slow
SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h
_NUMBER: Final = struct.Struct("!Q")
LAST_SECONDS: Final = 10.0  # for what is on its way at the end


@dataclass
class Flow:
    """From a client to a port of an address, at which `server` listens."""

    name: str
    client: Namespace
    server: Namespace
    address: str
    port: int
    server_port: int
    sent: int = 0
    arrived: set[int] = field(default_factory=set[int])
    answered: set[int] = field(default_factory=set[int])

    def losses(self) -> str:
        """Return how many datagrams were lost on their way, and how many answers; "" if none."""
        there, back = self.sent - len(self.arrived), len(self.arrived) - len(self.answered)
        first = min(set(range(self.sent)) - self.answered, default=0)
        return f"{self.name}: {there} there, {back} back of {self.sent}, first {first}" * bool(
            there or back
        )


class Traffic:
    """Flows that run until the block ends."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.flows = flows
        self._clients = [_socket(f.client, f.address) for f in flows]
        self._servers = [_socket(f.server, f.address) for f in flows]
        self._stopping = threading.Event()
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)
        ]

    def __enter__(self) -> Self:
        for flow, client, server in zip(self.flows, self._clients, self._servers, strict=True):
            server.bind(("", flow.server_port))
            client.connect((flow.address, flow.port))
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._threads[0].join(LAST_SECONDS)
        deadline = time.monotonic() + LAST_SECONDS
        while self.losses() and time.monotonic() < deadline:
            self._done.wait(PERIOD_SECONDS)
        self._done.set()
        self._threads[1].join(LAST_SECONDS)
        for one in (*self._clients, *self._servers):
            one.close()

    def losses(self) -> list[str]:
        return [lost for flow in self.flows if (lost := flow.losses())]

    def more(self) -> None:
        """Wait until every flow has sent some datagrams more."""
        before = min(flow.sent for flow in self.flows)
        wait_for(lambda: min(f.sent for f in self.flows) > before + 20, "datagrams are sent")

    def _send(self) -> None:
        while not self._stopping.wait(PERIOD_SECONDS):
            for flow, client in zip(self.flows, self._clients, strict=True):
                with suppress(OSError):  # counts as lost
                    client.send(_NUMBER.pack(flow.sent))
                flow.sent += 1

    def _receive(self) -> None:
        with selectors.DefaultSelector() as selector:
            for flow, client, server in zip(self.flows, self._clients, self._servers, strict=True):
                selector.register(client, selectors.EVENT_READ, (flow, flow.answered, False))
                selector.register(server, selectors.EVENT_READ, (flow, flow.arrived, True))
            while not self._done.is_set():
                for key, _ in selector.select(PERIOD_SECONDS):
                    flow, seen, answers = key.data
                    _take(key.fileobj, seen, answers=answers)


def _take(ready: object, seen: set[int], *, answers: bool) -> None:
    assert isinstance(ready, socket.socket)
    try:
        data, peer = ready.recvfrom(64)
        seen.add(_NUMBER.unpack(data)[0])
        if answers:
            ready.sendto(data, peer)
    except OSError:  # an ICMP error that came for an earlier one: that one counts as lost
        pass


def _socket(namespace: Namespace, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = namespace.run(socket.socket, family, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    made.setblocking(False)
    return made
