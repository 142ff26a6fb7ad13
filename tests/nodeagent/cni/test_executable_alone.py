"""The C executable without an agent, or with one that does not answer."""

import fcntl
import os
import resource
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version

import pytest

from openeni_nodeagent.cni import frame
from openeni_testing.agent.cni_call import Process, Runtime

pytestmark = pytest.mark.slow
PAGE = resource.getpagesize()


@pytest.fixture
def waiting(runtime: Runtime) -> Iterator[Process]:
    """An ADD that waits for an agent, less long than CHECK and GC would (openeni.c, time_limit)."""
    add = replace(runtime, deadline=15).start("ADD", "waits", "uid")
    yield add
    add.kill()
    add.communicate(timeout=60)


def test_add_gives_up_at_its_deadline_with_try_again(runtime: Runtime, waiting: Process) -> None:
    began = time.monotonic()
    answer = replace(runtime, deadline=1).call("ADD", "abc", "uid")
    assert time.monotonic() - began >= 1
    assert waiting.poll() is None
    assert (answer.code, answer.error) == (1, 11)
    assert "openeni-agent" in answer.body["msg"]


def test_a_deadline_of_weeks_is_one(runtime: Runtime) -> None:
    patient = replace(runtime, deadline=2_147_484).start("ADD", "patient", "uid")  # * 1000 > 2**31
    assert replace(runtime, deadline=1).call("ADD", "abc", "uid").error == 11
    assert patient.poll() is None
    patient.kill()
    patient.communicate(timeout=60)


def test_an_agent_that_takes_the_call_and_never_answers_does_not_hold_add_for_ever(
    runtime: Runtime,
) -> None:
    with runtime.listen():
        assert replace(runtime, deadline=1).call("ADD", "abc", "uid").error == 11


@pytest.mark.parametrize("cut", [0, 3, 15, 16, 20])
def test_an_incomplete_answer_counts_as_none(runtime: Runtime, cut: int) -> None:
    whole = frame.encode_answer(frame.VERSION, 0, b'{"ips":[]}')

    def cut_off() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(whole[:cut])

    with runtime.listen() as listening:
        thread = threading.Thread(target=cut_off, daemon=True)
        thread.start()
        answer = replace(runtime, deadline=1).call("ADD", "abc", "uid")
        thread.join(60)
    assert answer.error == 11


def status_of(process: Process) -> int:
    try:
        return process.wait(60)
    finally:
        process.kill()
        process.communicate()


def test_an_add_ends_once_the_other_end_of_its_output_is_closed(runtime: Runtime) -> None:
    ours, theirs = socket.socketpair()
    with ours, runtime.listen() as listening:
        add = replace(runtime, output=ours.fileno(), deadline=3600).start("ADD", "abc", "uid")
        connection, _ = listening.accept()
        with connection:
            theirs.close()
            assert status_of(add) == 1


def test_an_add_without_an_output_does_not_wait_for_its_input(runtime: Runtime) -> None:
    add = subprocess.Popen(
        ["sh", "-c", 'exec "$0" >&-', runtime.executable],
        env={"CNI_COMMAND": "ADD"},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert status_of(add) == 1


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe with room for a page that nobody reads."""
    other_end, pipe = os.pipe()
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PAGE)
    yield pipe
    os.close(pipe)
    os.close(other_end)


def test_an_error_that_nobody_reads_holds_the_executable_until_its_deadline_only(
    runtime: Runtime, unread: int
) -> None:
    os.write(unread, bytes(PAGE))
    refused = subprocess.Popen(
        [runtime.executable],
        env={"CNI_COMMAND": "ADD", "OPENENI_DEADLINE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=unread,
        stderr=unread,
        text=True,
    )
    assert status_of(refused) == 1


def test_a_result_that_nobody_reads_holds_the_executable_until_its_deadline_only(
    runtime: Runtime, unread: int
) -> None:
    with runtime.listen() as listening:
        add = replace(runtime, output=unread, deadline=1).start("ADD", "abc", "uid")
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(frame.encode_answer(frame.VERSION, 0, bytes(2 * PAGE)))
        assert status_of(add) == 1


def test_without_an_agent_del_is_queued_whole_and_succeeds(runtime: Runtime) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    answer = runtime.call("DEL", "abc", "uid")
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    assert (answer.code, answer.body) == (0, {})
    (file,) = (runtime.run / "queue").iterdir()
    _, environment, _ = frame.decode_request(file.read_bytes())
    assert environment["CNI_CONTAINERID"] == "abc"
    assert "OPENENI_RUN" not in environment
    assert before <= int(file.name.partition("-")[0]) <= after
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("version", ["0.3.1", "", None, "1.1.0\0", "1.1"])
def test_a_del_that_an_agent_would_refuse_is_refused_without_one_and_not_queued(
    runtime: Runtime, version: str | None
) -> None:
    answer = runtime.call("DEL", "abc", cniVersion=version)
    assert (answer.error, "0.4.0, 1.0.0, 1.1.0" in answer.body["msg"]) == (1, True)
    assert list((runtime.run / "queue").iterdir()) == []


def test_del_is_queued_even_before_any_agent_has_run(runtime: Runtime) -> None:
    nowhere = replace(runtime, run=runtime.run / "not-yet")
    assert nowhere.call("DEL", "abc").code == 0
    assert len(list((nowhere.run / "queue").glob("*.del"))) == 1
    assert nowhere.run.stat().st_mode & 0o777 == 0o700


def test_a_del_that_can_neither_be_done_nor_queued_fails(runtime: Runtime) -> None:
    (runtime.run / "file").touch()
    answer = replace(runtime, run=runtime.run / "file").call("DEL", "abc")
    assert (answer.code, answer.error) == (1, 5)


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("ADD", "CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS"),
        ("CHECK", "CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS"),
        ("DEL", "CNI_CONTAINERID, CNI_IFNAME"),
    ],
)
def test_variables_that_are_missing_are_all_named_and_nothing_is_queued(
    runtime: Runtime, command: str, missing: str
) -> None:
    answer = runtime.call(command)
    sentence = f"openeni: the container runtime has not set {missing}"
    assert (answer.error, answer.body["msg"]) == (4, sentence)
    assert list((runtime.run / "queue").iterdir()) == []


def test_a_variable_that_is_empty_is_missing_where_it_is_needed(runtime: Runtime) -> None:
    without = replace(runtime, environment={"CNI_NETNS": ""})
    refused = without.call("CHECK", "abc", "uid", prevResult={})
    assert (refused.error, "CNI_NETNS" in refused.body["msg"]) == (4, True)
    assert without.call("DEL", "abc").code == 0
    without = replace(runtime, environment={"CNI_IFNAME": ""})
    assert without.call("DEL", "abc").error == 4


def test_check_and_gc_fail_at_once_without_an_agent_and_are_never_queued(
    runtime: Runtime, waiting: Process
) -> None:
    assert runtime.call("CHECK", "abc", "uid", prevResult={}).error == 11
    assert runtime.gc("abc").error == 11
    assert waiting.poll() is None
    assert list((runtime.run / "queue").iterdir()) == []


def test_status_succeeds_once_the_node_could_serve_a_pod_whatever_the_agent_does(
    runtime: Runtime,
) -> None:
    """Every pod has its network, but a NotReady node's pods are evicted."""
    with runtime.listen():
        answer = runtime.call("STATUS")
        assert (answer.error, "openeni-agent" in answer.body["msg"]) == (50, True)
        (runtime.run / "served").touch()
        assert runtime.call("STATUS").code == 0
    (runtime.run / "cni.sock").unlink()
    assert runtime.call("STATUS").code == 0


@pytest.mark.parametrize("what", ["live", "ready", "phases"])
def test_a_question_fails_at_once_without_an_agent(runtime: Runtime, what: str) -> None:
    asked = runtime.ask(what)
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr == "openeni: no agent answers on this node\n"


def test_a_question_waits_for_an_agent_that_is_late(runtime: Runtime) -> None:
    with runtime.listen() as late:
        asked = threading.Thread(target=runtime.ask, args=["live"])
        asked.start()
        connection, _ = late.accept()
        with connection:
            milliseconds = struct.unpack("!5I", connection.recv(20))[2]
        late.close()  # it asks again, and there is no agent any more
        asked.join(60)
    assert 20_000 < milliseconds <= 25_000


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0", "2.0.0-rc.1+x"])
def test_version_needs_no_agent_and_repeats_the_runtimes(runtime: Runtime, version: str) -> None:
    answer = runtime.call("VERSION", cniVersion=version)
    supported = ["0.4.0", "1.0.0", "1.1.0"]
    assert (answer.code, answer.body) == (
        0,
        {"cniVersion": version, "supportedVersions": supported},
    )


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
@pytest.mark.parametrize(
    ("command", "code"), [("CHECK", 11), ("ADD", 11), ("NAP", 4), ("add", 4), ("", 4)]
)
def test_errors_without_an_agent_repeat_the_configurations_version(
    runtime: Runtime, command: str, code: int, version: str
) -> None:
    answer = replace(runtime, deadline=1).call(command, "abc", "uid", cniVersion=version)
    assert (answer.code, answer.error, answer.body["cniVersion"]) == (1, code, version)


@pytest.mark.parametrize("command", ["GC", "STATUS"])
@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.2.0", None])
def test_gc_and_status_are_incompatible_with_versions_that_lack_them(
    runtime: Runtime, command: str, version: str | None
) -> None:
    (runtime.run / "served").touch()
    answer = runtime.call(command, cniVersion=version)
    assert (answer.error, "1.1.0" in answer.body["msg"]) == (1, True)


@pytest.mark.parametrize("seconds", ["9223372036854775808", "4294968", "-1", "x", ""])
def test_an_impossible_deadline_is_not_taken_over(runtime: Runtime, seconds: str) -> None:
    with runtime.listen() as listening:
        environment = {"OPENENI_DEADLINE": seconds}
        add = replace(runtime, environment=environment).start("ADD", "abc", "uid")
        connection, _ = listening.accept()
        with connection:
            given = frame.decode_header(connection.recv(frame.REQUEST_HEADER.size)).deadline
        add.kill()
        add.communicate(timeout=60)
    assert 60 < given <= 100


def test_the_executable_is_static_and_says_its_version(runtime: Runtime) -> None:
    content = runtime.executable.read_bytes()
    offset, size, count = (
        *struct.unpack_from("<Q", content, 32),
        *struct.unpack_from("<HH", content, 54),
    )
    types = [struct.unpack_from("<I", content, offset + n * size)[0] for n in range(count)]
    assert 1 in types  # PT_LOAD
    assert 3 not in types  # PT_INTERP: no loader, no libraries
    said = subprocess.run([runtime.executable], env={}, capture_output=True, timeout=60, check=True)
    assert said.stderr.startswith(b"openeni " + version("openeni").encode())
