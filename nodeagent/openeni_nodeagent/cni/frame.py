"""How the CNI executable and the agent talk: one request, one answer, then the socket is closed.

The header is the same in every version, so that an executable of the version before or after can
be told what is wrong. All numbers are 32 bit, network byte order. openeni.c is the other side.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAGIC: Final = 0x4F454E49  # "OENI"
PROTOCOL: Final = 1
REQUEST_HEAD: Final = struct.Struct("!5I")  # magic, version, deadline (ms), environment, stdin
ANSWER_HEAD: Final = struct.Struct("!4I")  # magic, version, exit code, body
MOST_ENVIRONMENT: Final = 1 << 16
MOST_STDIN: Final = 1 << 22


class FrameError(Exception):
    """The bytes are no request of ours."""


@dataclass(frozen=True)
class Head:
    version: int
    deadline: float  # seconds the executable still waits
    environment: int
    stdin: int

    @property
    def accepted(self) -> bool:
        """Whether this agent speaks the executable's version: its own or the one before."""
        return PROTOCOL - 1 <= self.version <= PROTOCOL


def decode_head(data: bytes) -> Head:
    """Raises FrameError on anything that is not a request's head."""
    magic, version, deadline, environment, stdin = REQUEST_HEAD.unpack(data)
    if magic != MAGIC:
        raise FrameError("not a request of the openeni executable")
    if environment > MOST_ENVIRONMENT or stdin > MOST_STDIN:
        raise FrameError(f"request too long: {environment} and {stdin} bytes")
    return Head(version, deadline / 1000, environment, stdin)


def decode_environment(data: bytes) -> dict[str, str]:
    """NUL-terminated `KEY=VALUE` strings."""
    pairs = (entry.partition("=") for entry in data.decode(errors="replace").split("\0") if entry)
    return {key: value for key, _, value in pairs}


def encode_request(
    environment: Mapping[str, str], stdin: bytes, *, deadline: float, version: int = PROTOCOL
) -> bytes:
    """What the executable sends; `deadline` in seconds."""
    block = b"".join(f"{key}={value}\0".encode() for key, value in environment.items())
    head = REQUEST_HEAD.pack(MAGIC, version, int(deadline * 1000), len(block), len(stdin))
    return head + block + stdin


def decode_request(data: bytes) -> tuple[Head, dict[str, str], bytes]:
    """A whole request, as the DEL queue keeps it. Raises FrameError."""
    if len(data) < REQUEST_HEAD.size:
        raise FrameError("cut off")
    head = decode_head(data[: REQUEST_HEAD.size])
    body = data[REQUEST_HEAD.size :]
    if len(body) != head.environment + head.stdin:
        raise FrameError("cut off")
    return head, decode_environment(body[: head.environment]), body[head.environment :]


def encode_answer(version: int, exit_code: int, body: bytes) -> bytes:
    return ANSWER_HEAD.pack(MAGIC, version, exit_code, len(body)) + body
