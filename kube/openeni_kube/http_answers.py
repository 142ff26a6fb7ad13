"""Answer HTTP requests for small pages: what kubelet's probes and Prometheus' scrapes need.

Everybody who reaches the address can ask, pods too, and may be slow on purpose. So each connection
has a thread of its own, and the oldest gives way to one too many: nobody is held up by others, who
would have to connect faster than requests are answered.
"""

import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, TypeAlias

LOG: Final = logging.getLogger(__name__)
METRICS_PATH: Final = "/metrics"
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
READ_SECONDS: Final = 5.0
MOST_CONNECTIONS: Final = 64
ACCEPT_PAUSE_SECONDS: Final = 0.25  # after a failure: EMFILE leaves the connection where it was
PAGE_SECONDS: Final = 0.25  # for which a page of metrics is everybody's: it takes the interpreter
MetricsPage: TypeAlias = Callable[[], bytes]  # in Prometheus' text format


@dataclass(frozen=True)
class Answer:
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


def plain(status: HTTPStatus, text: str = "") -> Answer:
    """Return an answer of one line; without a text, the status in words."""
    return Answer(status, f"{text or status.phrase}\n".encode())


class Scrapes:
    """The metrics, computed one at a time and four times a second at most. Any thread may ask."""

    def __init__(self, page: MetricsPage) -> None:
        self._page = page
        self._lock = threading.Lock()  # of:
        self._answer: Answer | None = None
        self._computed_at = 0.0

    def answer(self) -> Answer:
        """Return the metrics; what keeps them from being computed is in the log alone."""
        if not self._lock.acquire(timeout=READ_SECONDS):
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, "another scrape takes too long")
        try:
            age = time.monotonic() - self._computed_at
            if self._answer is None or age >= PAGE_SECONDS:
                self._answer = self._compute()
                self._computed_at = time.monotonic()
            return self._answer
        finally:
            self._lock.release()

    def _compute(self) -> Answer:
        try:
            return Answer(HTTPStatus.OK, self._page(), METRICS_TYPE)
        except Exception:
            LOG.exception("the metrics cannot be computed")
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR, "failed: the log says why")


class AnswerServer(socketserver.ThreadingTCPServer):
    """Answers one request for each connection. Raises OSError if it cannot listen."""

    allow_reuse_address = True  # while connections of an earlier process linger
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: IPv4Address | IPv6Address, port: int) -> None:
        self.address_family = (
            socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
        )
        self._free = threading.Semaphore(MOST_CONNECTIONS)
        self._lock = threading.Lock()  # of:
        self._open: dict[socket.socket, None] = {}  # the oldest first, but for those cut off
        super().__init__((str(address), port), _Handler)

    def answer(self, path: str) -> Answer:
        """Return the answer to a request for a path."""
        raise NotImplementedError

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; where that fails, pause."""
        try:
            return super().get_request()
        except OSError:  # which callers pass over
            time.sleep(ACCEPT_PAUSE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in another thread, once fewer than MOST_CONNECTIONS are answered."""
        wait = 0.0
        while not self._free.acquire(timeout=wait):
            self._cut_off_oldest()
            wait = 0.1  # for its thread to end
        with self._lock:
            self._open[request] = None
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be started
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log that a connection ended early, without a traceback: it is the client's business."""
        LOG.debug("a connection of %s ended early: %r", client_address, sys.exception())

    def _cut_off_oldest(self) -> None:
        with self._lock:
            oldest = next(iter(self._open), None)
            if oldest is not None:
                del self._open[oldest]
                with suppress(OSError):  # its client, or its thread, has closed it
                    oldest.shutdown(socket.SHUT_RDWR)

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            self._open.pop(request, None)
        self._free.release()


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_SECONDS  # for the request, and for the answer to be taken

    def do_GET(self) -> None:
        assert isinstance(self.server, AnswerServer)  # noqa: S101 - its only user
        answer = self.server.answer(self.path)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: kubelet probes every few seconds."""
