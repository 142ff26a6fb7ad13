"""The framing between CNI executable and agent: one request, one answer, then the socket is closed.

The header is the same in every version, so that an executable of another version gets an error that
it can read. All numbers have 32 bits, in network byte order. openeni.c is the other end.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAGIC: Final = 0x4F454E49  # "OENI"
VERSION: Final = 1
REQUEST_HEAD: Final = struct.Struct("!5I")  # magic, version, deadline (ms), environment, stdin
ANSWER_HEAD: Final = struct.Struct("!4I")  # magic, version, exit code, body
MAX_ENVIRONMENT: Final = 1 << 16
MAX_STDIN: Final = 1 << 22


class FrameError(Exception):
    """The bytes are not a request of the openeni executable."""


@dataclass(frozen=True)
class Head:
    version: int
    deadline: float  # seconds that the executable still waits
    environment: int
    stdin: int


def decode_head(data: bytes) -> Head:
    """Decode a request's head. Raises FrameError."""
    magic, version, deadline, environment, stdin = REQUEST_HEAD.unpack(data)
    if magic != MAGIC:
        raise FrameError("not a request of the openeni executable")
    if environment > MAX_ENVIRONMENT or stdin > MAX_STDIN:
        raise FrameError(f"request too long: {environment} and {stdin} bytes")
    return Head(version, deadline / 1000, environment, stdin)


def decode_environment(data: bytes) -> dict[str, str]:
    """Decode NUL-terminated `KEY=VALUE` strings."""
    pairs = (entry.partition("=") for entry in data.decode(errors="replace").split("\0") if entry)
    return {key: value for key, _, value in pairs}


def encode_request(
    environment: Mapping[str, str], stdin: bytes, *, deadline: float, version: int = VERSION
) -> bytes:
    """Encode a request as the executable does; `deadline` in seconds."""
    block = b"".join(f"{key}={value}\0".encode() for key, value in environment.items())
    head = REQUEST_HEAD.pack(MAGIC, version, int(deadline * 1000), len(block), len(stdin))
    return head + block + stdin


def decode_request(data: bytes) -> tuple[Head, dict[str, str], bytes]:
    """Decode a whole request, as a file of the DEL queue has it. Raises FrameError."""
    if len(data) < REQUEST_HEAD.size:
        raise FrameError("cut off")
    head = decode_head(data[: REQUEST_HEAD.size])
    body = data[REQUEST_HEAD.size :]
    if len(body) != head.environment + head.stdin:
        raise FrameError("cut off")
    return head, decode_environment(body[: head.environment]), body[head.environment :]


def encode_answer(version: int, exit_code: int, body: bytes) -> bytes:
    return ANSWER_HEAD.pack(MAGIC, version, exit_code, len(body)) + body
