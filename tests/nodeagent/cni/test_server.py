"""The agent's listener and its threads, without an executable."""

import logging
import os
import resource
import socket
import struct
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from openeni_nodeagent.cni import connection, frame, self_check, server
from openeni_nodeagent.cni.call import Call
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.cni.self_check import LEDGER
from openeni_nodeagent.cni.server import CNIServer
from openeni_nodeagent.phases import KEPT, PhaseHistory
from openeni_testing.agent.cni_call import Runtime, finish
from openeni_testing.waiting import wait_for

FREE = nullcontext()


@contextmanager
def serving(path: Path, ledger: AbstractContextManager[object] = FREE) -> Generator[CNIServer]:
    """Serve on this path; the ledger is asked for with this lock."""

    def ask_ledger() -> str:
        with ledger:
            return ""

    made = CNIServer(path, lambda _: b"{}", PhaseHistory(), {LEDGER: ask_ledger})
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, OSError])
def test_whatever_a_connection_meets_the_next_one_is_served(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A thread cannot be started: the container's limit of processes or memory, for a moment."""
    with serving(runtime.run / "cni.sock"):
        starts: list[str] = []

        def start(thread: threading.Thread) -> None:
            starts.append(thread.name)
            if len(starts) == 1:
                raise error("no thread")
            started(thread)

        started = threading.Thread.start
        monkeypatch.setattr(threading.Thread, "start", start)
        answer = runtime.call("ADD", "abc", "uid")  # the executable asks again
        assert (answer.code, answer.body) == (0, {})
        assert len(starts) > 1


def test_a_listener_without_file_descriptors_serves_once_it_has_some(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    path = runtime.run / "cni.sock"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving(path), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), hard))
        try:
            client.connect(str(path))
            wait_for(lambda: "Too many open files" in caplog.text, "accept fails")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.sendall(frame.encode_request({frame.QUERY: LEDGER}, b"", deadline=9))
        assert frame.decode_answer(client.recv(4096)) == (0, b"ok\n")


def test_a_stop_leaves_a_call_that_hangs_to_the_next_agent(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "FINISH_SECONDS", 0.1)
    running, go_on = threading.Event(), threading.Event()

    def hang(_: Call) -> bytes:
        running.set()
        go_on.wait(60)
        return b'{"by":"the first"}'

    first = CNIServer(runtime.run / "cni.sock", hang, PhaseHistory())
    first.start()
    delete = runtime.start("DEL", "abc")
    assert running.wait(60)
    first.stop()
    assert "1 CNI calls still run" in caplog.text
    go_on.set()  # in the process of an agent nothing would: it ends now
    assert finish(delete).code == 0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "PERIOD_SECONDS", 0.02)
    monkeypatch.setattr(self_check, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(self_check, "SILENT_SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
def test_a_ledger_that_hangs_is_noticed_and_where_each_thread_is(
    runtime: Runtime, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = threading.Lock()
    with serving(runtime.run / "cni.sock", ledger) as made:
        assert made.problem() == ""
        with ledger:
            wait_for(lambda: "ledger has not answered" in made.problem(), "it is noticed")
            wait_for(lambda: "the threads of this process" in caplog.text, "it is logged")
            wait_for(lambda: "in ask_ledger" in capfd.readouterr().err, "with the stacks")
        wait_for(lambda: made.problem() == "", "it answers again")
    assert caplog.text.count("the threads of this process") == 1


@pytest.mark.usefixtures("impatient")
def test_threads_that_all_hang_are_noticed(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "THREADS", 2)
    go_on = threading.Event()

    def hang(_: Call) -> bytes:
        go_on.wait(60)
        return b""

    made = CNIServer(runtime.run / "cni.sock", hang, PhaseHistory(), {LEDGER: str})
    made.start()
    calls = [runtime.start("DEL", f"c{n}") for n in range(2)]
    try:
        wait_for(lambda: "not answered" in made.problem(), "it is noticed")
    finally:
        go_on.set()
        assert [finish(call).code for call in calls] == [0, 0]
        made.stop()


@pytest.mark.usefixtures("impatient")
def test_a_listener_that_has_ended_is_noticed(runtime: Runtime) -> None:
    with serving(runtime.run / "cni.sock") as made:
        (runtime.run / "cni.sock").unlink()
        wait_for(lambda: "not answered" in made.problem(), "it is noticed")


@pytest.mark.parametrize("reads", [False, True])
def test_a_client_that_does_not_read_its_answer_or_slowly_is_given_up(
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reads: bool,
) -> None:
    """One `openeni phases` into a pipe that stalls, or 160 of them, which are all threads."""
    monkeypatch.setattr(connection, "READ_SECONDS", 0.3)
    history = PhaseHistory()
    for _ in range(KEPT):
        history.add("ADD", {f"phase {n}": 1 / 3 for n in range(30)})
    made = CNIServer(runtime.run / "cni.sock", lambda _: b"", history)
    made.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(runtime.run / "cni.sock"))
        client.sendall(frame.encode_request({frame.QUERY: "phases"}, b"", deadline=9))

        def is_given_up() -> bool:
            if reads:
                client.recv(4096)
            return "ended early: timed out" in caplog.text

        wait_for(is_given_up, "its thread is free for others", 5)
    made.stop()


def test_an_error_is_one_line_of_the_log_whatever_a_pod_has_put_in_its_text(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    forged = "x\n2026-11-30 ERROR the journal is lost\r\x1b[2J\u202e\u2028" + "A" * 20_000

    def refuse(_: Call) -> bytes:
        raise CNIError(Code.TRY_AGAIN, f"no {forged}", forged)

    made = CNIServer(runtime.run / "cni.sock", refuse, PhaseHistory())
    made.start()
    try:
        assert runtime.call("ADD", "c1", "1").error == Code.TRY_AGAIN
    finally:
        made.stop()
    (line,) = [record.message for record in caplog.records if "ADD c1" in record.message]
    assert line.isprintable()
    assert "no x 2026-11-30 ERROR" in line
    assert len(line) < 2000


def test_a_client_that_sends_nothing_is_given_up(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "_READ_LIMIT", struct.pack("@ll", 0, 10_000))
    with serving(runtime.run / "cni.sock"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(runtime.run / "cni.sock"))
        wait_for(lambda: "ended early: no request within" in caplog.text, "it is given up")


def test_what_nobody_waits_for_comes_after_the_answer_and_fails_alone(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    answered, done = threading.Event(), threading.Event()

    def fail() -> None:
        if answered.wait(30):
            raise RuntimeError("deferred work failed")

    def handle(call: Call) -> bytes:
        call.deferred.extend((fail, done.set))
        return b"{}"

    made = CNIServer(runtime.run / "cni.sock", handle, PhaseHistory())
    made.start()
    try:
        assert runtime.call("DEL", "c1").code == 0
        assert not done.is_set()
        answered.set()
        assert done.wait(30)
        assert "deferred work failed" in caplog.text
        assert runtime.call("DEL", "c1").code == 0
    finally:
        made.stop()


def test_a_client_that_is_gone_is_known_to_be_gone_whatever_it_has_sent() -> None:
    client, ours = socket.socketpair()
    with ours:
        client.sendall(frame.encode_request({"CNI_COMMAND": "ADD"}, b"{}", deadline=20))
        connection.receive(ours)
        assert connection.is_connected(ours)
        client.sendall(b"x")
        client.close()
        assert not connection.is_connected(ours)


def test_an_answer_that_the_socket_does_not_hold_is_sent_whole() -> None:
    answer = os.urandom(1 << 20)
    client, ours = socket.socketpair()
    with ours, client:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 12)
        sender = threading.Thread(target=connection.send, args=(ours, answer), daemon=True)
        sender.start()
        assert client.recv(len(answer), socket.MSG_WAITALL) == answer
        sender.join(30)


def test_a_log_that_is_not_read_does_not_keep_what_is_deferred(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would say that the runtime has given up."""
    begun, done, gone = threading.Event(), threading.Event(), threading.Event()

    def stalled(*_: object) -> None:
        begun.set()
        done.wait(30)

    def handle(call: Call) -> bytes:
        assert gone.wait(30)
        call.deferred.append(done.set)
        return b"{}"

    monkeypatch.setattr(logging.getLogger(server.__name__), "warning", stalled)
    made = CNIServer(runtime.run / "cni.sock", handle, PhaseHistory())
    made.start()
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(runtime.run / "cni.sock"))
            call = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
            stdin = b'{"cniVersion": "1.1.0", "name": "openeni"}'
            client.sendall(frame.encode_request(call, stdin, deadline=20))
        gone.set()
        assert done.wait(10)
        assert begun.wait(10)
    finally:
        done.set()
        made.stop()
