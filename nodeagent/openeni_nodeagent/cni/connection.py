"""Receive the request of a CNI executable and send the answer, each within a time limit."""

import contextlib
import socket
import struct
import time
from typing import Final

from openeni_nodeagent.cni import frame

READ_SECONDS: Final = 5  # to receive a request, and to send an answer
# Of the socket itself: with a time-out of Python's, each call asks poll(2) first.
_READ_LIMIT: Final = struct.pack("@ll", READ_SECONDS, 0)  # struct timeval
_READ_BYTES: Final = 1 << 16
_DONTWAIT: Final = int(socket.MSG_DONTWAIT)
_PEEK: Final = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


def receive(connection: socket.socket) -> tuple[frame.RequestHeader, bytes, bytes]:
    """Return a request's header, environment and standard input; nearly always one read.

    Raises OSError and frame.FrameError, after twice READ_SECONDS at the latest.
    """
    deadline = time.monotonic() + READ_SECONDS
    begin = end = frame.REQUEST_HEADER.size
    data = bytearray()
    header: frame.RequestHeader | None = None
    flags = _DONTWAIT  # the request has nearly always arrived by now
    while header is None or len(data) < end:
        try:
            chunk = connection.recv(_READ_BYTES, flags)
        except BlockingIOError:
            if not flags:
                raise frame.FrameError(f"no request within {READ_SECONDS} s") from None
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _READ_LIMIT)
            flags = 0
            continue
        if not chunk or time.monotonic() > deadline:
            raise frame.FrameError("cut off")
        data += chunk
        if header is None and len(data) >= begin:
            header = frame.decode_header(bytes(data[:begin]))
            end = begin + header.environment + header.stdin
    after = begin + header.environment
    return header, bytes(data[begin:after]), bytes(data[after : after + header.stdin])


def send(connection: socket.socket, answer: bytes) -> None:
    """Send an answer. Raises OSError, after READ_SECONDS at the latest."""
    sent = 0
    with contextlib.suppress(BlockingIOError):  # nearly always the whole answer fits
        sent = connection.send(answer, _DONTWAIT)
    if sent < len(answer):
        connection.settimeout(READ_SECONDS)  # of the whole rest; SO_SNDTIMEO would be each part's
        connection.sendall(answer[sent:])


def is_connected(connection: socket.socket) -> bool:
    """Return False if the executable has closed its end: it was killed or gave up.

    Nothing comes after its request. What does may hide that it is gone, so it counts as that.
    """
    try:
        connection.recv(1, _PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
