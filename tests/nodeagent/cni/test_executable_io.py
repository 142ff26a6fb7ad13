"""What the C executable reads and writes: interrupted, in parts, too long, into nothing.

Most calls run a build with the sanitizers, in which each read and write does seven bytes at most
and every second one is interrupted (`flaky_io.h`).
"""

import json
import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_nodeagent.cni import frame
from openeni_nodeagent.cni.build import SOURCE
from openeni_nodeagent.cni.call import Call
from openeni_nodeagent.cni.server import CNIServer
from openeni_nodeagent.phases import PhaseHistory
from openeni_testing.agent.cni_call import CONFIG, Runtime
from openeni_testing.agent.sanitized import FLAKY_IO, sanitized

RESULT = b'{"cniVersion":"1.1.0","ips":[]}'
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def flaky_executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("flaky") / "openeni"
    return sanitized(SOURCE, target, "-include", str(FLAKY_IO))


@pytest.fixture
def flaky(runtime: Runtime, flaky_executable: Path) -> Runtime:
    return replace(runtime, executable=flaky_executable)


@contextmanager
def serving(runtime: Runtime, calls: list[Call]) -> Generator[None]:
    def handle(call: Call) -> bytes:
        calls.append(call)
        return RESULT

    server = CNIServer(runtime.run / "cni.sock", handle, PhaseHistory())
    server.start()
    try:
        yield
    finally:
        server.stop()


def queue(runtime: Runtime) -> list[Path]:
    """Return every file in the queue, hidden ones too."""
    return list((runtime.run / "queue").iterdir())


def execute(
    runtime: Runtime, command: str, stdin: bytes, output: str | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run one call with this input; its output goes to the file `output`."""
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "abc",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": str(runtime.netns),
        "CNI_ARGS": "K8S_POD_UID=u;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p",
        "OPENENI_RUN": str(runtime.run),
        "OPENENI_DEADLINE": "20",
    }
    with Path(output or "/dev/null").open("wb") as file:
        return subprocess.run(
            [runtime.executable],
            env=variables | runtime.environment,
            input=stdin,
            stdout=file if output else subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )


def configuration(**more: object) -> bytes:
    return json.dumps(CONFIG | more).encode()


def test_a_call_passes_whole_however_it_is_interrupted(flaky: Runtime) -> None:
    calls: list[Call] = []
    given = {"runtimeConfig": {"a": "b" * 5000}}
    with serving(flaky, calls):
        done = execute(flaky, "ADD", configuration(**given))
    assert (done.returncode, done.stdout, done.stderr) == (0, RESULT, b"")
    assert json.loads(calls[0].request.config.runtime_config) == given["runtimeConfig"]


def test_a_del_is_queued_whole_however_it_is_interrupted(flaky: Runtime) -> None:
    stdin = configuration(pad="x" * 5000)
    done = execute(flaky, "DEL", stdin)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (file,) = queue(flaky)
    _, environment, queued = frame.decode_request(file.read_bytes())
    assert (environment["CNI_CONTAINERID"], queued) == ("abc", stdin)


@pytest.mark.slow
def test_a_del_that_is_killed_while_it_is_queued_leaves_nothing_or_all_of_it(
    flaky: Runtime,
) -> None:
    stdin = configuration()
    killed = 0
    for write in range(1, 400):
        environment = {"FLAKY_KILL": str(write)}
        done = execute(replace(flaky, environment=environment), "DEL", stdin)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        assert queue(flaky) == []
        killed += 1
    assert killed > 10
    (file,) = queue(flaky)
    assert frame.decode_request(file.read_bytes())[2] == stdin


@pytest.mark.parametrize("command", ["VERSION", "STATUS", "NAP", "CHECK"])
def test_answers_without_an_agent_are_whole_json(flaky: Runtime, command: str) -> None:
    done = execute(flaky, command, configuration())
    assert json.loads(done.stdout)["cniVersion"] == "1.1.0"
    assert done.stderr == b""


def test_a_configuration_of_four_mebibytes_passes_and_a_longer_one_is_refused(
    runtime: Runtime,
) -> None:
    calls: list[Call] = []
    longest = configuration(pad="x" * (4 * MEBIBYTE - len(configuration(pad=""))))
    assert len(longest) == 4 * MEBIBYTE
    with serving(runtime, calls):
        assert execute(runtime, "ADD", longest).returncode == 0
        for command in ("ADD", "DEL", "VERSION"):
            refused = execute(runtime, command, longest + b" ")
            assert refused.returncode == 1
            body = json.loads(refused.stdout)
            assert (body["code"], "4 MiB" in body["msg"]) == (7, True)
    assert len(calls) == 1
    assert queue(runtime) == []


def test_variables_that_are_too_long_are_refused(runtime: Runtime) -> None:
    environment = {"CNI_ARGS": "A=" + "x" * 70_000}
    refused = execute(replace(runtime, environment=environment), "DEL", configuration())
    body = json.loads(refused.stdout)
    assert (refused.returncode, body["code"], "64 KiB" in body["msg"]) == (1, 4, True)
    assert "CNI_ARGS" in body["msg"]
    assert queue(runtime) == []
    asked = execute(replace(runtime, environment=environment), "VERSION", configuration())
    assert (asked.returncode, "supportedVersions" in json.loads(asked.stdout)) == (0, True)


def test_input_that_cannot_be_read_is_an_error(runtime: Runtime, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" < "$1"', runtime.executable, tmp_path],  # read(2): EISDIR
        env={"CNI_COMMAND": "DEL", "OPENENI_RUN": str(runtime.run)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    body = json.loads(done.stdout)
    assert (done.returncode, body["code"], "standard input" in body["msg"]) == (1, 5, True)
    assert queue(runtime) == []


@pytest.mark.parametrize("command", ["GC", "STATUS", "DEL"])
@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b"nonsense", b'{"cniVersion":"1.1.0"'])
def test_input_that_is_no_object_cannot_be_decoded(
    runtime: Runtime, command: str, stdin: bytes
) -> None:
    (runtime.run / "served").touch()
    done = execute(runtime, command, stdin)
    body = json.loads(done.stdout)
    assert (done.returncode, body["code"], "JSON" in body["msg"]) == (1, 6, True)
    assert queue(runtime) == []


def test_of_a_del_without_an_agent_nothing_else_is_looked_at(runtime: Runtime) -> None:
    """The executable has no JSON parser; docs/cni.md says what becomes of such a DEL."""
    assert execute(runtime, "DEL", b'{"cniVersion":"1.1.0" nonsense}').returncode == 0
    assert len(queue(runtime)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("given", [b"", b'{"cniVersion":"0.4.0"}'])
def test_version_is_answered_although_its_input_does_not_end(
    runtime: Runtime, given: bytes
) -> None:
    stdin, other_end = os.pipe()
    with os.fdopen(stdin, "rb") as unended, os.fdopen(other_end, "wb") as writer:
        writer.write(given)
        writer.flush()
        done = subprocess.run(
            [runtime.executable],
            env={"CNI_COMMAND": "VERSION"},
            stdin=unended,
            capture_output=True,
            timeout=60,
            check=False,
        )
    body = json.loads(done.stdout)
    assert (done.returncode, len(body["supportedVersions"])) == (0, 3)
    assert body["cniVersion"] == ("0.4.0" if given else "1.1.0")


@pytest.mark.parametrize("command", ["ADD", "VERSION"])
def test_a_result_that_cannot_be_written_is_no_success(runtime: Runtime, command: str) -> None:
    calls: list[Call] = []
    with serving(runtime, calls):
        done = execute(runtime, command, configuration(), "/dev/full")
    assert done.returncode == 1
    assert b"cannot be written to standard output" in done.stderr


def test_a_runtime_that_does_not_read_the_result_is_no_success(runtime: Runtime) -> None:
    calls: list[Call] = []
    unread, result = os.pipe()
    os.close(unread)
    with serving(runtime, calls), os.fdopen(result, "wb") as stdout:
        done = subprocess.run(
            [runtime.executable],
            env={"CNI_COMMAND": "VERSION", "PATH": "/usr/bin:/bin"},
            input=configuration(),
            stdout=stdout,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1


@pytest.mark.slow
def test_an_add_ends_once_nobody_is_left_who_would_read_its_result(runtime: Runtime) -> None:
    """The executable outlives a runtime that is restarted (KillMode=process).

    The runtime's next process has deleted the container before there is an agent.
    """
    calls: list[Call] = []
    add = runtime.start("ADD", "abc", "uid")
    assert add.stdout is not None
    with pytest.raises(subprocess.TimeoutExpired):
        add.wait(0.5)
    add.stdout.close()
    assert add.wait(60) == 1
    with serving(runtime, calls):
        pass
    assert calls == []


@pytest.mark.slow
def test_an_add_that_waits_in_the_agent_ends_once_nobody_would_read_its_result(
    runtime: Runtime,
) -> None:
    with runtime.listen() as listening:
        add = runtime.start("ADD", "abc", "uid")
        connection, _ = listening.accept()
        with connection:
            connection.recv(MEBIBYTE)
            assert add.stdout is not None
            add.stdout.close()
            assert connection.recv(1) == b""
        assert add.wait(60) == 1


@pytest.mark.slow
def test_status_waits_for_a_runtime_that_has_too_much_to_do(runtime: Runtime) -> None:
    (runtime.run / "served").touch()
    stdin, other_end = os.pipe()
    with os.fdopen(stdin, "rb") as late, os.fdopen(other_end, "wb") as writer:
        status = subprocess.Popen(
            [runtime.executable],
            env={"CNI_COMMAND": "STATUS", "OPENENI_RUN": str(runtime.run)},
            stdin=late,
            stdout=subprocess.PIPE,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            status.wait(4)  # longer than one that asks for the version has
        writer.write(configuration())
    out, _ = status.communicate(timeout=60)
    assert (status.returncode, out) == (0, b"")
