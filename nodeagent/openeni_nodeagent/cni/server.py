"""The agent's unix socket: one request for each connection, answered by a bounded set of threads.

Few calls begin at once. An ADD that waits keeps its thread. So fewer ADDs than threads are let in,
whatever they wait for: a DEL, which may free an address, and a probe always find one. Nothing but
stop() ends the listener.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from openeni_crds.conditions import one_line
from openeni_nodeagent.cni import frame
from openeni_nodeagent.cni.call import Call, Deferred, EndedCall, StoppingError
from openeni_nodeagent.cni.connection import is_connected, receive, send
from openeni_nodeagent.cni.parsing import configured_version, parse
from openeni_nodeagent.cni.protocol import (
    CNIError,
    Code,
    Command,
)
from openeni_nodeagent.cni.results import encode_error
from openeni_nodeagent.cni.self_check import LEDGER, SelfCheck
from openeni_nodeagent.cni.thread_pool import ThreadPool
from openeni_nodeagent.event_reasons import PodReason
from openeni_nodeagent.phases import PhaseHistory, Stopwatch

THREADS: Final = 160
AT_ONCE: Final = 4  # of them at work. More make none of them faster: docs/decisions/0064
WORK_SECONDS: Final = 0.05  # a call that takes longer waits: for an address, the kernel, anything
MOST_ADDS: Final = 128  # at a time; the runtime starts the others again
FINISH_SECONDS: Final = 10.0  # for calls that run when the agent stops; the next one is asked again
PAUSE_SECONDS: Final = 0.1  # after a failure to accept; errors such as EMFILE pass
MARGIN_SECONDS: Final = 2.0  # before the executable's deadline, so that the answer arrives in time
_log: Final = logging.getLogger(__name__)


Handler = Callable[[Call], bytes]
Probe = Callable[[], str]  # returns what is wrong, "" if nothing is
Observe = Callable[[EndedCall], None]


class _Exchange(Struct, frozen=True):
    """One connection, and what is left to do after its answer."""

    connection: socket.socket
    stopwatch: Stopwatch
    deferred: list[Deferred] = []  # each has its own, as in a call


class CNIServer:
    """Listens on `path` from start() to stop(). `handle` returns the body or raises CNIError."""

    def __init__(
        self,
        path: Path,
        handle: Handler,
        history: PhaseHistory,
        probes: Mapping[str, Probe] | None = None,
        observe: Observe = lambda _: None,
    ) -> None:
        """`probes` are asked by name: `openeni live` asks the probe `live`.

        Where there is a probe `self_check.LEDGER`, the server keeps asking itself for it. `observe`
        is called after the answer to each call; it must not block.
        """
        self._path = path
        self._handle = handle
        self._history = history
        self._probes = probes or {}
        self._observe = observe
        self._adds = threading.BoundedSemaphore(MOST_ADDS)
        self._socket: socket.socket | None = None
        self._threads = ThreadPool("cni", THREADS, AT_ONCE, WORK_SECONDS)
        self._stopping = threading.Event()
        self._self_check = SelfCheck(path)
        self._listener = threading.Thread(target=self._listen, name="cni-listen", daemon=True)

    def start(self) -> None:
        """Listen, and replace the socket of a previous agent. Raises OSError."""
        self._threads.start()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        fresh = self._path.with_name(f".{self._path.name}.new")
        fresh.unlink(missing_ok=True)
        listening.bind(str(fresh))
        fresh.chmod(0o600)
        listening.listen(THREADS)
        fresh.rename(self._path)
        self._socket = listening
        self._listener.start()
        if LEDGER in self._probes:
            self._self_check.start()

    def problem(self) -> str:
        """Return why no call can be expected to be answered any more, "" if all is well."""
        return self._self_check.problem()

    def busy(self) -> bool:
        """Return True while calls are at work, but for those that wait for something."""
        return self._threads.busy()

    def stop(self) -> None:
        """Accept no more connections and finish running calls; the socket file stays."""
        self._stopping.set()
        self._self_check.stop()
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept(2)
        self._listener.join()
        self._socket.close()
        left = self._threads.stop(FINISH_SECONDS)
        if left:
            _log.warning("%d CNI calls still run; each is left to the next agent", left)

    def _listen(self) -> None:
        failing = False
        while not self._stopping.is_set():
            try:
                self._accept()
                failing = False
            except Exception as error:  # noqa: BLE001 - whatever it is, the next pod must be served
                with contextlib.suppress(Exception):  # without memory there is no log either
                    if not failing and not self._stopping.is_set():
                        _log.error("cannot accept a CNI connection: %r", error)
                failing = True
                self._stopping.wait(PAUSE_SECONDS)

    def _accept(self) -> None:
        """Give one connection to a thread; after an error it is closed, and asked for again."""
        assert self._socket is not None  # noqa: S101 - start() has set it
        connection, _ = self._socket.accept()
        try:
            self._threads.submit(partial(self._serve, connection, Stopwatch()))
        except Exception:
            connection.close()
            raise

    def _serve(self, connection: socket.socket, stopwatch: Stopwatch) -> None:
        exchange = _Exchange(connection, stopwatch)
        try:
            try:
                with connection:
                    self._answer(exchange)
            finally:
                _do(exchange.deferred)  # before anything is logged: the log may not be read
        except (OSError, frame.FrameError) as error:
            _log.warning("a CNI connection ended early: %s", error)
        except StoppingError:
            _log.info("the agent stops: a CNI call is left to the next agent")
        except Exception:  # noqa: BLE001 - must not end the thread
            _log.exception("a CNI connection failed")

    def _answer(self, exchange: _Exchange) -> None:
        connection, stopwatch = exchange.connection, exchange.stopwatch
        stopwatch.since_start("queue")
        with stopwatch.phase("socket"):
            header, block, stdin = receive(connection)
        environment = frame.decode_environment(block)
        if frame.QUERY in environment:
            exit_code, body = self._answer_query(environment[frame.QUERY])
            send(connection, frame.encode_answer(header.version, exit_code, body))
            return
        body, error = self._respond(exchange, header, environment, stdin)
        try:
            with stopwatch.phase("reply"):
                exit_code = int(error is not None)
                send(connection, frame.encode_answer(header.version, exit_code, body))
        finally:
            self._end(EndedCall(environment, error, stopwatch.finish()))

    def _end(self, call: EndedCall) -> None:
        if call.command:
            self._history.add(call.command, call.seconds)
        self._observe(call)
        if _log.isEnabledFor(logging.DEBUG):
            spent = " ".join(f"{name}={value * 1000:.2f}ms" for name, value in call.seconds.items())
            _log.debug(
                "%s %s: %s", call.command, call.environment.get("CNI_CONTAINERID", ""), spent
            )

    def _respond(
        self,
        exchange: _Exchange,
        header: frame.RequestHeader,
        environment: Mapping[str, str],
        stdin: bytes,
    ) -> tuple[bytes, CNIError | None]:
        """Return the body of the answer, and the error that it says. Raises StoppingError."""
        try:
            frame.require_known(header)
            request = parse(environment, stdin)
            deadline = exchange.stopwatch.start + max(header.deadline - MARGIN_SECONDS, 0)
            alive = partial(is_connected, exchange.connection)
            call = Call(request, deadline, exchange.stopwatch, alive, exchange.deferred)
            return self._admit_and_handle(call), None
        except frame.FrameError as error:
            failed = CNIError(Code.TRY_AGAIN, str(error))
        except CNIError as error:
            failed = error
        except StoppingError:
            raise
        except Exception:  # noqa: BLE001 - the log has the traceback
            _log.exception("%s failed", environment.get("CNI_COMMAND", "a CNI call"))
            failed = CNIError(
                Code.INTERNAL,
                "the node agent failed; see the log of the pod openeni-agent on this node",
                reason=PodReason.AGENT_FAILED,
            )
        _log.warning("%s", _error_line(environment, failed))
        return encode_error(configured_version(stdin), failed), failed

    def _admit_and_handle(self, call: Call) -> bytes:
        """Return the body of the answer. Raises CNIError for an ADD if no place is left for one."""
        if call.request.command != Command.ADD:
            return self._handle(call)
        if not self._adds.acquire(blocking=False):
            raise CNIError(
                Code.TRY_AGAIN,
                f"{MOST_ADDS} pods of this node already wait",
                reason=PodReason.TOO_MANY_PODS_WAIT,
            )
        try:
            return self._handle(call)
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


def _do(deferred: Iterable[Deferred]) -> None:
    for work in deferred:
        try:
            work()
        except Exception:  # noqa: BLE001 - must end neither the thread nor what comes after it
            _log.exception("what a CNI call has deferred failed")


def _error_line(environment: Mapping[str, str], error: CNIError) -> str:
    """Return one line for the log, whatever a pod's annotation or a runtime has put in its text."""
    command = environment.get("CNI_COMMAND") or Command.ADD
    container = environment.get("CNI_CONTAINERID", "")[:12]
    line = f"{command} {container}: {error.message} (code {int(error.code)}) {error.details}"
    return one_line(line)


def make_run_folder(folder: Path) -> None:
    """Create the agent's folder, with access for root only. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "queue").mkdir(mode=0o700, exist_ok=True)
