"""A demo that is interrupted, or loses a program, or is killed: `down` leaves nothing of it."""

import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Final, Self

import pytest

from openeni_lab.kubernetes.api import Api
from openeni_lab.lab import load
from openeni_lab.layout import Layout
from openeni_lab.product.demo import DEPLOYMENTS, REUSED
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import OPERATOR
from openeni_testing.demo_command import (
    DEMO_SECONDS,
    PROGRAM,
    assert_nothing_is_left,
    run_lab_command,
)
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.machine_facts import machine_facts
from openeni_testing.lab.shared_lab import own_name, remove_abandoned
from openeni_testing.waiting import wait_for

# A group of its own: its labs are beside those that other system tests share.
pytestmark = [
    pytest.mark.lab,
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.xdist_group("demo"),
]

PREFIX: Final = "cut"
LAB: Final = Layout(own_name(PREFIX))


@pytest.fixture
def before() -> Generator[dict[str, object]]:
    """Return facts about the machine without the demo's lab."""
    remove_abandoned(PREFIX)
    yield machine_facts(LAB.name)
    done = run_lab_command(LAB, "down")
    assert done.returncode == 0, done.stderr


def test_it_goes_on_says_which_program_ended_and_leaves_what_down_removes(
    before: dict[str, object], tmp_path: Path
) -> None:
    """Interrupt the demo while the cloud starts, then kill the operator, then the demo."""
    with Started(tmp_path / "interrupted") as interrupted:
        wait_for((LAB.logs / "mariadb.log").exists, "the cloud comes up", DEMO_SECONDS)
        interrupted.process.send_signal(signal.SIGINT)
        assert interrupted.end() == (
            130,
            "openeni-lab: interrupted; the same command continues",
        )

    with Started(tmp_path / "told") as told:
        wait_for(told.waits_for_pods, "the demo makes pods", DEMO_SECONDS)
        installed = InstalledLab(load(LAB))
        victim = lab.container(installed, OPERATOR)
        installed.lab.node(victim.node).ctr("tasks", "kill", "--signal", "KILL", victim.runtime_id)
        status, last = told.end()
        assert status == 1
        assert f"operator on {victim.node}: " in last
        assert "ended by SIGKILL (signal 9)" in last

    with Started(tmp_path / "killed") as killed:
        wait_for(killed.waits_for_pods, "the demo makes pods", DEMO_SECONDS)
        killed.process.kill()
        assert killed.end()[0] == -signal.SIGKILL
    done = run_lab_command(LAB, "down")
    assert (done.returncode, done.stderr) == (0, "")
    assert_nothing_is_left(LAB, before)


class Started:
    """A demo on namespace nodes that runs during the block, and what it has printed so far."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._out, self._err = folder / "out", folder / "err"
        command = [*PROGRAM, "demo", "--kind=namespace", f"--name={LAB.name}"]
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
