"""The C executable against the real server, and without one."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from openeni_nodeagent.cni import frame
from openeni_nodeagent.cni.call import Call, StoppingError
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.cni.server import MARGIN_SECONDS, MOST_ADDS, THREADS, CNIServer
from openeni_nodeagent.phases import PhaseHistory
from openeni_testing.agent.cni_call import Runtime, finish
from openeni_testing.waiting import wait_for


@contextmanager
def serving(
    runtime: Runtime, handle: Callable[[Call], bytes], history: PhaseHistory | None = None
) -> Generator[CNIServer]:
    server = CNIServer(runtime.run / "cni.sock", handle, history or PhaseHistory())
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_the_environment_and_stdin_arrive_and_the_answer_goes_to_stdout(runtime: Runtime) -> None:
    seen: list[Call] = []

    def handle(call: Call) -> bytes:
        seen.append(call)
        return b'{"cniVersion":"1.1.0","ips":[]}'

    began = time.monotonic()
    with serving(runtime, handle):
        answer = runtime.call("ADD", "abc", "uid-1", "web-0", runtimeConfig={"a": [1]})
    within = seen[0].deadline + MARGIN_SECONDS - runtime.deadline
    assert began - 0.001 <= within <= time.monotonic()  # sent in whole milliseconds
    assert (answer.code, answer.body) == (0, {"cniVersion": "1.1.0", "ips": []})
    request = seen[0].request
    assert (request.container_id, request.pod_uid, request.pod_name) == ("abc", "uid-1", "web-0")
    assert json.loads(request.config.runtime_config) == {"a": [1]}


def test_an_error_of_the_agent_reaches_the_runtime_with_exit_status_1(runtime: Runtime) -> None:
    def handle(call: Call) -> bytes:
        raise CNIError(Code.TRY_AGAIN, "no address", "QuotaExceeded: port quota")

    with serving(runtime, handle):
        answer = runtime.call("ADD", "abc", "uid")
    assert answer.code == 1
    assert (answer.error, answer.body["details"]) == (11, "QuotaExceeded: port quota")


def test_a_failure_inside_the_agent_reaches_the_runtime_without_its_text(runtime: Runtime) -> None:
    def handle(call: Call) -> bytes:
        raise ZeroDivisionError("secret")

    with serving(runtime, handle):
        answer = runtime.call("ADD", "abc", "uid")
    assert (answer.code, answer.error) == (1, 999)
    assert "secret" not in json.dumps(answer.body)


def test_a_configuration_of_a_mebibyte_passes(runtime: Runtime) -> None:
    sizes: list[int] = []

    def handle(call: Call) -> bytes:
        sizes.append(len(call.request.config.attachments or ()))
        return b""

    with serving(runtime, handle):
        answer = runtime.gc(*(f"{n:064x}" for n in range(10_000)))
    assert (answer.code, sizes) == (0, [10_000])


def test_add_waits_for_an_agent_that_starts_late(runtime: Runtime) -> None:
    add = runtime.start("ADD", "abc", "uid")
    with pytest.raises(Exception, match="timed out"):
        add.wait(0.5)
    with serving(runtime, lambda _: b'{"late":true}'):
        assert finish(add).body == {"late": True}


def test_add_asks_the_next_agent_when_one_goes_away_without_an_answer(runtime: Runtime) -> None:
    asked = threading.Event()

    def stopping(call: Call) -> bytes:
        asked.set()
        raise StoppingError

    with serving(runtime, stopping):
        add = runtime.start("ADD", "abc", "uid")
        assert asked.wait(60)
    with serving(runtime, lambda _: b'{"by":"the next"}'):
        assert finish(add).body == {"by": "the next"}


def test_a_call_is_not_alive_once_its_executable_was_killed(runtime: Runtime) -> None:
    arrived, died = threading.Event(), threading.Event()

    def handle(call: Call) -> bytes:
        assert call.alive()
        arrived.set()
        wait_for(lambda: not call.alive(), "the executable is known to be gone")
        died.set()
        return b""

    with serving(runtime, handle):
        add = runtime.start("ADD", "abc", "uid")
        assert arrived.wait(60)
        add.send_signal(signal.SIGKILL)
        add.communicate(timeout=60)
        assert died.wait(60)


@pytest.mark.parametrize("version", [0, 2])
def test_an_executable_of_another_protocol_version_gets_an_error_in_its_version(
    runtime: Runtime, version: int
) -> None:
    with (
        serving(runtime, lambda _: b"{}"),
        socket.socket(socket.AF_UNIX) as other,
    ):
        other.connect(str(runtime.run / "cni.sock"))
        other.sendall(frame.encode_request({}, b"{}", deadline=9, version=version))
        head = other.recv(frame.ANSWER_HEADER.size)
        _, answered, code, _ = frame.ANSWER_HEADER.unpack(head)
        body = json.loads(other.recv(65536))
    assert (answered, code, body["code"]) == (version, 1, 11)
    assert f"speaks protocol {version}" in body["msg"]


def test_forty_connections_without_a_request_leave_threads_for_a_call(runtime: Runtime) -> None:
    with serving(runtime, lambda _: b"{}"):
        silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        try:
            for one in silent:
                one.connect(str(runtime.run / "cni.sock"))
                one.sendall(b"GET / HTTP/1.1\r\n")
            assert runtime.call("DEL", "abc").code == 0
            assert list((runtime.run / "queue").iterdir()) == []  # the agent did it
        finally:
            for one in silent:
                one.close()


def test_only_root_may_connect_and_the_next_agent_takes_the_path_over(runtime: Runtime) -> None:
    path = runtime.run / "cni.sock"
    with serving(runtime, lambda _: b'{"n":1}'):
        assert path.stat().st_mode & 0o777 == 0o600
    with serving(runtime, lambda _: b'{"n":2}'):
        assert runtime.call("ADD", "abc", "uid").body == {"n": 2}


def test_a_stop_finishes_running_calls(runtime: Runtime) -> None:
    running, go_on = threading.Event(), threading.Event()

    def handle(call: Call) -> bytes:
        running.set()
        go_on.wait(60)
        return b'{"done":true}'

    with serving(runtime, handle) as server:
        add = runtime.start("ADD", "abc", "uid")
        assert running.wait(60)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        go_on.set()
        stopper.join(60)
        assert finish(add).body == {"done": True}


def test_each_phase_of_a_call_is_kept(runtime: Runtime) -> None:
    history = PhaseHistory()
    with serving(runtime, lambda _: b"{}", history):
        runtime.call("ADD", "abc", "uid")
        kept = wait_for(lambda: json.loads(history.encode()).get("ADD"), "the phases are there")
    (seconds,) = kept
    assert {"socket", "reply", "other", "total"} <= set(seconds)
    assert sum(v for k, v in seconds.items() if k != "total") == pytest.approx(seconds["total"])


def test_the_phases_of_the_last_calls_can_be_asked_for(runtime: Runtime) -> None:
    with serving(runtime, lambda _: b"{}"):
        for _ in range(3):
            runtime.call("ADD", "abc", "uid")
        runtime.call("DEL", "abc")

        def kept() -> dict[str, int]:
            answer = json.loads(runtime.ask("phases").stdout)
            return {command: len(calls) for command, calls in answer.items()}

        wait_for(lambda: kept() == {"ADD": 3, "DEL": 1}, "every call is kept")


def test_a_probe_answers_with_what_is_wrong(runtime: Runtime) -> None:
    problems = ["not yet", ""]
    probes = {"ready": lambda: problems.pop(0)}
    server = CNIServer(runtime.run / "cni.sock", lambda _: b"", PhaseHistory(), probes)
    server.start()
    try:
        for code, text in ((1, "not yet\n"), (0, "ok\n")):
            asked = runtime.ask("ready")
            assert (asked.returncode, asked.stdout) == (code, text)
        asked = runtime.ask("well")
        assert (asked.returncode, asked.stdout) == (
            1,
            "openeni: there is no 'well', only phases, ready\n",
        )
    finally:
        server.stop()


def test_however_many_adds_wait_a_del_and_a_probe_find_a_thread(runtime: Runtime) -> None:
    arrived, go_on = threading.Semaphore(0), threading.Event()

    def handle(call: Call) -> bytes:
        if call.request.command == "ADD":
            arrived.release()
            go_on.wait(100)
        return b"{}"

    with serving(runtime, handle):
        adds = [runtime.start("ADD", f"c{n}", "uid") for n in range(THREADS + 8)]
        try:
            for _ in range(MOST_ADDS):
                assert arrived.acquire(timeout=60)
            refused = runtime.call("ADD", "late", "uid")
            assert (refused.error, str(MOST_ADDS) in refused.body["msg"]) == (11, True)
            assert runtime.call("DEL", "c0").code == 0
            assert list((runtime.run / "queue").iterdir()) == []  # the agent did it
            assert runtime.ask("phases").returncode == 0
        finally:
            go_on.set()
            answers = [finish(add) for add in adds]
    assert sorted(a.error for a in answers) == [0] * MOST_ADDS + [11] * (THREADS + 8 - MOST_ADDS)


def test_a_hundred_calls_at_once_are_all_answered(runtime: Runtime) -> None:
    with serving(runtime, lambda call: b'"%s"' % call.request.container_id.encode()):
        calls = [runtime.start("ADD", f"c{n}", "uid") for n in range(100)]
        assert [finish(call).body for call in calls] == [f"c{n}" for n in range(100)]
