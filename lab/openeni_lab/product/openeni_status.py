"""Ask `openeni status` about a lab, by the program beside this Python."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 60.0  # for a problem that passes, such as an operator that starts again
PAUSE_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Status:
    """What `openeni status` prints; `ok` if it has found no problem."""

    text: str
    ok: bool


def ask(kubeconfig: Path) -> Status:
    """Return what it prints, standard error included; wait out what is wrong for a moment only."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not (status := _ask(kubeconfig)).ok and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return status


def _ask(kubeconfig: Path) -> Status:
    done = subprocess.run(
        [sys.executable, "-m", "openeni_cli", f"--kubeconfig={kubeconfig}", "status"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Status(done.stdout.rstrip(), not done.returncode)
