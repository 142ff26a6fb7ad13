"""The agent's unix socket: one request for each connection, answered by a bounded set of threads.

An ADD that waits keeps its thread. So fewer ADDs than threads are let in, whatever they wait for:
a DEL, which may free an address, and a probe always find one.
"""

import contextlib
import errno
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from openeni_nodeagent.cni import frame
from openeni_nodeagent.cni.call import Call, StoppingError
from openeni_nodeagent.cni.protocol import CNIError, Code, Command, encode_error, parse
from openeni_nodeagent.phases import PhaseHistory, Stopwatch

THREADS: Final = 160
READ_SECONDS: Final = 5.0  # to receive a request, and to send an answer
MOST_ADDS: Final = 128  # at a time; the runtime starts the others again
QUERY: Final = "OPENENI_QUERY"  # sent by `openeni live` and the like instead of a CNI command
MARGIN_SECONDS: Final = 2.0  # before the executable's deadline, so that the answer arrives in time
_log: Final = logging.getLogger(__name__)


Handler = Callable[[Call], bytes]
Probe = Callable[[], str]  # returns what is wrong, "" if nothing is


class CNIServer:
    """Listens on `path` from start() to stop(). `handle` returns the body or raises CNIError."""

    def __init__(
        self,
        path: Path,
        handle: Handler,
        history: PhaseHistory,
        probes: Mapping[str, Probe] | None = None,
    ) -> None:
        """`probes` are asked by name: `openeni live` asks the probe `live`."""
        self._path = path
        self._handle = handle
        self._history = history
        self._probes = probes or {}
        self._adds = threading.BoundedSemaphore(MOST_ADDS)
        self._socket: socket.socket | None = None
        self._workers = ThreadPoolExecutor(THREADS, thread_name_prefix="cni")
        self._listener = threading.Thread(target=self._listen, name="cni-listen", daemon=True)

    def start(self) -> None:
        """Listen, and replace the socket of a previous agent. Raises OSError."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        fresh = self._path.with_name(f".{self._path.name}.new")
        fresh.unlink(missing_ok=True)
        listening.bind(str(fresh))
        fresh.chmod(0o600)
        listening.listen(THREADS)
        fresh.rename(self._path)
        self._socket = listening
        self._listener.start()

    def stop(self) -> None:
        """Accept no more connections and finish running calls; the socket file stays."""
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept(2) with EINVAL
        self._listener.join()
        self._socket.close()
        self._workers.shutdown(wait=True)

    def _listen(self) -> None:
        assert self._socket is not None  # noqa: S101 - start() has set it
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if error.errno == errno.EINVAL:  # stop()
                    return
                _log.error("cannot accept a CNI connection: %s", error)
                time.sleep(0.1)  # errors such as EMFILE pass
                continue
            try:
                self._workers.submit(self._serve, connection)
            except RuntimeError as error:  # the container's limit of threads: it passes, too
                connection.close()
                _log.error("a CNI connection gets no thread: %s", error)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(READ_SECONDS)
                self._answer(connection)
            except (OSError, frame.FrameError) as error:
                _log.warning("a CNI connection ended early: %s", error)
            except StoppingError:
                _log.info("the agent stops: a CNI call is left to the next agent")
            except Exception:  # noqa: BLE001 - must not end the thread
                _log.exception("a CNI connection failed")

    def _answer(self, connection: socket.socket) -> None:
        stopwatch = Stopwatch()
        with stopwatch.phase("socket"):
            header = frame.decode_header(_receive(connection, frame.REQUEST_HEADER.size))
            block = _receive(connection, header.environment)
            stdin = _receive(connection, header.stdin)
        environment = frame.decode_environment(block)
        exit_code, body = self._respond(connection, header, environment, stdin, stopwatch)
        with stopwatch.phase("reply"):
            connection.settimeout(READ_SECONDS)
            connection.sendall(frame.encode_answer(header.version, exit_code, body))
        command = environment.get("CNI_COMMAND", "")
        if not command:
            return
        seconds = stopwatch.finish()
        self._history.add(command, seconds)
        if _log.isEnabledFor(logging.DEBUG):
            spent = " ".join(f"{name}={value * 1000:.2f}ms" for name, value in seconds.items())
            _log.debug("%s %s: %s", command, environment.get("CNI_CONTAINERID", ""), spent)

    def _respond(
        self,
        connection: socket.socket,
        header: frame.RequestHeader,
        environment: Mapping[str, str],
        stdin: bytes,
        stopwatch: Stopwatch,
    ) -> tuple[int, bytes]:
        version = "1.0.0"
        if QUERY in environment:
            return self._answer_query(environment[QUERY])
        try:
            _check_version(header)
            request = parse(environment, stdin)
            version = request.config.cni_version
            deadline = time.monotonic() + max(header.deadline - MARGIN_SECONDS, 0)
            call = Call(request, deadline, stopwatch, lambda: _is_connected(connection))
            with self._let_in(request.command):
                return 0, self._handle(call)
        except CNIError as error:
            _log.warning("%s", _error_line(environment, error))
            return 1, encode_error(version, error)
        except StoppingError:
            raise
        except Exception:  # noqa: BLE001 - the log has the traceback
            _log.exception("%s failed", environment.get("CNI_COMMAND", "a CNI call"))
            failed = CNIError(
                Code.INTERNAL,
                "the node agent failed; see the log of the pod openeni-agent on this node",
            )
            return 1, encode_error(version, failed)

    @contextlib.contextmanager
    def _let_in(self, command: Command) -> Generator[None]:
        """Hold one of the places for ADDs during the block. Raises CNIError if there is none."""
        if command != Command.ADD:
            yield
            return
        if not self._adds.acquire(blocking=False):
            raise CNIError(Code.TRY_AGAIN, f"{MOST_ADDS} pods of this node already wait")
        try:
            yield
        finally:
            self._adds.release()

    def _answer_query(self, what: str) -> tuple[int, bytes]:
        if what == "phases":
            return 0, self._history.encode() + b"\n"
        if what not in self._probes:
            known = ", ".join(("phases", *self._probes))
            return 1, f"openeni: there is no {what!r}, only {known}\n".encode()
        problem = self._probes[what]()
        return int(bool(problem)), f"{problem or 'ok'}\n".encode()


def _check_version(header: frame.RequestHeader) -> None:
    if header.version != frame.VERSION:
        raise CNIError(
            Code.TRY_AGAIN,
            f"the CNI executable speaks protocol {header.version}, the agent {frame.VERSION}: "
            "restart the agent, which installs its own executable",
        )


def _error_line(environment: Mapping[str, str], error: CNIError) -> str:
    command = environment.get("CNI_COMMAND") or Command.ADD
    container = environment.get("CNI_CONTAINERID", "")[:12]
    return (
        f"{command} {container}: {error.message} (code {int(error.code)}) {error.details}".strip()
    )


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    deadline = time.monotonic() + READ_SECONDS
    while len(data) < size:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise frame.FrameError("cut off")
        data += chunk
    return bytes(data)


def _is_connected(connection: socket.socket) -> bool:
    """Return False if the executable has closed its end: it was killed or gave up."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return not poll.poll(0)


def make_run_folder(folder: Path) -> None:
    """Create the agent's folder, with access for root only. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "queue").mkdir(mode=0o700, exist_ok=True)
