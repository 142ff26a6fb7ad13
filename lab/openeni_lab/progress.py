"""Displays of work in progress: a live line with a clock on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from openeni_lab.machine.steps import Progress

__all__ = ["LogProgress", "Progress", "TerminalProgress", "TwoLaneProgress", "display"]

REPEAT_SECONDS: Final = 15.0
LONGEST_NOTE: Final = 70


class TwoLaneProgress(Progress, Protocol):
    """A display of work that may run in two lanes at the same time."""

    def second_lane(self) -> Progress:
        """Return the display of the second lane."""
        ...


class LogProgress:
    """A display for logs: a line for each completed step, and a note now and then."""

    def __init__(self) -> None:
        self._name = ""
        self._begun = self._next_note = 0.0

    def start(self, name: str, expected_seconds: float) -> None:
        self._name, self._begun = name, time.monotonic()
        self._next_note = self._begun + REPEAT_SECONDS
        if expected_seconds > REPEAT_SECONDS:
            _print(f"{name}: about {expected_seconds:.0f} s on a fast machine")

    def note(self, text: str) -> None:
        if time.monotonic() > self._next_note:
            self._next_note = time.monotonic() + REPEAT_SECONDS
            _print(f"  {self._name}: {text[:LONGEST_NOTE]}")

    def second_lane(self) -> Progress:
        return LogProgress()

    def done(self, *, changed: bool = True) -> None:
        if changed:
            _print(f"{time.monotonic() - self._begun:8.1f} s  {self._name}")


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class TerminalProgress:
    """A display for terminals: each running step with a spinner, a clock and its expected time."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, transient=True, refresh_per_second=8)
        self._rows: dict[int, _Row] = {}  # by lane
        self._lock = threading.Lock()
        self._lane = _Lane(self, 0)
        self.start, self.note, self.done = self._lane.start, self._lane.note, self._lane.done

    def second_lane(self) -> Progress:
        return _Lane(self, 1)

    def show(self, lane: int, row: "_Row | None") -> None:
        """Show a lane's row, or remove it."""
        with self._lock:
            if row:
                self._rows[lane] = row
            else:
                self._rows.pop(lane, None)
            if not self._rows:
                self.live.stop()
                return
            self.live.update(Group(*(self._rows[lane] for lane in sorted(self._rows))))
            self.live.start()


class _Lane:
    """One lane of a terminal's display."""

    def __init__(self, screen: TerminalProgress, number: int) -> None:
        self._screen, self._number = screen, number
        self._row = _Row("", 0)

    def start(self, name: str, expected_seconds: float) -> None:
        self._row = _Row(name, expected_seconds)
        self._screen.show(self._number, self._row)

    def note(self, text: str) -> None:
        self._row.note = text[:LONGEST_NOTE]

    def done(self, *, changed: bool = True) -> None:
        self._screen.show(self._number, None)
        name, passed = self._row.name, f"{self._row.passed:8.1f} s  "
        if changed:
            self._screen.console.print(Text.assemble((passed, "green"), name))
        else:
            self._screen.console.print(Text(f"     ready  {name}", "dim"))


class _Row:
    """The row of a running step; it renders with the current time."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self._seconds, self._begun = name, seconds, time.monotonic()
        self.note = ""
        self._spinner = Spinner("dots")

    @property
    def passed(self) -> float:
        return time.monotonic() - self._begun

    def __rich__(self) -> Spinner:
        expected = f" of about {self._seconds:.0f}" if self._seconds >= 1 else ""
        clock = f"  ({self.passed:.0f}{expected} s)  "
        self._spinner.update(text=Text.assemble(self.name, clock, (self.note, "dim")))
        return self._spinner


@contextmanager
def display() -> Generator[TwoLaneProgress]:
    """Yield the display that suits standard error; restore the terminal afterwards."""
    if not sys.stderr.isatty():
        yield LogProgress()
        return
    screen = TerminalProgress()
    try:
        yield screen
    finally:
        screen.live.stop()
