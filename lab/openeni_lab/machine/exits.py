"""How programs end, in words, and when one that ended unasked is started again.

Standard library only: every init imports it, and every client of one.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# As the kubelet restarts containers: kuberuntime's doBackOff with client-go's flowcontrol.Backoff,
# from backOffPeriod to MaxContainerBackOff, forgotten after twice the longest.
FIRST_DELAY: Final = 10.0
LONGEST_DELAY: Final = 300.0
FORGIVEN_AFTER: Final = 600.0

TAIL: Final = 8192  # bytes of a log in which its last line is looked for
LONGEST_WORDS: Final = 300


def restart_delay(before: float | None, ran: float) -> float:
    """Return how many seconds to wait before a program that ran for `ran` is started again.

    `before` is the delay of the restart before this one, None when there was none. The first is at
    once, and so is the first after ten minutes of running.
    """
    if before is None or ran > FORGIVEN_AFTER:
        return 0.0
    return min(max(FIRST_DELAY, 2 * before), LONGEST_DELAY)


def describe(code: int) -> str:
    """Say how a program ended; a signal's number is negative in `code`."""
    if code >= 0:
        return f"ended with {code}"
    try:
        name = f"{signal.Signals(-code).name} (signal {-code})"
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"ended by {name}"


def last_words(log: Path) -> str:
    """Return the last line of a log that is not empty, or that there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:LONGEST_WORDS] if lines else "it logged nothing"


@dataclass(frozen=True)
class UnexpectedExit:
    """One end of a program that nobody asked for."""

    id: str  # no other end of any machine has it
    program: str
    how: str  # "ended by SIGSEGV (signal 11)", or why it could not be started again
    at: float  # Unix time
    restart_in: float | None  # seconds; None: it is not started again
    log: str
    last_words: str

    def __str__(self) -> str:
        return f"{self.program} {self.how}; {self._next}"

    @property
    def _next(self) -> str:
        if self.restart_in is None:
            return "not started again"
        return f"started again in {self.restart_in:.0f} s" if self.restart_in else "started again"
