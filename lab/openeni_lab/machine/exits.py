"""Unexpected exits of programs: their description, and the back-off of restarts.

Standard library only: every init and every client of one imports it.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# The kubelet's back-off for containers: kuberuntime's doBackOff with client-go's
# flowcontrol.Backoff, from backOffPeriod to MaxContainerBackOff, reset after twice the maximum.
FIRST_DELAY: Final = 10.0
LONGEST_DELAY: Final = 300.0
RESET_AFTER: Final = 600.0

TAIL: Final = 8192  # bytes at the end of a log that are searched for its last line
LONGEST_LINE: Final = 300


def restart_delay(before: float | None, ran: float) -> float:
    """Return the seconds to wait before a program that ran for `ran` seconds is restarted.

    `before` is the delay of its previous restart, or None. The first restart is immediate, and so
    is one after ten minutes of running.
    """
    if before is None or ran > RESET_AFTER:
        return 0.0
    return min(max(FIRST_DELAY, 2 * before), LONGEST_DELAY)


def describe_exit(code: int) -> str:
    """Describe how a program ended; `code` is -n for signal n."""
    if code >= 0:
        return f"ended with {code}"
    try:
        name = f"{signal.Signals(-code).name} (signal {-code})"
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"ended by {name}"


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty, or "it logged nothing"."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:LONGEST_LINE] if lines else "it logged nothing"


@dataclass(frozen=True)
class UnexpectedExit:
    """A program ended although nobody had stopped it."""

    id: str  # unique among all machines
    program: str
    how: str  # "ended by SIGSEGV (signal 11)", or why its restart failed
    at: float  # Unix time
    restart_in: float | None  # seconds; None: it is not restarted
    log: str
    last_line: str

    def __str__(self) -> str:
        return f"{self.program} {self.how}; {self._next}"

    @property
    def _next(self) -> str:
        if self.restart_in is None:
            return "not started again"
        return f"started again in {self.restart_in:.0f} s" if self.restart_in else "started again"
