import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from openeni_lab.node import kernel
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import Built
from openeni_testing.lab.kernel_trials import TRIALS
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root

RUN = (
    "import sys; from openeni_lab.node.kernel import run_in_kernel; "
    "sys.exit(run_in_kernel(sys.argv[3:], own_kernel=sys.argv[1] == 'namespaces', "
    "seconds=float(sys.argv[2])))"
)
KINDS = ["guest", "namespaces"]


@pytest.fixture(scope="module")
def built() -> Built:
    return prepared.read(["kernel"]).built


def words(kind: str, argv: Sequence[str], seconds: float = 120) -> list[str]:
    return [sys.executable, "-c", RUN, kind, str(seconds), *argv]


def run(
    kind: str, *argv: str, seconds: float = 120, cwd: Path | None = None
) -> tuple[int, str, str]:
    done = subprocess.run(
        words(kind, argv, seconds),
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def processes(marker: str) -> list[int]:
    """Return the processes of this machine whose command line has the marker."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in line and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, built: Built) -> str:
    return str(request.param)


def test_a_command_runs_with_its_output_its_errors_and_its_exit_code(kind: str) -> None:
    script = "echo out; echo err >&2; exit 7"
    assert run(kind, "sh", "-c", script) == (7, "out\n", "err\n")


@pytest.mark.parametrize(
    ("script", "code"), [("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 255", 255)]
)
def test_an_exit_code_is_what_a_shell_would_say(kind: str, script: str, code: int) -> None:
    assert run(kind, "sh", "-c", script)[0] == code


def test_no_byte_of_a_long_output_is_lost(kind: str) -> None:
    _, out, _ = run(kind, "seq", "200000")
    assert out.split() == [str(number) for number in range(1, 200001)]


def test_folder_path_and_chosen_variables_are_kept(kind: str, tmp_path: Path) -> None:
    script = 'pwd; echo "$PATH"; echo "$OPENENI_TEST_WORD"; echo "$AWS_SECRET_ACCESS_KEY"'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENENI_TEST_WORD", "two words; $HOME 'and' \"more\"")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        _, out, _ = run(kind, "sh", "-c", script, cwd=tmp_path)
    expected = [str(tmp_path), os.environ["PATH"], "two words; $HOME 'and' \"more\"", ""]
    assert out.splitlines() == expected


def test_the_command_sees_a_network_of_its_own(kind: str) -> None:
    code, out, _ = run(kind, "sh", "-c", "ls /sys/class/net; ping -c1 -W5 127.0.0.1 >&2")
    assert (code, out) == (0, "lo\n")


def test_a_command_that_takes_too_long_is_ended(kind: str) -> None:
    marker = f"314{os.getpid()}"
    assert run(kind, "sleep", marker, seconds=10)[0] == 124
    wait_for(lambda: not processes(marker), "nothing left")


def test_interrupting_ends_it_and_everything_in_it(kind: str) -> None:
    marker = f"315{os.getpid()}"
    script = f"echo up; sleep {marker} & sleep {marker}"
    with subprocess.Popen(
        words(kind, ["sh", "-c", script]), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    wait_for(lambda: not processes(marker), "nothing left")


def test_ctrl_c_while_it_starts_is_no_error(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def interrupted(*_: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    assert kernel.run_in_kernel(["true"], own_kernel=kind == "namespaces") == kernel.INTERRUPTED


def test_when_the_caller_is_killed_the_rest_dies_with_it(kind: str) -> None:
    marker = f"316{os.getpid()}"
    script = f"echo up; sleep {marker} & setsid sleep {marker}"
    with subprocess.Popen(
        words(kind, ["sh", "-c", script]), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        guests = [pid for pid in processes(marker) if pid != process.pid]
        assert guests or kind == "guest"  # a guest's processes have no names outside
        process.kill()
        # Every process of it holds this pipe.
        assert process.stdout.read() == b""
    wait_for(lambda: not processes(marker), "nothing left")


def test_a_guest_leaves_no_folder_behind_even_when_its_caller_is_killed(
    built: Built, tmp_path: Path
) -> None:
    with subprocess.Popen(
        words("guest", ["sh", "-c", "echo up; sleep 600"]),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        wait_for(lambda: not list(tmp_path.iterdir()), "the folder to be gone", 10)
        process.kill()
        assert process.stdout.read() == b""
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_a_guest_writes_reaches_the_machine(built: Built, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("as it was")
    places = [tmp_path, Path("/var/lib"), Path("/var/log"), Path("/etc"), Path("/"), Path("/tmp")]  # noqa: S108
    marker = f"openeni-guest-wrote-{os.getpid()}"
    script = f'for place; do echo x > "$place/{marker}" && cat "$place/{marker}"; done; '
    script += f"echo changed > {there} && cat {there} && rm {there}"
    code, out, err = run("guest", "sh", "-c", script, "sh", *map(str, places))
    assert (code, out.split(), err) == (0, ["x"] * len(places) + ["changed"], "")
    assert there.read_text() == "as it was"
    assert not any((place / marker).exists() for place in places)


@pytest.fixture(scope="module")
def complaints(built: Built) -> Mapping[str, str]:
    """Run all trials in one guest; return each one's error, which is empty if it succeeded."""
    script = ""
    for trial in TRIALS.values():
        script += "if e=$(unshare --net sh -ec "
        script += shlex.quote(f"ip link add v0 type veth peer name v1; {trial}")
        script += " 2>&1); then echo; else echo refused: $e; fi\n"
    _, out, err = run("guest", "sh", "-c", script)
    assert err == ""
    return dict(zip(TRIALS, out.splitlines(), strict=True))


@pytest.mark.parametrize("feature", TRIALS)
def test_a_guest_has_what_nodes_and_their_programs_need(
    complaints: Mapping[str, str], feature: str
) -> None:
    assert complaints[feature] == ""


def test_a_guests_stacks_lie_in_memory_that_the_machine_never_unmaps(built: Built) -> None:
    """In vmalloc memory a page could be missing for good: the guest then faults for ever."""
    config = built.kernel.with_name("config").read_text()
    assert "CONFIG_VMAP_STACK=y" not in config


def test_pytest_runs_in_a_guest(built: Built, tmp_path: Path) -> None:
    case = tmp_path / "test_inside.py"
    case.write_text(
        "from pathlib import Path\n\n"
        "def test_kernel():\n    assert 'User Mode Linux' in Path('/proc/cpuinfo').read_text()\n\n"
        "def test_failing():\n    assert False, 'on purpose'\n"
    )
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(case)]
    code, out, _ = run("guest", *argv, seconds=300)
    assert code == 1
    assert "1 failed, 1 passed" in out
