"""The framing between CNI executable and agent: one request, one answer, then the socket is closed.

The header is the same in every version, so that an executable of another version gets an error that
it can read. All numbers have 32 bits, in network byte order. openeni.c is the other end.
"""

import struct
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

MAGIC: Final = 0x4F454E49  # "OENI"
VERSION: Final = 1
VERSIONS: Final = (VERSION,)  # those that an executable may still speak
REQUEST_HEADER: Final = struct.Struct("!5I")  # magic, version, deadline (ms), environment, stdin
ANSWER_HEADER: Final = struct.Struct("!4I")  # magic, version, exit code, body
MAX_ENVIRONMENT: Final = 1 << 16
MAX_STDIN: Final = 1 << 22
QUERY: Final = "OPENENI_QUERY"  # sent by `openeni live` and the like instead of a CNI command


class FrameError(Exception):
    """The bytes are not a request of the openeni executable."""


class RequestHeader(Struct, frozen=True):
    version: int
    deadline: float  # seconds that the executable still waits
    environment: int
    stdin: int


def decode_header(data: bytes) -> RequestHeader:
    """Decode a request's header. Raises FrameError."""
    magic, version, deadline, environment, stdin = REQUEST_HEADER.unpack(data)
    if magic != MAGIC:
        raise FrameError("not a request of the openeni executable")
    if environment > MAX_ENVIRONMENT or stdin > MAX_STDIN:
        raise FrameError(f"request too long: {environment} and {stdin} bytes")
    return RequestHeader(version, deadline / 1000, environment, stdin)


def require_known(header: RequestHeader) -> None:
    """Raise FrameError if the request is of a version that this agent does not speak."""
    if header.version not in VERSIONS:
        known = ", ".join(map(str, VERSIONS))
        raise FrameError(
            f"the CNI executable speaks protocol {header.version}, the agent {known}: "
            "restart the agent, which installs its own executable"
        )


def decode_environment(data: bytes) -> dict[str, str]:
    """Decode NUL-terminated `KEY=VALUE` strings; of two of one key the first, as getenv(3) does."""
    pairs = [entry.partition("=") for entry in data.decode(errors="replace").split("\0") if entry]
    return {key: value for key, _, value in reversed(pairs)}


def encode_request(
    environment: Mapping[str, str], stdin: bytes, *, deadline: float, version: int = VERSION
) -> bytes:
    """Encode a request as the executable does; `deadline` in seconds."""
    block = b"".join(f"{key}={value}\0".encode() for key, value in environment.items())
    header = REQUEST_HEADER.pack(MAGIC, version, int(deadline * 1000), len(block), len(stdin))
    return header + block + stdin


def decode_request(data: bytes) -> tuple[RequestHeader, dict[str, str], bytes]:
    """Decode a whole request, as a file of the DEL queue has it. Raises FrameError."""
    if len(data) < REQUEST_HEADER.size:
        raise FrameError("cut off")
    header = decode_header(data[: REQUEST_HEADER.size])
    require_known(header)
    body = data[REQUEST_HEADER.size :]
    if len(body) != header.environment + header.stdin:
        raise FrameError("cut off")
    return header, decode_environment(body[: header.environment]), body[header.environment :]


def encode_answer(version: int, exit_code: int, body: bytes) -> bytes:
    return ANSWER_HEADER.pack(MAGIC, version, exit_code, len(body)) + body


def decode_answer(data: bytes) -> tuple[int, bytes]:
    """Decode a whole answer into exit code and body. Raises FrameError."""
    if len(data) < ANSWER_HEADER.size:
        raise FrameError("cut off")
    magic, version, exit_code, length = ANSWER_HEADER.unpack_from(data)
    body = data[ANSWER_HEADER.size :]
    if (magic, version, length) != (MAGIC, VERSION, len(body)):
        raise FrameError("not an answer of the agent")
    return exit_code, body
