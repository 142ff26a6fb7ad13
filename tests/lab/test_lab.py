"""The command line, and that a lab leaves nothing, however it was ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator

import pytest

from openeni_lab import builds, enclosure
from openeni_lab.layout import Layout
from openeni_lab.progress import Lines
from openeni_testing import bare_lab
from openeni_testing.machine_facts import machine_facts
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root

NAME = f"t{os.getpid()}"
SETS = ("kubernetes", "kubectl", "node", "openstack")


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
    """No lab yet; whatever is made under this name is gone afterwards."""
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
        (["up", "--name", "No_Name"], "'No_Name' is not up to 16 of a to z, 0 to 9 and -"),
        (["up", "--nonsense"], "No such option"),
        (["exec"], "no command was given"),
        (["kernel"], "no command was given"),
        (["node", "restart"], "Missing argument 'node'"),
        (["status", "--name", NAME], f"there is no lab '{NAME}'"),
        (["kubectl", "--name", NAME, "get", "nodes"], f"there is no lab '{NAME}'"),
        (["exec", "--name", NAME, "--", "true"], f"there is no lab '{NAME}'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_1(words: list[str], complaint: str) -> None:
    done = cli(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("openeni-lab: ")
    assert done.stderr.count("\n") == 1
    assert complaint in done.stderr


def test_a_missing_lab_goes_down_quietly() -> None:
    done = cli("down", "--name", NAME)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("marker", ["init", "kube-apiserver", "mariadb"])
def test_an_up_killed_anywhere_leaves_what_down_removes(lab: Layout, marker: str) -> None:
    """Killed when the marked step is on its way; the lab's processes go on until `down`."""
    builds.ensure(SETS, Lines())
    before = machine_facts(NAME)
    command = [sys.executable, "-m", "openeni_lab", "up", "--kind=namespace", f"--name={NAME}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for((lab.logs / f"{marker}.log").exists, f"the start of {marker}", 300)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    done = cli("down", "--name", NAME)
    assert (done.returncode, done.stderr) == (0, "")
    assert enclosure.leftovers(lab) == []
    assert machine_facts(NAME) == before


def test_a_running_lab_is_told_apart_from_what_is_asked(lab: Layout) -> None:
    """The lab was made with other nodes: `up` says so instead of mixing them."""
    builds.ensure(SETS, Lines())
    bare_lab.start(lab)
    (lab.state / "lab.json").write_text('{"nodes": 3, "kind": "namespace"}')
    done = cli("up", "--kind=namespace", "--name", NAME)
    assert done.returncode == 1
    assert f"the lab '{NAME}' has 3 nodes of kind namespace: take it down first" in done.stderr


def test_commands_run_in_the_lab_with_its_exit_status_and_environment(lab: Layout) -> None:
    builds.ensure(SETS, Lines())
    bare_lab.start(lab)
    (lab.state / "lab.json").write_text('{"nodes": 2, "kind": "namespace"}')
    script = 'hostname; echo "$OS_CLOUD"; command -v kubectl-of-nobody; exit 7'
    done = cli("exec", "--name", NAME, "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (7, "openeni-lab\nopeneni\n")
    assert cli("exec", "--name", NAME, "ls", "--", "/run").stdout == "netns\n"
    unknown = cli("exec", "--name", NAME, "-n", "n9", "--", "true")
    assert unknown.stderr == "openeni-lab: the lab has no node 'n9' (it has n1, n2)\n"
