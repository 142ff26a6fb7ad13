"""Netlink sockets: batches of requests, and dumps.

One send carries any number of requests. The kernel has processed all of them when the send
returns. It answers those that it refuses, and acknowledges the last one. A socket stays in the
network namespace of the thread that opened it, whichever thread uses it afterwards; `namespace.py`
relies on that. pyroute2's sockets belong to a thread and its event loop and have no time-outs; its
messages go through these.

Every error is raised as KernelRefusedError.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER
from openeni_nodeagent.datapath.linux.port_ids import bind
from openeni_nodeagent.datapath.linux.pyroute2_classes import ErrorMessage
from openeni_nodeagent.datapath_api import KernelRefusedError

# The kernel drops answers that the receive buffer does not hold. An acknowledgement takes 768 bytes
# of 212,992 (net.core.rmem_default), a refusal also its request: with up to 600 bytes all fit.
ANSWERED_AT_ONCE: Final = 128
ENTRIES_IN_POD: Final = 2_000  # of all kinds: what is read of a pod's namespace, at most
LIMITED_SECONDS: Final = 5.0  # for all that a socket with a limit reads
_FLAGS_OFFSET: Final = 6  # of nlmsg_flags in struct nlmsghdr, which nlmsg_seq follows
_FLAGS_AND_SEQUENCE: Final = struct.Struct("=HI")
_ERROR: Final = struct.Struct("=i")  # struct nlmsgerr begins with it, and so ends a dump
_TIMEOUT_SECONDS: Final = 30  # the kernel answers at once unless it waits for its own locks
# Of the socket itself: with Python's own time-outs, each call asks poll(2) first.
_TIMEOUT: Final = struct.pack("@ll", _TIMEOUT_SECONDS, 0)  # struct timeval
_RECEIVE_BYTES: Final = 1 << 17
_DUMP_ATTEMPTS: Final = 20
_UNSETTLED_ATTEMPTS: Final = 3
_ENTRY_BYTES: Final = 4096  # more than any ordinary one has
_KERNEL: Final = 0  # its port id


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


class DumpRefusedError(KernelRefusedError):
    """The kernel refused a dump."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"dump refused: {refusal}")
        self.errno = refusal.errno


class DumpTooLongError(KernelRefusedError):
    """The dumps of one socket have more entries than its limit."""


class DumpTooSlowError(KernelRefusedError):
    """The dumps of one socket with a limit take longer than LIMITED_SECONDS."""


class Netlink:
    """One socket. Two threads must not use it at the same time.

    It is given up once its dumps have more than `limit` entries: in a pod's namespace their number
    is the pod's choice, and would be the agent's time and memory. One that is long counts several
    times: a link may have 64 KiB of names. After LIMITED_SECONDS it reads no more: loops that make
    and delete links in the pod interrupt each dump, and hold the kernel's rtnl lock, as do others'.
    """

    def __init__(
        self,
        protocol: int = uapi.NETLINK_ROUTE,
        *,
        limit: int | None = None,
        is_settled: bool = True,
    ) -> None:
        """Unless all `is_settled`, a dump is what a few attempts have shown, however interrupted.

        What stays as it is will be among it, perhaps several times, unless the time is over.
        """
        self._limit = limit
        self._deadline = time.monotonic() + LIMITED_SECONDS
        self._is_settled = is_settled
        self._is_over = False  # the time: the kernel has an unfinished dump for the socket
        self._entries = 0  # of all dumps that came to their end
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
            for option in (uapi.NETLINK_EXT_ACK, uapi.NETLINK_GET_STRICT_CHK):
                self._socket.setsockopt(uapi.SOL_NETLINK, option, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
            bind(self._socket)
            self._hear_only_the_kernel()
        except OSError as error:
            raise _refused(error) from error
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

    def _hear_only_the_kernel(self) -> None:
        """Let nobody else fill the socket: what has CAP_NET_ADMIN in its namespace may send to it.

        The kernel refuses what others send to a connected one (netlink_getsockbyportid), but keeps
        what has come before.
        """
        self._socket.connect((_KERNEL, 0))
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)

    def execute(self, requests: Sequence[bytes]) -> tuple[Refusal, ...]:
        """Send the requests, in as few parts as possible, and return those that were refused."""
        refused = list[Refusal]()
        for begin in range(0, len(requests), ANSWERED_AT_ONCE):
            part = requests[begin : begin + ANSWERED_AT_ONCE]
            refused += self._execute(part, begin, range(len(part)))
        return tuple(refused)

    def execute_framed(self, requests: Sequence[bytes]) -> tuple[Refusal, ...]:
        """Send a transaction: its first and its last message are never acknowledged.

        It has ANSWERED_AT_ONCE messages between them at most: the kernel needs all at once. What it
        says of the first concerns the whole, and is its only answer.
        """
        return tuple(self._execute(requests, 0, range(1, len(requests) - 1)))

    def dump(self, request: bytes, wanted: Callable[[bytes], object] = bool) -> list[bytes]:
        """Return the messages, headers included, that answer a dump request and are `wanted`.

        A dump that a concurrent change interrupts is repeated. Raises DumpRefusedError,
        DumpTooLongError for more entries than the limit, wanted or not, and DumpTooSlowError.
        """
        shown = list[bytes]()
        if self._is_over:
            return shown
        try:
            for _ in range(_DUMP_ATTEMPTS if self._is_settled else _UNSETTLED_ATTEMPTS):
                answers, interrupted = self._dump_once(request, wanted)
                if not interrupted:
                    return answers
                shown += () if self._is_settled else answers
                if self._is_over:
                    return shown
        except OSError as error:
            raise _refused(error) from error
        if self._is_settled:
            raise KernelRefusedError("the kernel's tables change faster than they can be read")
        return shown

    def _execute(self, requests: Sequence[bytes], begin: int, asked: range) -> list[Refusal]:
        """Send requests and read the answers to those that are `asked` for one, by index."""
        if not asked:
            return []
        first, last, refused = self._sequence + 1, asked[-1], list[Refusal]()
        try:
            self._send(requests, last)
            while True:
                for kind, _, sequence, _, message in self._receive():
                    index = sequence - first
                    if kind != uapi.NLMSG_ERROR or index < 0:
                        continue
                    if refusal := _refusal(begin + index, message):
                        refused.append(refusal)
                    if index == last or (refusal and index not in asked):
                        return refused
        except OSError as error:
            raise _refused(error) from error

    def _dump_once(
        self, request: bytes, wanted: Callable[[bytes], object]
    ) -> tuple[list[bytes], bool]:
        self._send([request], 0)
        answers, interrupted, entries = list[bytes](), False, self._entries
        while True:
            for kind, flags, sequence, _, message in self._receive():
                if sequence != self._sequence:
                    continue
                # On the first message after the change, which may be the last one of all
                # (nl_dump_check_consistent in include/net/netlink.h).
                interrupted = interrupted or bool(flags & uapi.NLM_F_DUMP_INTR)
                if kind in (uapi.NLMSG_DONE, uapi.NLMSG_ERROR):
                    if refusal := _refusal(0, message):
                        raise DumpRefusedError(refusal)
                    self._entries = self._entries if interrupted else entries
                    return answers, interrupted
                entries += self._count(entries, message)
                if wanted(message):
                    answers.append(message)
            if self._is_late():
                return answers, True

    def _count(self, before: int, message: bytes) -> int:
        count = 1 + len(message) // _ENTRY_BYTES
        if self._limit is not None and before + count > self._limit:
            raise DumpTooLongError(f"dumps have more than {self._limit} entries")
        return count

    def _is_late(self) -> bool:
        """Return True once no more is read. Raises DumpTooSlowError if all is to be settled."""
        self._is_over = self._limit is not None and time.monotonic() > self._deadline
        if self._is_over and self._is_settled:
            raise DumpTooSlowError(f"dumps take longer than {LIMITED_SECONDS:.0f} s")
        return self._is_over

    def _send(self, requests: Sequence[bytes], last: int) -> None:
        """Number the requests and send them; the one with the index `last` is acknowledged."""
        batch = bytearray()
        for index, request in enumerate(requests):
            self._sequence += 1
            numbered = bytearray(request)
            flags, _ = _FLAGS_AND_SEQUENCE.unpack_from(request, _FLAGS_OFFSET)
            if index != last:
                flags &= ~uapi.NLM_F_ACK
            _FLAGS_AND_SEQUENCE.pack_into(numbered, _FLAGS_OFFSET, flags, self._sequence)
            batch += numbered
        self._socket.send(batch)

    def _receive(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        """Return the messages of one read: none of what somebody else sent before `connect`."""
        try:
            data, (sender, _) = self._socket.recvfrom(_RECEIVE_BYTES)
        except BlockingIOError:
            raise TimeoutError(errno.ETIMEDOUT, f"no answer in {_TIMEOUT_SECONDS} s") from None
        return split(data if sender == _KERNEL else b"")


def split(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield type, flags, sequence number, port id and the whole of each message of one read."""
    offset = 0
    while offset + HEADER.size <= len(data):
        size, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, port, data[offset : offset + size]
        offset += (max(size, HEADER.size) + 3) & ~3


def _refusal(index: int, message: bytes) -> Refusal | None:
    """Decode NLMSG_ERROR, or a dump's NLMSG_DONE; None for success."""
    number = -_ERROR.unpack_from(message, HEADER.size)[0]
    if number <= 0:
        return None
    error = ErrorMessage(message)
    error.decode()
    return Refusal(index, number, error.get_attr("NLMSGERR_ATTR_MSG") or "")


def _refused(error: OSError) -> KernelRefusedError:
    return KernelRefusedError(f"netlink: {error.strerror or error}")
