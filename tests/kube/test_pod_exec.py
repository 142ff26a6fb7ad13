"""A program in a container: what it prints and how it ends, and whatever keeps it from that."""

# pyright: reportPrivateUsage=false

import base64
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from openeni_kube.client import KubeStore, connect
from openeni_kube.containers.exec import (
    MOST_STDERR,
    PROTOCOL,
    ExecRequest,
    KubePodExec,
    Transcript,
)
from openeni_kube.store import NotFoundError, StoreError, UnreachableError

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
SUCCESS = b'\x03{"metadata":{},"status":"Success"}'
FAILED = (
    b'\x03{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated",'
    b'"details":{"causes":[{"reason":"ExitCode","message":"3"}]}}'
)
NO_CONTAINER = b'\x03{"status":"Failure","message":"container not found (\\"x\\")","code":500}'
Serve = Callable[[socket.socket], None]


def frame(payload: bytes, opcode: int = 2) -> bytes:
    """Return a frame of a server's, which is not masked."""
    size = len(payload)
    if size < 126:
        return bytes([0x80 | opcode, size]) + payload
    if size < 2**16:
        return bytes([0x80 | opcode, 126]) + struct.pack(">H", size) + payload
    return bytes([0x80 | opcode, 127]) + struct.pack(">Q", size) + payload


class ApiServer:
    """An API server that answers one `exec`; `request` is what it was asked."""

    def __init__(self, serve: Serve, refusal: bytes = b"") -> None:
        self.serve = serve
        self.refusal = refusal
        self.request = ""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _run(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            self.request = head.decode()
            if self.refusal:
                connection.sendall(self.refusal)
                return
            (key,) = (
                line.partition(": ")[2]
                for line in self.request.split("\r\n")
                if line.lower().startswith("sec-websocket-key")
            )
            digest = hashlib.sha1(f"{key}{MAGIC}".encode()).digest()  # noqa: S324 the protocol's
            accept = base64.b64encode(digest).decode()
            connection.sendall(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
                f"Sec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n".encode()
            )
            self.serve(connection)
            with suppress(OSError):  # a reset would take with it what the client has not read
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

    def close(self) -> None:
        self.listener.close()
        self.thread.join(20)


@contextmanager
def api_server(
    folder: Path, serve: Serve, refusal: bytes = b""
) -> Generator[tuple[ApiServer, KubePodExec]]:
    server = ApiServer(serve, refusal)
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "the-token"}}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    try:
        yield server, KubePodExec(connect(agent="tests", kubeconfig=str(file)))
    finally:
        server.close()


def request(seconds: float = 20) -> ExecRequest:
    command = ("python", "-m", "openeni_operator", "ask", "preflight", "--node", "a b&c")
    return ExecRequest("openeni-system", "operator-x", "operator", command, seconds)


def sending(*frames: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        for each in frames:
            connection.sendall(each)

    return serve


def test_the_program_is_asked_for_by_its_whole_argv(tmp_path: Path) -> None:
    with api_server(tmp_path, sending(frame(SUCCESS))) as (server, execs):
        assert execs.run(request()).code == 0
    line, *headers = server.request.split("\r\n")
    url = urlsplit(line.split()[1])
    assert url.path == "/api/v1/namespaces/openeni-system/pods/operator-x/exec"
    query = parse_qs(url.query)
    assert query["command"] == list(request().command)
    assert (query["container"], query["stdout"], query["stderr"]) == (
        ["operator"],
        ["true"],
        ["true"],
    )
    assert "stdin" not in query
    lower = [header.lower() for header in headers]
    assert "authorization: bearer the-token" in lower
    assert f"sec-websocket-protocol: {PROTOCOL}" in lower


def test_large_output_comes_whole_beside_noise(tmp_path: Path) -> None:
    chunk = b"x" * 40_000
    noise = frame(b"\x02WARNING cloud call failed\n")
    frames = [frame(b"\x01"), *[frame(b"\x01" + chunk), noise, frame(b"", 9)] * 40]
    with api_server(tmp_path, sending(*frames, frame(SUCCESS))) as (_, execs):
        result = execs.run(request())
    assert result.stdout == chunk * 40
    assert result.stderr == "WARNING cloud call failed\n" * 40


def test_a_programs_exit_status_is_no_error(tmp_path: Path) -> None:
    with api_server(tmp_path, sending(frame(b"\x01{}"), frame(FAILED))) as (_, execs):
        result = execs.run(request())
    assert (result.code, result.stdout) == (3, b"{}")


def test_a_program_that_could_not_run_is_one(tmp_path: Path) -> None:
    with (
        api_server(tmp_path, sending(frame(NO_CONTAINER))) as (_, execs),
        pytest.raises(StoreError, match="container not found"),
    ):
        execs.run(request())


@pytest.mark.parametrize("end", [b"", frame(b"", 8)])
def test_a_pod_that_goes_away_is_said_so(tmp_path: Path, end: bytes) -> None:
    with (
        api_server(tmp_path, sending(frame(b"\x01{"), end)) as (_, execs),
        pytest.raises(UnreachableError, match=r"pod may have gone|lost|closed"),
    ):
        execs.run(request())


def test_a_program_that_does_not_end_has_a_deadline_however_often_it_is_pinged(
    tmp_path: Path,
) -> None:
    stopped = threading.Event()

    def ping(connection: socket.socket) -> None:
        while not stopped.wait(0.05):
            try:
                connection.sendall(frame(b"", 9))
            except OSError:
                return

    with (
        api_server(tmp_path, ping) as (_, execs),
        pytest.raises(UnreachableError, match=r"has not ended within 0\.5 s"),
    ):
        execs.run(request(0.5))
    stopped.set()


def test_a_server_that_does_not_answer_has_a_deadline_too(tmp_path: Path) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, api_server(tmp_path, sending(frame(SUCCESS))) as (server, execs):
        execs.run(request())
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        execs._store.client.configuration.host = host
        with pytest.raises(UnreachableError, match="has not ended within"):
            execs.run(request(0.3))
    assert server.request


def refused(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def test_a_refusal_has_the_servers_own_words(tmp_path: Path) -> None:
    said = b'{"kind":"Status","message":"User \\"eve\\" cannot create resource \\"pods/exec\\""}'
    with (
        api_server(tmp_path, sending(), refused("403 Forbidden", said)) as (_, execs),
        pytest.raises(StoreError, match='cannot create resource "pods/exec"') as caught,
    ):
        execs.run(request())
    assert caught.value.status == 403


def test_a_pod_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    said = b'{"kind":"Status","message":"pods \\"operator-x\\" not found"}'
    with (
        api_server(tmp_path, sending(), refused("404 Not Found", said)) as (_, execs),
        pytest.raises(NotFoundError, match="operator-x"),
    ):
        execs.run(request())


def test_output_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openeni_kube.containers.exec.MOST_OUTPUT", 10)
    transcript = Transcript()
    transcript.take(b"\x01" + b"x" * 10)
    with pytest.raises(StoreError, match="prints more than 10 bytes"):
        transcript.take(b"\x01x")
    for _ in range(3):
        transcript.take(b"\x02" + b"e" * MOST_STDERR)
    transcript.take(SUCCESS)
    assert len(transcript.result().stderr) == MOST_STDERR


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=20))
def test_each_stream_is_what_was_sent_on_it(messages: list[tuple[int, bytes]]) -> None:
    transcript = Transcript()
    for channel, data in messages:
        transcript.take(bytes([channel]) + data)
    with pytest.raises(UnreachableError):
        transcript.result()
    transcript.take(FAILED)
    result = transcript.result()
    assert result.code == 3
    assert result.stdout == b"".join(data for channel, data in messages if channel == 1)
    stderr = b"".join(data for channel, data in messages if channel == 2)
    assert result.stderr == stderr.decode(errors="replace")


@pytest.mark.cluster
def test_a_real_api_server_is_asked_by_tls_with_the_kubeconfigs_certificates(
    real_store: KubeStore,
) -> None:
    """Its error comes before the upgrade, and names the pod."""
    missing = replace(request(), namespace="default")
    with pytest.raises(NotFoundError, match='pods "operator-x" not found'):
        KubePodExec(real_store).run(missing)
