"""Unexpected exits of programs, with a real init."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from openeni_lab.layout import Layout
from openeni_lab.machine import service
from openeni_lab.machine.client import Machine, ProcessState
from openeni_lab.machine.service import Service
from openeni_lab.machine.steps import StepError, run
from openeni_lab.progress import LogProgress
from openeni_testing.lab.bare_lab import bare_lab
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root

CRASH = ["sh", "-c", "echo out of luck; kill -SEGV $$"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Layout, Machine]]:
    with bare_lab(tmp_path_factory.mktemp("lab"), "ends") as made:
        yield made


@pytest.fixture
def machine(lab: tuple[Layout, Machine]) -> Generator[Machine]:
    yield lab[1]
    for name in lab[1].list():
        lab[1].stop(name)


def kill(machine: Machine, name: str) -> ProcessState:
    """Kill a program; return its state once it has ended."""
    before = machine.list()[name]
    machine.check(["sh", "-c", f"kill -KILL {before.pid}"])

    def ended() -> ProcessState | None:
        process = machine.list()[name]
        return process if process.last_end != before.last_end else None

    return wait_for(ended, f"the end of {name}")


def test_a_killed_program_stays_down_and_may_be_started(machine: Machine, tmp_path: Path) -> None:
    machine.start("agent", ["sleep", "100"], log=tmp_path / "log")
    ended = kill(machine, "agent")
    assert not ended.running
    assert ended.exit_code == -signal.SIGKILL
    assert ended.last_end
    assert ended.last_end.how == "ended by SIGKILL (signal 9)"
    machine.start("agent", ["sleep", "100"], log=tmp_path / "log")
    assert machine.list()["agent"].running
    assert machine.list()["agent"].last_end is None


def test_an_end_takes_what_the_program_left_with_it(machine: Machine, tmp_path: Path) -> None:
    """Like a container's: its children do not keep the port that the next one needs."""
    script = "sleep 4713 & exec sleep 4714"
    machine.start("agent", ["sh", "-c", script], log=tmp_path / "log")
    children = ["sh", "-c", "grep -lsxz '471[3]' /proc/[0-9]*/cmdline"]
    wait_for(lambda: machine.run(children).text, "the child")
    kill(machine, "agent")
    wait_for(lambda: not machine.run(children).text, "the child's end")


def test_a_stopped_program_stays_down_and_that_is_no_end(machine: Machine, tmp_path: Path) -> None:
    before = machine.unexpected_exits()
    machine.start("agent", ["sleep", "100"], log=tmp_path / "log")
    machine.stop("agent")
    stopped = machine.list()["agent"]
    assert (stopped.running, stopped.last_end) == (False, None)
    assert machine.unexpected_exits() == before


def test_an_end_is_recorded(machine: Machine, tmp_path: Path) -> None:
    machine.start("database", CRASH, log=tmp_path / "log")
    wait_for(lambda: not machine.running("database"), "its end")
    ended = machine.list()["database"]
    assert ended.exit_code == -signal.SIGSEGV
    assert machine.unexpected_exits()[-1] == ended.last_end


def test_the_inits_log_says_how_it_ended_in_one_line(
    lab: tuple[Layout, Machine], machine: Machine, tmp_path: Path
) -> None:
    machine.start("agent", CRASH, log=tmp_path / "log")
    line = f"agent ended by SIGSEGV (signal 11); its log: {tmp_path}/log"
    init_log = lab[0].logs / "init.log"
    wait_for(lambda: line in init_log.read_text().splitlines(), "the line")


def test_a_wait_for_a_program_that_ends_raises_at_once(machine: Machine, tmp_path: Path) -> None:
    what = Service("operator", CRASH, ready=lambda: False)
    complaint = r"operator ended by SIGSEGV \(signal 11\): out of luck \(.*/op"
    with pytest.raises(StepError, match=complaint):
        run([service.step(machine, what, tmp_path)], LogProgress())


def test_a_wait_for_one_that_runs_raises_at_its_end_and_a_later_wait_starts_it(
    machine: Machine, tmp_path: Path
) -> None:
    script = "echo alive; sleep 100"
    what = Service("operator", ["sh", "-c", script], ready=lambda: False)
    step = service.step(machine, what, tmp_path)
    step.do()
    wait_for((tmp_path / "operator.log").read_text, "its start")
    assert not step.done()
    kill(machine, "operator")
    complaint = r"operator ended by SIGKILL \(signal 9\): alive \(.*/operator.log"
    with pytest.raises(StepError, match=complaint):
        step.done()
    later = service.step(machine, what, tmp_path)
    later.do()
    assert not later.done()


def test_a_wait_for_one_that_is_stopped_raises(machine: Machine, tmp_path: Path) -> None:
    what = Service("operator", ["sleep", "100"], ready=lambda: False)
    step = service.step(machine, what, tmp_path)
    step.do()
    machine.stop("operator")
    with pytest.raises(StepError, match="operator was stopped"):
        step.done()


def test_whoever_waits_is_told_of_every_end_since_a_mark(machine: Machine, tmp_path: Path) -> None:
    machine.start("agent", CRASH, log=tmp_path / "log")
    wait_for(lambda: not machine.running("agent"), "its end")
    machines = {"n1": machine}
    since = service.exits_so_far(machines)
    assert service.unexpected_exits(machines)
    assert service.unexpected_exits(machines, since) == []
    machine.start("proxy", ["sh", "-c", "echo no route; exit 3"], log=tmp_path / "proxy.log")
    wait_for(lambda: not machine.running("proxy"), "its end")
    (line,) = service.unexpected_exits(machines, since)
    assert line.startswith("n1: ")
    assert "proxy ended with 3: no route (" in line


def test_a_lab_that_is_gone_is_told_too_and_a_node_that_is_busy_is_not(tmp_path: Path) -> None:
    gone = Machine(tmp_path / "init.sock")
    (line,) = service.unexpected_exits({"lab": gone, "n2": gone})
    assert line.startswith("lab: no machine at ")


def test_the_end_of_the_whole_lab_is_no_end_of_its_programs(tmp_path: Path) -> None:
    """Not even of one that ends because another one did."""
    with bare_lab(tmp_path / "labs", "down") as (layout, machine):
        marker = tmp_path / "marker"
        marker.touch()
        script = f"while [ -e {marker} ]; do sleep 0.05; done; exit 1"
        machine.start("dependent", ["sh", "-c", script], log=tmp_path / "dependent")
        undo = f"trap 'rm {marker}; sleep 1; exit 0' TERM; echo up; while :; do sleep 0.05; done"
        machine.start("base", ["sh", "-c", undo], log=tmp_path / "base")
        wait_for((tmp_path / "base").read_text, "the trap")
        log = tmp_path / "init.log"
        os.link(layout.logs / "init.log", log)
    assert "ended" not in log.read_text()
