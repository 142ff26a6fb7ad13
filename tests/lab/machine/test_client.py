"""The requests of an init's client, with a real init."""

import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Generator
from pathlib import Path

import pytest

from openeni_lab.layout import Layout
from openeni_lab.machine.client import Machine, MachineError
from openeni_testing.lab.bare_lab import bare_lab
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root

# The pattern does not find itself. The package of pgrep brings a service.
CHILD = ["sh", "-c", "grep -qsxz '471[1]' /proc/[0-9]*/cmdline"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Layout, Machine]]:
    with bare_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def machine(lab: tuple[Layout, Machine]) -> Machine:
    return lab[1]


def test_a_program_runs_to_its_end(machine: Machine) -> None:
    done = machine.run(["sh", "-c", "cat; echo oops >&2; exit 3"], stdin=b"given\n")
    assert (done.code, done.text, done.complaint) == (3, "given", "oops")


def test_a_signal_is_told_as_a_negative_code(machine: Machine) -> None:
    assert machine.run(["sh", "-c", "kill -9 $$"]).code == -9


def test_output_larger_than_a_pipe_comes_whole(machine: Machine) -> None:
    assert len(machine.run(["head", "-c", "3000000", "/dev/zero"]).out) == 3_000_000


def test_a_program_that_takes_too_long_is_killed(machine: Machine) -> None:
    with pytest.raises(MachineError, match="sleep: killed after"):
        machine.run(["sleep", "100"], timeout=0.2)
    # 1 without a match, 2 if a process ended while it was read, too
    assert machine.run(["sh", "-c", "grep -qsx sleep /proc/[0-9]*/comm"]).code in {1, 2}


def test_a_grandchild_that_keeps_the_output_open_holds_nobody_up(machine: Machine) -> None:
    assert machine.run(["sh", "-c", "sleep 100 & echo out"], timeout=5).text == "out"


def test_a_missing_program_is_named(machine: Machine) -> None:
    with pytest.raises(MachineError, match=r"No such file.*no-such-program"):
        machine.run(["no-such-program"])


def test_check_raises_with_the_programs_last_line(machine: Machine) -> None:
    with pytest.raises(MachineError, match=r"^ls /nothing: ls: cannot access"):
        machine.check(["ls", "/nothing"])


def test_a_started_program_is_listed_until_it_is_stopped(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    machine.start("talker", ["sh", "-c", "echo $WORD; exec sleep 100"], env={"WORD": "hi"}, log=log)
    assert machine.running("talker")
    wait_for(lambda: log.read_text() == "hi\n", "the log")
    machine.stop("talker")
    assert machine.list()["talker"].exit_code == -15
    assert not machine.running("talker")


def test_a_name_is_one_program_at_a_time(machine: Machine, tmp_path: Path) -> None:
    machine.start("one", ["sleep", "100"], log=tmp_path / "log")
    with pytest.raises(MachineError, match="one runs already"):
        machine.start("one", ["sleep", "100"], log=tmp_path / "log")
    machine.stop("one")
    machine.start("one", ["true"], log=tmp_path / "log")
    wait_for(lambda: machine.list()["one"].exit_code == 0, "its end")


def test_a_program_that_ignores_term_is_killed(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    machine.start("deaf", ["sh", "-c", script], log=log)
    wait_for(log.read_text, "the trap")
    machine.stop("deaf", seconds=0.3)
    assert machine.list()["deaf"].exit_code == -9


def test_stopping_ends_what_the_program_started(machine: Machine, tmp_path: Path) -> None:
    script = "sleep 4711 & trap 'exit 0' TERM; wait"
    machine.start("parent", ["sh", "-c", script], log=tmp_path / "log")
    wait_for(lambda: not machine.run(CHILD).code, "the child")
    machine.stop("parent")
    wait_for(lambda: machine.run(CHILD).code, "the child's end")


def test_no_machine_is_one_line(tmp_path: Path) -> None:
    nobody = Machine(tmp_path / "init.sock")
    with pytest.raises(MachineError, match=r"^no machine at .*/init.sock: No such file"):
        nobody.list()
    assert not nobody.alive()
    assert not nobody.running("anything")


def test_a_program_can_have_this_terminal(lab: tuple[Layout, Machine]) -> None:
    """The terminal's size, input and output and the exit code are forwarded."""
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from openeni_lab.machine.client import Machine
        machine = Machine(Path({str(lab[0].control)!r}))
        script = "stty size; read word; echo got $word; exit 7"
        sys.exit(machine.run_on_terminal(["sh", "-c", script]))
    """)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    while b"0 0" not in said:
        said += os.read(ours, 1000)
    os.write(ours, b"hello\n")
    while b"got hello" not in said:
        said += os.read(ours, 1000)
    assert process.wait(20) == 7
    os.close(ours)
