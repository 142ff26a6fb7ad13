"""Answer HTTP requests for small pages: what kubelet's probes and Prometheus' scrapes need."""

import logging
import socket
import socketserver
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, TypeAlias

LOG: Final = logging.getLogger(__name__)
METRICS_PATH: Final = "/metrics"
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
READ_SECONDS: Final = 5.0
MetricsPage: TypeAlias = Callable[[], bytes]  # in Prometheus' text format


@dataclass(frozen=True)
class Answer:
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


def plain(status: HTTPStatus, text: str = "") -> Answer:
    """Return an answer of one line; without a text, the status in words."""
    return Answer(status, f"{text or status.phrase}\n".encode())


def scrape(metrics: MetricsPage) -> Answer:
    """Return the metrics; what keeps them from being computed is in the log alone."""
    try:
        body = metrics()
    except Exception:
        LOG.exception("the metrics cannot be computed")
        return plain(HTTPStatus.INTERNAL_SERVER_ERROR, "failed: the log says why")
    return Answer(HTTPStatus.OK, body, METRICS_TYPE)


class AnswerServer(socketserver.TCPServer):
    """Answers one request for each connection. Raises OSError if it cannot listen."""

    allow_reuse_address = True  # while connections of an earlier process linger

    def __init__(self, address: IPv4Address | IPv6Address, port: int) -> None:
        self.address_family = (
            socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
        )
        super().__init__((str(address), port), _Handler)

    def answer(self, path: str) -> AbstractContextManager[Answer]:
        """Return the answer to a request for a path; the block ends when it has been sent."""
        raise NotImplementedError

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log that a connection ended early, without a traceback: it is the client's business."""
        LOG.debug("a connection of %s ended early: %r", client_address, sys.exception())


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_SECONDS  # for the request, and for the answer to be taken

    def do_GET(self) -> None:
        assert isinstance(self.server, AnswerServer)  # noqa: S101 - its only user
        with self.server.answer(self.path) as answer:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: kubelet probes every few seconds."""
