"""Logs of containers through the API server: lines, errors, and streams that break off."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from urllib3.exceptions import ProtocolError

from openeni_kube.client import connect
from openeni_kube.containers.logs import LONGEST_LINE, KubePodLogs, LogRequest
from openeni_kube.store import NotFoundError, StoreError, UnreachableError


class Response:
    def __init__(self, chunks: list[bytes], error: Exception | None = None) -> None:
        self.chunks = chunks
        self.error = error
        self.closed = False

    def stream(self, _: int) -> Iterator[bytes]:
        yield from self.chunks
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True


class Sender:
    def __init__(self, response: Response) -> None:
        self.response = response
        self.asked: tuple[str, str, dict[str, str]] = ("", "", {})

    def send(self, method: str, path: str, *, query: dict[str, str], accept: str) -> Any:
        assert accept == "*/*"
        self.asked = method, path, query
        return self.response


def logs(response: Response) -> tuple[KubePodLogs, Sender]:
    sender = Sender(response)
    store: Any = sender
    return KubePodLogs(store), sender


def test_lines_are_whole_wherever_the_chunks_are_cut() -> None:
    reader, _ = logs(Response([b"first\nsec", b"ond\n", b"\n", b"caf\xc3", b"\xa9"]))
    assert list(reader.lines(LogRequest("a", "b"))) == ["first", "second", "", "café"]


def test_the_log_is_asked_for_as_the_api_server_wants_it() -> None:
    reader, sender = logs(Response([]))
    request = LogRequest("openeni-system", "agent-x", "agent", previous=True, tail=5)
    assert list(reader.lines(request)) == []
    assert sender.asked == (
        "GET",
        "/api/v1/namespaces/openeni-system/pods/agent-x/log",
        {"container": "agent", "previous": "true", "tailLines": "5"},
    )
    assert sender.response.closed


def test_a_log_that_breaks_off_is_no_complete_log() -> None:
    reader, sender = logs(Response([b"first\nsec"], ProtocolError("Connection broken")))
    found: list[str] = []
    with pytest.raises(UnreachableError, match=r"the log breaks off: .*Connection broken"):
        found.extend(reader.lines(LogRequest("a", "b")))
    assert sender.response.closed


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    reader, _ = logs(Response([b"x" * LONGEST_LINE, b"yz"]))
    assert [len(line) for line in reader.lines(LogRequest("a", "b"))] == [LONGEST_LINE + 2]
    reader, _ = logs(Response([b"x" * (LONGEST_LINE + 1), b"yz"]))
    assert [len(line) for line in reader.lines(LogRequest("a", "b"))] == [LONGEST_LINE + 1, 2]


def test_what_is_no_text_is_replaced() -> None:
    reader, _ = logs(Response([b"\xff\xfe\n"]))
    assert list(reader.lines(LogRequest("a", "b"))) == ["\ufffd\ufffd"]


# Over HTTP, through the kubeconfig's context.


REFUSALS = {
    "secret": (403, 'pods "secret" is forbidden: User "eve" cannot get resource "pods/log"'),
    "gone": (404, 'pods "gone" not found'),
}


class Kubelet(BaseHTTPRequestHandler):
    """Serves the log of the pod `talks`, of `breaks` a part, and refuses that of `secret`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        pod = url.path.split("/")[-2]
        assert self.headers["Authorization"] == "Bearer of-two"
        if pod in REFUSALS:
            status, message = REFUSALS[pod]
            self._send(status, json.dumps({"message": message}).encode())
            return
        lines = "".join(f"line {i} {parse_qs(url.query)['container'][0]}\n" for i in range(9000))
        self._send(200, lines.encode(), missing=10 if pod == "breaks" else 0)

    def _send(self, status: int, body: bytes, missing: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[KubePodLogs]:
    """Yield the logs of a server to which the second context of a kubeconfig leads."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Kubelet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    here = f"http://127.0.0.1:{server.server_port}"
    config = {
        "current-context": "one",
        "contexts": [{"name": c, "context": {"cluster": c, "user": c}} for c in ("one", "two")],
        "clusters": [
            {"name": "one", "cluster": {"server": "http://127.0.0.1:1"}},
            {"name": "two", "cluster": {"server": here}},
        ],
        "users": [{"name": c, "user": {"token": f"of-{c}"}} for c in ("one", "two")],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    try:
        yield KubePodLogs(connect(agent="test", kubeconfig=str(file), context="two"))
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


def test_a_log_is_read_over_http_from_the_chosen_context(served: KubePodLogs) -> None:
    found = list(served.lines(LogRequest("a", "talks", "agent")))
    assert (len(found), found[0], found[-1]) == (9000, "line 0 agent", "line 8999 agent")


def test_a_connection_that_ends_early_is_no_end_of_the_log(served: KubePodLogs) -> None:
    found: list[str] = []
    with pytest.raises(UnreachableError, match="the log breaks off"):
        found.extend(served.lines(LogRequest("a", "breaks", "agent")))


@pytest.mark.parametrize(("pod", "error"), [("secret", StoreError), ("gone", NotFoundError)])
def test_a_refusal_has_the_servers_words(
    served: KubePodLogs, pod: str, error: type[StoreError]
) -> None:
    with pytest.raises(error) as caught:
        list(served.lines(LogRequest("a", pod, "agent")))
    assert (caught.value.status, caught.value.message) == REFUSALS[pod]
