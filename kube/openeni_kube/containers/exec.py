"""Run a program in a container through the API server, and collect what it prints."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ssl import CERT_NONE, CERT_REQUIRED
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct
from websocket import (
    ABNF,
    WebSocket,
    WebSocketBadStatusException,
    WebSocketException,
    WebSocketTimeoutException,
    create_connection,
)

from openeni_crds.meta import DECODE_ERRORS
from openeni_crds.names import PODS
from openeni_kube.client import CONNECT_SECONDS, KubeStore
from openeni_kube.store import StoreError, UnreachableError
from openeni_kube.wire import object_path, one_line, parse_error

PROTOCOL: Final = "v4.channel.k8s.io"
# The first byte of a message (k8s.io/apimachinery/pkg/util/remotecommand/constants.go).
STDOUT: Final = 1
STDERR: Final = 2
STATUS: Final = 3  # the last one, when the program has ended
MOST_OUTPUT: Final = 2**26  # bytes
MOST_STDERR: Final = 2**16  # bytes of its end that are kept
_INTERNAL: Final = 500


@dataclass(frozen=True)
class ExecRequest:
    namespace: str
    pod: str
    container: str
    command: tuple[str, ...]
    seconds: float  # for all of it


@dataclass(frozen=True)
class ExecResult:
    code: int  # the program's exit status
    stdout: bytes
    stderr: str


class PodExec(Protocol):
    def run(self, request: ExecRequest) -> ExecResult:
        """Run the program and return what it came to. Raise a StoreError if it did not end."""
        ...


class KubePodExec:
    """`PodExec` on a real API server. Safe to use from many threads."""

    def __init__(self, store: KubeStore) -> None:
        self._store = store

    def run(self, request: ExecRequest) -> ExecResult:
        deadline = time.monotonic() + request.seconds
        with _transport_errors(request):
            socket = self._open(request)
            try:
                return _read(socket, deadline)
            finally:
                _hang_up(socket)

    def _open(self, request: ExecRequest) -> WebSocket:
        configuration = self._store.client.configuration
        query = [("container", request.container), ("stdout", "true"), ("stderr", "true")]
        query += [("command", word) for word in request.command]
        path = object_path(PODS, request.pod, request.namespace, "exec")
        url = configuration.host.replace("http", "ws", 1) + f"{path}?{urlencode(query)}"
        return create_connection(
            url,
            timeout=min(CONNECT_SECONDS, request.seconds),
            header=self._store.authorization(),
            subprotocols=[PROTOCOL],
            suppress_origin=True,
            redirect_limit=0,
            sslopt=_tls(configuration),
            **_proxy(configuration),
        )


def _hang_up(socket: Any) -> None:
    """Close at once: there is nothing to say any more. The method has no types."""
    socket.shutdown()


def _tls(configuration: Any) -> dict[str, Any]:
    """Return how the server is verified, and who the client is, as websocket-client takes it."""
    verified = CERT_REQUIRED if configuration.verify_ssl else CERT_NONE
    given = {
        "ca_certs": configuration.ssl_ca_cert,
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    found = {name: value for name, value in given.items() if value}
    return {"cert_reqs": verified, "check_hostname": configuration.verify_ssl, **found}


def _proxy(configuration: Any) -> dict[str, Any]:
    """Return the kubeconfig's proxy; without one the environment is asked, as for other calls."""
    if not configuration.proxy:
        return {}
    proxy = urlsplit(str(configuration.proxy))
    return {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port or 80}


class _Cause(Struct):
    reason: str = ""
    message: str = ""


class _Details(Struct):
    causes: tuple[_Cause, ...] = ()


class _Status(Struct):
    """The parts of a metav1.Status that tell how a program has ended."""

    status: str = ""
    message: str = ""
    code: int = _INTERNAL
    details: _Details | None = None


@dataclass
class Transcript:
    """Holds what a program has printed so far, and how it has ended."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    code: int | None = None

    def take(self, message: bytes) -> None:
        """Take one message. Raises StoreError if the program could not run, or prints too much."""
        channel, data = (message[0], message[1:]) if message else (0, b"")
        if channel == STDOUT:
            self.stdout += data
            if len(self.stdout) > MOST_OUTPUT:
                raise StoreError(0, f"the program prints more than {MOST_OUTPUT} bytes")
        elif channel == STDERR:
            self.stderr = (self.stderr + data)[-MOST_STDERR:]
        elif channel == STATUS:
            self.code = _exit_code(data)

    def result(self) -> ExecResult:
        """Return the result. Raises UnreachableError if the program's end is not known."""
        if self.code is None:
            raise UnreachableError(
                0, "the connection ended before the program did: its pod may have gone"
            )
        return ExecResult(self.code, bytes(self.stdout), self.stderr.decode(errors="replace"))


def _exit_code(data: bytes) -> int:
    """Return the code in a Status; raise StoreError if the program could not be run."""
    status = msgspec.json.decode(data, type=_Status)
    if status.status == "Success":
        return 0
    causes = status.details.causes if status.details else ()
    codes = [cause.message for cause in causes if cause.reason == "ExitCode"]
    if codes and codes[0].isdecimal():
        return int(codes[0])
    raise StoreError(status.code, status.message or "the program could not be run")


def _read(socket: Any, deadline: float) -> ExecResult:
    """Read until the program has ended, or the connection. The socket's frames have no types."""
    transcript = Transcript()
    while transcript.code is None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise WebSocketTimeoutException
        socket.settimeout(left)
        opcode, frame = socket.recv_data_frame(control_frame=True)  # pings, too: for the deadline
        if opcode == ABNF.OPCODE_CLOSE:
            break
        if opcode in {ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT} and frame is not None:
            transcript.take(bytes(frame.data))
    return transcript.result()


@contextmanager
def _transport_errors(request: ExecRequest) -> Generator[None]:
    """Raise what keeps the program from ending as a StoreError."""
    try:
        yield
    except WebSocketBadStatusException as error:
        raise parse_error(error.status_code, bytes(error.resp_body or b"")) from error
    except (WebSocketTimeoutException, TimeoutError) as error:
        message = f"the program has not ended within {request.seconds:g} s"
        raise UnreachableError(0, message) from error
    except DECODE_ERRORS as error:
        raise UnreachableError(0, f"its status is none: {one_line(error)}") from error
    except (WebSocketException, OSError) as error:
        raise UnreachableError(0, one_line(error)) from error
