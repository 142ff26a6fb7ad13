"""Serve the agent's metrics over HTTP, beside the agent's work and never in its way.

Everybody who reaches the node's address can ask. So one request is answered at a time, for a
limited time, and not more than a few in a second: they cost a pod's ADD next to nothing. A port
that is taken is tried again, since pods need the agent more than its metrics.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Generator
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from openeni_kube.http_answers import (
    METRICS_PATH,
    Answer,
    AnswerServer,
    MetricsPage,
    plain,
    scrape,
)

PAUSE_SECONDS: Final = 0.25  # between two answers
LONGEST_SECONDS: Final = 10.0  # of one connection; Prometheus gives up as early by default
RETRY_SECONDS: Final = 30.0  # to listen again
_log: Final = logging.getLogger(__name__)


class MetricsServer:
    """Call start(), then stop()."""

    def __init__(self, address: IPv4Address | IPv6Address, port: int, page: MetricsPage) -> None:
        self._address = address
        self._port = port
        self._page = page
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Serve from another thread, as soon as the port is free."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more requests, and wait for none."""
        self._stopping.set()

    def _run(self) -> None:
        logged = False
        while not self._stopping.is_set():
            try:
                server = _Server(self._address, self._port, self._page, self._stopping)
            except OSError as error:
                if not logged:
                    _log.error(
                        "metrics are not served: cannot listen on %s port %d: %s; "
                        "set the chart's agent.metricsPort to a free port of the nodes",
                        self._address,
                        self._port,
                        error.strerror,
                    )
                logged = True
                self._stopping.wait(RETRY_SECONDS)
                continue
            with server:
                while not self._stopping.is_set():
                    server.handle_request()


class _Server(AnswerServer):
    timeout = 5.0  # of handle_request: then the thread sees whether the agent stops

    def __init__(
        self,
        address: IPv4Address | IPv6Address,
        port: int,
        page: MetricsPage,
        stopping: threading.Event,
    ) -> None:
        super().__init__(address, port)
        self._page = page
        self._stopping = stopping

    @contextlib.contextmanager
    def answer(self, path: str) -> Generator[Answer]:
        yield scrape(self._page) if path == METRICS_PATH else plain(HTTPStatus.NOT_FOUND)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; where that fails, pause: EMFILE leaves it where it was."""
        try:
            return super().get_request()
        except OSError:  # which handle_request() passes over
            self._stopping.wait(PAUSE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer one request, cut it off if it takes too long, and pause."""
        ending = threading.Timer(LONGEST_SECONDS, _cut_off, [request])
        ending.start()
        try:
            super().process_request(request, client_address)
        finally:
            ending.cancel()
        self._stopping.wait(PAUSE_SECONDS)


def _cut_off(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
