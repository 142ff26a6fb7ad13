"""The events of a watch, read from an HTTP response as they come."""

import contextlib
from collections.abc import Generator, Iterator
from functools import partial

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from openeni_kube.store import Watch, WatchEvent
from openeni_kube.wire import parse_event

_CHUNK_BYTES = 2**16


def open_watch(response: BaseHTTPResponse) -> Watch:
    """Return the watch whose answer this is; the response is closed when it ends."""
    return Watch(_events(response), partial(_end, response))


def _end(response: BaseHTTPResponse) -> None:
    """Shut the connection for reading: a thread that waits for its next byte goes on at once.

    It is that of the watch alone, which asks the server to close it: one that came back to the pool
    could be another request's by now.
    """
    with contextlib.suppress(ValueError, OSError, RuntimeError, TypeError):  # it ends by itself
        response.shutdown()


def _events(response: BaseHTTPResponse) -> Generator[WatchEvent]:
    try:
        for line in _lines(response):
            yield parse_event(line)
    finally:
        response.close()


def _lines(response: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield whole lines; a stream that breaks or falls silent just ends: its reader resumes."""
    rest = b""
    try:
        for chunk in response.stream(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line for line in lines if line)
    except (HTTPError, OSError, ValueError):  # ssl raises that of a socket which was just shut
        return
