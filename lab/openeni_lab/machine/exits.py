"""Wait for programs to exit, and describe exits that are unexpected.

Standard library only: every init and every client of one imports it.
"""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TAIL: Final = 8192  # bytes at the end of a log that are searched for its last line
LONGEST_LINE: Final = 300


def wait_for_exit(pid: int, seconds: float) -> bool:
    """Return True once a child has exited, False if it has not after so many seconds; reap none.

    It waits on a pidfd. With a time limit `subprocess` asks for the end again and again, in pauses
    that double from 0.5 ms on; and an exception that a signal's handler raises between two steps of
    that leaves its lock held, so that no later wait for the process would end.
    """
    descriptor = os.pidfd_open(pid)
    try:
        ends = select.poll()  # unlike select(2) for any number of open files
        ends.register(descriptor, select.POLLIN)
        return bool(ends.poll(seconds * 1000))
    finally:
        os.close(descriptor)


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
    how: str  # "ended by SIGSEGV (signal 11)"
    at: float  # Unix time
    log: str
    last_line: str

    def __str__(self) -> str:
        return f"{self.program} {self.how}"
