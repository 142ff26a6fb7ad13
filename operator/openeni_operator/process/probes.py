"""Answer kubelet's probes from the first second of the process, and serve metrics where asked to.

`/readyz` fails until the operator has started; `/healthz` fails only if a restart would help, so
not while the API server is away. The answers name the checks that failed and nothing else: on a
node's address anybody can read them. kopf's own endpoint answers only once kopf has started, which
needs the API server and the CRDs.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator, Mapping
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from openeni_kube.http_answers import (
    METRICS_PATH,
    Answer,
    AnswerServer,
    MetricsPage,
    Scrapes,
    plain,
)

LOOP_SECONDS: Final = 5.0  # for kopf's event loop to run something
Check = Callable[[], bool]


class Probes:
    """Answers of the probes; any thread may set and read them."""

    def __init__(self) -> None:
        self._checks: Mapping[str, Check] | None = None

    def started(self, checks: Mapping[str, Check]) -> None:
        """Report ready, and alive for as long as each of these checks returns True."""
        self._checks = checks

    def problem(self, path: str) -> str | None:
        """Return what is wrong, "" if nothing is, None for an unknown path."""
        if path not in ("/healthz", "/readyz"):
            return None
        if self._checks is None:
            return "not started: the log says why" if path == "/readyz" else ""
        failed = [name for name, check in self._checks.items() if not check()]
        return f"failed: {', '.join(failed)}" if failed else ""


class ProbeError(Exception):
    """The probes cannot be served; one line for the administrator."""


@contextlib.contextmanager
def serve_probes(
    probes: Probes,
    address: IPv4Address | IPv6Address,
    port: int,
    metrics: MetricsPage | None = None,
) -> Generator[None]:
    """Serve the probes during the block, unless `port` is 0; metrics too, if they are given.

    Raises ProbeError if it cannot listen.
    """
    if not port:
        yield
        return
    try:
        server = _ProbeServer(probes, address, port, metrics)
    except OSError as error:
        raise ProbeError(
            f"cannot listen on {address} port {port} for the probes: {error.strerror}; set "
            "OPENENI_PROBE_ADDRESS to an address of this machine and OPENENI_PROBE_PORT to a free "
            "port"
        ) from None
    with server:
        threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


class _ProbeServer(AnswerServer):
    def __init__(
        self,
        probes: Probes,
        address: IPv4Address | IPv6Address,
        port: int,
        metrics: MetricsPage | None,
    ) -> None:
        super().__init__(address, port)
        self._probes = probes
        self._scrapes = Scrapes(metrics) if metrics is not None else None

    def answer(self, path: str) -> Answer:
        if path == METRICS_PATH and self._scrapes is not None:
            return self._scrapes.answer()
        return _probe_answer(self._probes.problem(path))


def _probe_answer(problem: str | None) -> Answer:
    if problem is None:
        return plain(HTTPStatus.NOT_FOUND)
    return plain(HTTPStatus.SERVICE_UNAVAILABLE, problem) if problem else plain(HTTPStatus.OK)


class LoopCheck:
    """A check that an event loop still runs what it is given."""

    def __init__(self, seconds: float = LOOP_SECONDS) -> None:
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check this loop from now on."""
        self._loop = loop

    def __call__(self) -> bool:
        """Return False if the loop did not get to run a callback in time, or has ended."""
        if self._loop is None:
            return True
        ran = threading.Event()
        try:
            self._loop.call_soon_threadsafe(ran.set)
        except RuntimeError:  # it is closed
            return False
        return ran.wait(self._seconds)
