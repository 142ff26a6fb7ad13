"""The node's side of netlink: sockets, acknowledged batches and dumps, and what the kernel says.

One send carries any number of requests; the kernel has done them all when the send returns, and
the acknowledgements are read together. A socket belongs for ever to the network namespace of the
thread that opened it, whoever uses it afterwards: `namespace.py` relies on that.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from openeni_nodeagent.datapath.linux.messages import attributes
from openeni_nodeagent.datapath.linux.rtnetlink import HEADER

ROUTE: Final = 0  # NETLINK_ROUTE
NETFILTER: Final = 12
_TIMEOUT_SECONDS: Final = 30.0  # the kernel answers at once unless it waits for its own locks
_RECEIVE_BYTES: Final = 1 << 17
_ERROR, _DONE = 2, 3  # NLMSG_*
_TORN: Final = 0x10  # NLM_F_DUMP_INTR
_CAPPED, _EXPLAINED = 0x100, 0x200  # NLM_F_CAPPED, NLM_F_ACK_TLVS
_SOL_NETLINK, _EXT_ACK, _CAP_ACK, _STRICT = 270, 11, 10, 12
_ATTEMPTS: Final = 20  # of a dump that a change interrupts


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the kernel did not do request number `place` of a batch."""

    place: int
    number: int  # errno
    explanation: str  # the kernel's own, often ""

    @property
    def name(self) -> str:
        """The errno's name, as EEXIST."""
        return errno.errorcode.get(self.number, str(self.number))

    def __str__(self) -> str:
        return f"{self.name}: {self.explanation or os.strerror(self.number)}"


class Netlink:
    """One socket. Not for two threads at once."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        for option in (_EXT_ACK, _CAP_ACK, _STRICT):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.settimeout(_TIMEOUT_SECONDS)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def execute(self, requests: Sequence[bytes], *, silent: int = 0) -> tuple[Refusal, ...]:
        """Send all in one go; what the kernel refused, () when it did all of them.

        The first and last `silent` requests carry no wish for an acknowledgement (the frame of a
        netfilter batch).
        """
        first = self._sequence + 1
        self._send(requests)
        places = range(silent, len(requests) - silent)
        waiting, refused = {first + place for place in places}, list[Refusal]()
        while waiting:
            for kind, flags, sequence, payload in self._receive():
                if kind != _ERROR:
                    continue
                waiting.discard(sequence)
                if refusal := _refusal(sequence - first, flags, payload):
                    refused.append(refusal)
                    if sequence - first not in places:
                        return tuple(refused)
        return tuple(refused)

    def ask(self, request: bytes) -> list[tuple[int, bytes]]:
        """Every message that answers a dump or a look-up; again if a change interrupted it.

        Raises OSError with the kernel's errno.
        """
        for _ in range(_ATTEMPTS):
            answers, torn = self._collect(request)
            if not torn:
                return answers
        raise OSError(errno.EAGAIN, "the kernel's tables change faster than they can be read")

    def _collect(self, request: bytes) -> tuple[list[tuple[int, bytes]], bool]:
        self._send([request])
        answers, torn = list[tuple[int, bytes]](), False
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                torn = torn or bool(flags & _TORN)
                if kind == _DONE:
                    return answers, torn
                if kind != _ERROR:
                    answers.append((kind, payload))
                    continue
                if refusal := _refusal(0, flags, payload):
                    raise OSError(refusal.number, str(refusal))
                return answers, torn

    def _send(self, requests: Sequence[bytes]) -> None:
        batch = bytearray()
        for request in requests:
            self._sequence += 1
            struct.pack_into("=I", into := bytearray(request), 8, self._sequence)
            batch += into
        self._socket.sendto(batch, (0, 0))

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(_RECEIVE_BYTES)
        offset = 0
        while offset + HEADER.size <= len(data):
            size, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, data[offset + HEADER.size : offset + size]
            offset += (size + 3) & ~3


def _refusal(place: int, flags: int, payload: bytes) -> Refusal | None:
    number = -struct.unpack_from("=i", payload)[0]
    if not number:
        return None
    explanation = b""
    if flags & _EXPLAINED:
        echoed = HEADER.size
        if not flags & _CAPPED:
            echoed = struct.unpack_from("=I", payload, 4)[0]
        explanation = attributes(payload, 4 + ((echoed + 3) & ~3)).get(1, b"")  # NLMSGERR_ATTR_MSG
    return Refusal(place, number, explanation.rstrip(b"\0").decode(errors="replace"))
