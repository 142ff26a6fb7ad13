"""The real store at its edges: pages, threads, and what errors become."""

import http.server
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from openeni_crds.names import ENIS, NAMESPACES, PODIPS
from openeni_kube import client
from openeni_kube.client import KubeStore, connect
from openeni_kube.store import (
    ConflictError,
    GoneError,
    InvalidError,
    NotFoundError,
    StoreError,
    UnreachableError,
)
from openeni_kube.wire import format_micro_time, object_path, parse_error
from openeni_testing.objects import eni_body, unique

# Lists in pages, many threads.


@pytest.mark.cluster
def test_a_list_of_several_pages_is_whole(
    real_store: KubeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = unique("node")
    names = {f"{node}-{i}" for i in range(7)}
    for name in names:
        real_store.create(ENIS, eni_body(name, node=node))
    monkeypatch.setattr(client, "PAGE_SIZE", 3)
    page = real_store.list(ENIS, field_selector=f"spec.nodeName={node}")
    assert {item["metadata"]["name"] for item in page.items} == names


@pytest.mark.cluster
def test_many_threads_share_one_store(real_store: KubeStore) -> None:
    done: list[str] = []

    def work(name: str) -> None:
        for i in range(5):
            real_store.create(ENIS, eni_body(f"{name}-{i}"))
            done.append(real_store.get(ENIS, f"{name}-{i}")["metadata"]["name"])

    threads = [threading.Thread(target=work, args=(unique("eni"),)) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(done)) == 24 * 5


# Servers that do not do what they should. They speak HTTP on the loopback.


class Bad(http.server.BaseHTTPRequestHandler):
    """Answers every request with what its server was told."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, BadServer)
        server.asked.append(self.path)
        server.connections.append(self.headers.get("Connection", ""))
        server.answer(self)


class BadServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, status: int, body: bytes, *, then_silence: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Bad)
        self.asked: list[str] = []
        self.connections: list[str] = []  # headers
        self.done = threading.Event()
        self.waited_for = False  # a client has outlasted the silence
        self._status = status
        self._body = body
        self._then_silence = then_silence

    def answer(self, request: Bad) -> None:
        request.send_response(self._status)
        request.send_header("Retry-After", "1")
        if self._then_silence:
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            request.wfile.write(b"%x\r\n%s\r\n" % (len(self._body), self._body))
            self.waited_for = not self.done.wait(30)
            request.close_connection = True
            return
        request.send_header("Content-Length", str(len(self._body)))
        request.end_headers()
        request.wfile.write(self._body)


@contextmanager
def serving(server: BadServer, folder: Path) -> Generator[KubeStore]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield connected(folder, server.server_port)
    finally:
        server.done.set()
        server.shutdown()
        thread.join()
        server.server_close()


def connected(folder: Path, port: int) -> KubeStore:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    return connect(agent="test", kubeconfig=str(folder / "kubeconfig"))


def test_nobody_listening_is_unreachable_with_no_status(tmp_path: Path) -> None:
    server = BadServer(200, b"")
    server.server_close()
    with pytest.raises(UnreachableError, match="refused") as caught:
        connected(tmp_path, server.server_port).get(ENIS, "any")
    assert caught.value.status == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidError),
        (401, StoreError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, GoneError),
        (422, InvalidError),
        (429, StoreError),
        (500, UnreachableError),
        (503, UnreachableError),
    ],
)
def test_each_status_is_its_error_and_nothing_is_tried_twice(
    tmp_path: Path, status: int, error: type[StoreError]
) -> None:
    server = BadServer(status, json.dumps({"message": "the server's own words"}).encode())
    with serving(server, tmp_path) as store, pytest.raises(StoreError, match="own words") as caught:
        store.get(ENIS, "any")
    assert type(caught.value) is error
    assert caught.value.status == status
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"<html>proxy</html>", b"", b"[]", b'{"message":"\xff"}'])
def test_an_error_that_is_no_status_is_quoted(body: bytes) -> None:
    error = parse_error(502, body)
    assert isinstance(error, UnreachableError)
    assert error.message == (body.decode(errors="replace") or "no explanation")


@pytest.mark.parametrize("body", [b"<html>log in</html>", b'{"metadata":"\xff"}'])
def test_an_answer_that_is_not_json_counts_as_none(tmp_path: Path, body: bytes) -> None:
    with (
        serving(BadServer(200, body), tmp_path) as store,
        pytest.raises(UnreachableError, match="not JSON"),
    ):
        store.get(ENIS, "any")


def test_a_server_that_falls_silent_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    server = BadServer(200, b'{"met', then_silence=True)
    with serving(server, tmp_path) as store, pytest.raises(UnreachableError):
        store.get(ENIS, "any")
    assert not server.waited_for


def test_a_watch_that_falls_silent_ends_after_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "WATCH_READ_SECONDS", 0.3)
    line = json.dumps({"type": "ADDED", "object": eni_body("one")}).encode() + b"\n"
    cut = line + b'{"type": "ADD'
    server = BadServer(200, cut, then_silence=True)
    with serving(server, tmp_path) as store:
        events = list(store.watch(ENIS, "1"))
    assert [e.object["metadata"]["name"] for e in events] == ["one"]
    assert not server.waited_for


def test_an_event_that_is_not_json_ends_a_watch(tmp_path: Path) -> None:
    with (
        serving(BadServer(200, b'{"type":"\xff"}\n'), tmp_path) as store,
        pytest.raises(UnreachableError, match="not JSON"),
    ):
        list(store.watch(ENIS, "1"))


def test_an_error_inside_a_watch_is_raised(tmp_path: Path) -> None:
    status = {"code": 410, "message": "too old resource version: 1 (2)"}
    line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
    with (
        serving(BadServer(200, line), tmp_path) as store,
        pytest.raises(GoneError, match="too old"),
    ):
        list(store.watch(ENIS, "1"))


def test_what_a_watch_asks_for_is_in_its_query(tmp_path: Path) -> None:
    server = BadServer(200, b"")
    with serving(server, tmp_path) as store:
        list(store.watch(ENIS, "7", field_selector="spec.nodeName=n1", seconds=5))
    (asked,) = server.asked
    assert server.connections == ["close"], "nobody gets it after the watch: it may be shut"
    for word in ("resourceVersion=7", "allowWatchBookmarks=true", "timeoutSeconds=5"):
        assert word in asked
    assert "fieldSelector=spec.nodeName%3Dn1" in asked


def test_paths_are_kubernetes_own() -> None:
    assert object_path(NAMESPACES, "a b") == "/api/v1/namespaces/a%20b"
    podip = "/apis/openeni.io/v1alpha1/namespaces/default/podips/web/status"
    assert object_path(PODIPS, "web", "default", "status") == podip
    assert object_path(PODIPS) == "/apis/openeni.io/v1alpha1/podips"


def test_a_micro_time_has_six_digits_however_round_the_second_is() -> None:
    assert format_micro_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == (
        "2026-01-02T03:04:05.000000Z"
    )
