"""Serve the agent's metrics over HTTP, beside the agent's work and never in its way.

Everybody who reaches the node's address can ask, so no more than a hundred in a second are
answered: they cost a pod's ADD next to nothing. A port that is taken is tried again, since pods
need the agent more than its metrics.
"""

import logging
import threading
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from openeni_kube.http_answers import (
    METRICS_PATH,
    Answer,
    AnswerServer,
    MetricsPage,
    Scrapes,
    plain,
)

PAUSE_SECONDS: Final = 0.01  # between two answers
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
        self._scrapes = Scrapes(page)
        self._stopping = stopping

    def answer(self, path: str) -> Answer:
        return self._scrapes.answer() if path == METRICS_PATH else plain(HTTPStatus.NOT_FOUND)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer one request, and pause."""
        super().process_request(request, client_address)
        self._stopping.wait(PAUSE_SECONDS)
