"""The command line; and a lab leaves nothing, however it ends."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.lab import Lab
from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure
from openeni_lab.machine.client import Machine
from openeni_testing.lab import bare_lab
from openeni_testing.lab.machine_facts import machine_facts

pytestmark = pytest.mark.root

NAME = f"t{os.getpid()}"
ABSENT = "no-such-lab"  # the same in every process: it is in the tests' ids


def cli(*words: str, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "openeni_lab", *words],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture
def lab() -> Generator[Layout]:
    """Return the name of a lab that does not exist, and remove it afterwards."""
    made = Layout(NAME)
    yield made
    assert cli("down", "--name", NAME).returncode == 0
    assert enclosure.leftovers(made) == []
    assert not (made.root / f".{NAME}.lock").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["up", "--nodes", "0"], "Invalid value for '--nodes'"),
        (["up", "--kind", "cloud"], "Invalid value for '--kind'"),
        (
            ["up", "--name", "No_Name"],
            "'No_Name': a lab's name is 1 to 16 characters of a-z, 0-9 and '-'",
        ),
        (["up", "--nonsense"], "No such option"),
        (["exec"], "no command was given"),
        (["kernel"], "no command was given"),
        (["node", "restart"], "Missing argument 'node'"),
        (["status", "--name", ABSENT], "there is no lab"),
        (["kubectl", "--name", ABSENT, "get", "nodes"], "there is no lab"),
        (["exec", "--name", ABSENT, "--", "true"], "there is no lab"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_exit_status_1(words: list[str], complaint: str) -> None:
    done = cli(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("openeni-lab: ")
    assert done.stderr.count("\n") == 1
    assert complaint in done.stderr


def test_where_there_is_no_lab_down_says_so() -> None:
    done = cli("down", "--name", NAME)
    said = f"there is no lab '{NAME}': nothing was removed\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


# For each line `NUMBER VICTIM`, an `up` in which the victim is killed a moment after the step with
# this number has begun; answered by its exit code. Each is a fork: importing the lab again would
# take longer than most of what is tried here.
KILLED_UPS = """
import itertools, os, signal, sys, threading
from openeni_lab.machine import steps
from openeni_lab.lab import NodeKind, Lab
from openeni_lab.layout import Layout
from openeni_lab.progress import LogProgress

name, *files = sys.argv[1:]
lab = Lab(Layout(name, node_count=1), NodeKind.NAMESPACE)
begun = itertools.count(1)
complete = steps._complete

def kill():
    os.kill(lab.machine.pid() if victim == "init" else os.getpid(), signal.SIGKILL)

def killed(step, progress):
    if next(begun) == int(number):
        print(step.name, flush=True)
        threading.Timer(0.05, kill).start()
    complete(step, progress)

for line in sys.stdin:
    number, victim = line.split()
    child = os.fork()
    if not child:
        for stream, file in enumerate(files, start=1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        steps._complete = killed
        lab.up(LogProgress())
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class KilledUps:
    """Runs `up` again and again, and kills a process in each."""

    def __init__(self, folder: Path) -> None:
        self._out, self._err = folder / "out", folder / "err"
        argv = [sys.executable, "-c", KILLED_UPS, NAME, str(self._out), str(self._err)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, number: int, victim: str) -> tuple[bool, str]:
        """Return True if a process was killed, and a text for the failure that may follow."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{number} {victim}\n")
        assert select.select([self._process.stdout], [], [], 600)[0], f"step {number} hangs"
        code = int(self._process.stdout.readline())
        step, complaint = self._out.read_text(), self._err.read_text()[-500:]
        words = f"{victim} killed in step {number} ({step.strip()}): {complaint}"
        assert code == (-signal.SIGKILL if victim == "up" else 1) or not step, words
        assert step or not code, words
        return bool(step), words

    def end(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=60)


@pytest.fixture
def killed_ups(tmp_path: Path) -> Generator[KilledUps]:
    made = KilledUps(tmp_path)
    yield made
    made.end()


def assert_down_leaves_nothing(lab: Layout, before: dict[str, object], where: str) -> None:
    done = cli("down", "--name", NAME)
    assert (done.returncode, done.stderr) == (0, ""), where
    assert enclosure.leftovers(lab) == [], where
    assert machine_facts(NAME) == before, where


@pytest.mark.cluster
@pytest.mark.long
def test_a_lab_killed_at_any_step_before_its_cloud_leaves_what_down_removes(
    lab: Layout, killed_ups: KilledUps
) -> None:
    """Kill in turn `up`, whose lab lives on until `down`, and the lab's init."""
    before = machine_facts(NAME)
    made = Lab(lab)
    steps = [*LabNetwork(lab, made.machine).steps(), *made.control_plane.started()]
    for number in range(1, len(steps) + 2):  # the first starts the init
        victim = "init" if number > 1 and number % 2 else "up"
        killed, where = killed_ups.run(number, victim)
        assert killed, where
        assert_down_leaves_nothing(lab, before, where)


@pytest.mark.cluster
@pytest.mark.cloud
@pytest.mark.long
def test_an_up_killed_at_every_step_goes_on_and_its_lab_leaves_nothing(
    lab: Layout, killed_ups: KilledUps
) -> None:
    """Kill the init at every step, including the nodes', until an `up` has no further step."""
    before = machine_facts(NAME)
    killed, number = True, 0
    while killed:
        number += 1
        killed, _ = killed_ups.run(number, "up")
    assert number > 1 + len(Lab(lab).steps())
    os.kill(Machine(lab.control).pid(), signal.SIGKILL)
    assert_down_leaves_nothing(lab, before, "the init of the whole lab killed")


def test_a_running_lab_is_told_apart_from_what_is_asked(lab: Layout) -> None:
    """`up` refuses to change the nodes of an existing lab."""
    bare_lab.start(lab)
    (lab.state / "lab.json").write_text('{"nodes": 3, "kind": "namespace"}')
    done = cli("up", "--kind=namespace", "--name", NAME)
    assert done.returncode == 1
    assert f"the lab '{NAME}' has 3 nodes of kind namespace: take it down first" in done.stderr


def test_commands_run_in_the_lab_with_its_exit_status_and_environment(lab: Layout) -> None:
    bare_lab.start(lab)
    (lab.state / "lab.json").write_text('{"nodes": 2, "kind": "namespace"}')
    script = 'hostname; echo "$OS_CLOUD"; command -v kubectl-of-nobody; exit 7'
    done = cli("exec", "--name", NAME, "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (7, "openeni-lab\nopeneni\n")
    assert cli("exec", "--name", NAME, "ls", "--", "/run").stdout == "netns\n"
    assert cli("exec", "--name", NAME, "--", "pwd").stdout == f"{Path.cwd()}\n"
    with TemporaryDirectory(dir="/run") as folder, contextlib.chdir(folder):  # no lab has that
        assert cli("exec", "--name", NAME, "--", "pwd").stdout == "/\n"
    unknown = cli("exec", "--name", NAME, "-n", "n9", "--", "true")
    assert unknown.stderr == "openeni-lab: the lab has no node 'n9' (it has n1, n2)\n"
