"""The HTTP side: a thread for each connection, and a server that ends with all of them."""

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit

import msgspec

from openeni_testing.fake_openstack.messages import HELD, Request, Response

# Returns None if the connection is to be closed without a response.
Answer: TypeAlias = Callable[[Request], Response | None]
_HOLD_SECONDS: Final = 120  # longer than any client waits
_QUEUE: Final = 128  # connections: a test's load begins with all of them at once


class HttpServer(ThreadingHTTPServer):
    """Serves at a free port of the loopback interface until it is closed."""

    request_queue_size = _QUEUE
    daemon_threads = False  # close() waits for them

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        """Close all connections and wait for their threads."""
        self.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                disconnect(connection)
        self.server_close()

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which can take seconds."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave out what a client does that no longer waits; anything else is our mistake."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one segment

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urlsplit(self.path)
        request = Request(
            self.command,
            url.path,
            parse_qs(url.query, keep_blank_values=True),
            {name.lower(): text for name, text in self.headers.items()},
            msgspec.json.decode(body) if body else None,
        )
        response = cast("HttpServer", self.server).answer(request)
        if response is HELD:
            self.connection.settimeout(_HOLD_SECONDS)
            with suppress(OSError):
                self.connection.recv(1)  # returns once the client, or `close`, ends the connection
        if response is None or response is HELD:
            self.close_connection = True
            disconnect(self.connection)
        else:
            self._send(response)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _send(self, response: Response) -> None:
        is_html = isinstance(response.body, str)
        body = b""
        if response.body is not None:
            body = response.body.encode() if is_html else msgspec.json.encode(response.body)
        self.send_response(response.status)
        self.send_header("Content-Type", "text/html" if is_html else "application/json")
        for name, text in response.headers.items():
            self.send_header(name, text)
        if response.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: the audit has all calls."""


def disconnect(connection: socket.socket) -> None:
    """End both directions of a connection, whose thread sees the end of its input."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
