"""The demo's command: its output is true, and `down` leaves nothing, however the demo ends."""

import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Self

import pytest

from openeni_lab.kubernetes.api import Api
from openeni_lab.lab import load
from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure
from openeni_lab.product import installed_lab
from openeni_lab.product.demo import DEPLOYMENTS, REUSED, SHOWN_DATAPATHS
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import OPERATOR
from openeni_lab.progress import LogProgress
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.machine_facts import machine_facts
from openeni_testing.lab.shared_lab import own_name, remove_abandoned
from openeni_testing.waiting import wait_for

# A group of its own: its labs are beside those that other system tests share.
pytestmark = [pytest.mark.lab, pytest.mark.root, pytest.mark.xdist_group("demo")]

PREFIX = "demo"
NAME = own_name(PREFIX)
LAB = Layout(NAME)
PROGRAM = [sys.executable, "-m", "openeni_lab"]
SECONDS = 800


def cli(*words: str, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
    command = [*PROGRAM, words[0], f"--name={NAME}", *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def assert_nothing_is_left(before: dict[str, object]) -> None:
    done = cli("down")
    assert (done.returncode, done.stderr) == (0, "")
    assert enclosure.leftovers(LAB) == []
    assert machine_facts(NAME) == before


@pytest.fixture
def before() -> Generator[dict[str, object]]:
    """Return facts about the machine without the demo's lab."""
    remove_abandoned(PREFIX)
    yield machine_facts(NAME)
    done = cli("down")
    assert done.returncode == 0, done.stderr


def test_the_demo_on_vm_nodes_shows_every_datapath_and_says_the_truth(
    before: dict[str, object],
) -> None:
    done = cli("demo", "--kind=vm", seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "FAILED" not in done.stdout
    for line in ("packets dropped as spoofed: 0", "unexpected exits of programs: 0"):
        assert line in done.stdout.splitlines()
    installed = installed_lab.up(load(LAB), LogProgress())
    assert_world_is_as_the_demo_says(installed)
    assert re_used(done.stdout) == {pod.address for pod in installed.reach.pods(REUSED)}
    assert_printed_commands_work(done.stdout)
    assert_nothing_is_left(before)


def assert_world_is_as_the_demo_says(installed: InstalledLab) -> None:
    for mode in (*SHOWN_DATAPATHS, REUSED):
        lab.wait_until_all_agree(installed, mode)
        enis = lab.enis_of(installed, mode)
        podips = lab.podips_on(installed, enis)
        assert len(podips) >= 2 * len(installed.nodes)
        assert {eni["spec"]["nodeName"] for eni in enis} == set(installed.nodes)
    assert sum(installed.dropped().values()) == 0


def re_used(printed: str) -> set[str]:
    """Return the addresses that the demo reported as re-used after their cool-down."""
    (line,) = (line for line in printed.splitlines() if line.startswith("re-used after cool-down"))
    return set(line.partition(": ")[2].split(", "))


def assert_printed_commands_work(printed: str) -> None:
    _, _, commands = printed.partition("Look around")
    lines = [line.strip() for line in commands.splitlines() if line.startswith("  ")]
    assert lines[0] == f"export KUBECONFIG={LAB.kubeconfig}"
    for line in lines:
        done = subprocess.run(
            ["sh", "-ec", line],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert "down" in lines[-1]


def test_an_interrupted_demo_goes_on_says_which_program_ended_and_leaves_what_down_removes(
    before: dict[str, object], tmp_path: Path
) -> None:
    """Interrupt the demo while the cloud starts, then kill the operator, then the demo."""
    with Started(tmp_path / "interrupted") as interrupted:
        wait_for((LAB.logs / "mariadb.log").exists, "the cloud comes up", SECONDS)
        interrupted.process.send_signal(signal.SIGINT)
        assert interrupted.end() == (
            130,
            "openeni-lab: interrupted; the same command continues, `down` removes the lab",
        )

    with Started(tmp_path / "told") as told:
        wait_for(told.waits_for_pods, "the demo makes pods", SECONDS)
        installed = InstalledLab(load(LAB))
        victim = lab.container(installed, OPERATOR)
        installed.lab.node(victim.node).ctr("tasks", "kill", "--signal", "KILL", victim.runtime_id)
        status, last = told.end()
        assert status == 1
        assert f"operator on {victim.node}: " in last
        assert "ended by SIGKILL (signal 9)" in last

    with Started(tmp_path / "killed") as killed:
        wait_for(killed.waits_for_pods, "the demo makes pods", SECONDS)
        killed.process.kill()
        assert killed.end()[0] == -signal.SIGKILL
    assert_nothing_is_left(before)


class Started:
    """A demo on namespace nodes that runs during the block, and what it has printed so far."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._out, self._err = folder / "out", folder / "err"
        command = [*PROGRAM, "demo", "--kind=namespace", f"--name={NAME}"]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)

    def waits_for_pods(self) -> bool:
        """Return True if the lab is up and the demo has created its last object."""
        assert self.process.poll() is None, self._err.read_text()[-3000:]
        if "ready after" not in self._out.read_text():
            return False
        return Api(LAB.kubeconfig).get(f"{DEPLOYMENTS}/{REUSED}") is not None

    def end(self) -> tuple[int, str]:
        """Return its exit status and its last error line."""
        status = self.process.wait(60)
        complaint = self._err.read_text()
        assert "Traceback" not in complaint
        return status, complaint.splitlines()[-1]
