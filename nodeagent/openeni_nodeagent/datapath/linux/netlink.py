"""Netlink sockets: batches of acknowledged requests, and dumps.

One send carries any number of requests. The kernel has processed all of them when the send returns,
and the acknowledgements are read together. A socket stays in the network namespace of the thread
that opened it, whichever thread uses it afterwards; `namespace.py` relies on that.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attributes, to_text

_SEQUENCE_OFFSET: Final = 8  # of nlmsg_seq in struct nlmsghdr
_TIMEOUT_SECONDS: Final = 30.0  # the kernel answers at once unless it waits for its own locks
_RECEIVE_BYTES: Final = 1 << 17
_DUMP_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """The kernel's error for one request of a batch."""

    index: int  # of the request in the batch
    errno: int
    message: str  # the kernel's extended acknowledgement, often ""

    @property
    def name(self) -> str:
        """The errno's name, such as EEXIST."""
        return errno.errorcode.get(self.errno, str(self.errno))

    def __str__(self) -> str:
        return f"{self.name}: {self.message or os.strerror(self.errno)}"


class Netlink:
    """One socket. Two threads must not use it at the same time."""

    def __init__(self, protocol: int = uapi.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        for option in (
            uapi.NETLINK_EXT_ACK,
            uapi.NETLINK_CAP_ACK,
            uapi.NETLINK_GET_STRICT_CHK,
        ):
            self._socket.setsockopt(uapi.SOL_NETLINK, option, 1)
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

    def execute(self, requests: Sequence[bytes], *, unacknowledged: int = 0) -> tuple[Refusal, ...]:
        """Send the requests in one go and return those that the kernel refused.

        The first and the last `unacknowledged` requests do not ask for an acknowledgement: they
        begin and end a batch of netfilter.
        """
        first = self._sequence + 1
        self._send(requests)
        acknowledged = range(unacknowledged, len(requests) - unacknowledged)
        pending, refused = {first + index for index in acknowledged}, list[Refusal]()
        while pending:
            for kind, flags, sequence, payload in self._receive():
                if kind != uapi.NLMSG_ERROR:
                    continue
                pending.discard(sequence)
                if refusal := _refusal(sequence - first, flags, payload):
                    refused.append(refusal)
                    if sequence - first not in acknowledged:
                        return tuple(refused)
        return tuple(refused)

    def dump(self, request: bytes) -> list[tuple[int, bytes]]:
        """Return type and payload of every message that answers a dump request.

        A dump that a concurrent change interrupts is repeated. Raises OSError with the kernel's
        errno.
        """
        for _ in range(_DUMP_ATTEMPTS):
            answers, interrupted = self._dump_once(request)
            if not interrupted:
                return answers
        raise OSError(errno.EAGAIN, "the kernel's tables change faster than they can be read")

    def _dump_once(self, request: bytes) -> tuple[list[tuple[int, bytes]], bool]:
        self._send([request])
        answers, interrupted = list[tuple[int, bytes]](), False
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & uapi.NLM_F_DUMP_INTR)
                if kind == uapi.NLMSG_DONE:
                    return answers, interrupted
                if kind != uapi.NLMSG_ERROR:
                    answers.append((kind, payload))
                    continue
                if refusal := _refusal(0, flags, payload):
                    raise OSError(refusal.errno, str(refusal))
                return answers, interrupted

    def _send(self, requests: Sequence[bytes]) -> None:
        batch = bytearray()
        for request in requests:
            self._sequence += 1
            numbered = bytearray(request)
            struct.pack_into("=I", numbered, _SEQUENCE_OFFSET, self._sequence)
            batch += numbered
        self._socket.sendto(batch, (0, 0))

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(_RECEIVE_BYTES)
        offset = 0
        while offset + HEADER.size <= len(data):
            size, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, data[offset + HEADER.size : offset + size]
            offset += (size + 3) & ~3


def _refusal(index: int, flags: int, payload: bytes) -> Refusal | None:
    """Decode struct nlmsgerr; None for an acknowledgement."""
    number = -struct.unpack_from("=i", payload)[0]
    if not number:
        return None
    message = b""
    if flags & uapi.NLM_F_ACK_TLVS:
        echoed = HEADER.size
        if not flags & uapi.NLM_F_CAPPED:  # then the whole request is echoed
            echoed = struct.unpack_from("=I", payload, 4)[0]
        found = attributes(payload, 4 + ((echoed + 3) & ~3))
        message = found.get(uapi.NLMSGERR_ATTR_MSG, b"")
    return Refusal(index, number, to_text(message))
