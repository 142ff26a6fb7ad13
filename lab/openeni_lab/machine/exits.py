"""Unexpected exits of programs and their description.

Standard library only: every init and every client of one imports it.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TAIL: Final = 8192  # bytes at the end of a log that are searched for its last line
LONGEST_LINE: Final = 300


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
