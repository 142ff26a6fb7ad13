"""The demo as a person runs it: it tells the truth, and however it ends, `down` leaves nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator

import pytest

from openeni_lab import enclosure
from openeni_lab.layout import Layout
from openeni_testing.machine_facts import machine_facts
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NAME = f"d{os.getpid()}"
LAB = Layout(NAME)
DEMO = [sys.executable, "-m", "openeni_lab", "demo", "--kind=namespace", f"--name={NAME}"]
SECONDS = 800


def down() -> None:
    command = [sys.executable, "-m", "openeni_lab", "down", f"--name={NAME}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def before() -> Generator[dict[str, object]]:
    yield machine_facts(NAME)
    down()


def test_every_line_of_the_demo_is_ok(before: dict[str, object]) -> None:
    done = subprocess.run(DEMO, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "FAILED" not in done.stdout
    assert "packets dropped as spoofed: 0" in done.stdout
    assert f"export KUBECONFIG={LAB.kubeconfig}" in done.stdout
    down()
    assert enclosure.leftovers(LAB) == []
    assert machine_facts(NAME) == before


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["SIGINT", "SIGKILL"],
)
def test_a_demo_that_is_ended_leaves_what_down_removes(
    before: dict[str, object], number: signal.Signals, status: int
) -> None:
    process = subprocess.Popen(DEMO, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    agent = LAB.node_folder("n1") / "logs" / "agent.log"
    wait_for(agent.exists, "pods are about to start", SECONDS)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == status
    assert b"Traceback" not in complaint
    down()
    assert enclosure.leftovers(LAB) == []
    assert machine_facts(NAME) == before
