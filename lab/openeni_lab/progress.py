"""How work in progress is shown: a live line with a clock on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from openeni_lab.machine.steps import Progress

__all__ = ["LogProgress", "Progress", "TerminalProgress", "TwoLaneProgress", "shown"]

SAY_AGAIN_SECONDS = 15.0
LONGEST_NOTE = 70


class TwoLaneProgress(Progress, Protocol):
    """Where work is shown that may go on in two lanes."""

    def beside(self) -> Progress:
        """Return a place for work that goes on at the same time."""
        ...


class LogProgress:
    """For logs: how long each thing took, and a word now and then while it takes long."""

    def __init__(self) -> None:
        self._name = ""
        self._begun = self._next_word = 0.0

    def start(self, name: str, expected_seconds: float) -> None:
        self._name, self._begun = name, time.monotonic()
        self._next_word = self._begun + SAY_AGAIN_SECONDS
        if expected_seconds > SAY_AGAIN_SECONDS:
            _say(f"{name}: about {expected_seconds:.0f} s on a fast machine")

    def note(self, text: str) -> None:
        if time.monotonic() > self._next_word:
            self._next_word = time.monotonic() + SAY_AGAIN_SECONDS
            _say(f"  {self._name}: {text[:LONGEST_NOTE]}")

    def beside(self) -> Progress:
        return LogProgress()

    def done(self, *, changed: bool = True) -> None:
        if changed:
            _say(f"{time.monotonic() - self._begun:8.1f} s  {self._name}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class TerminalProgress:
    """For people: each running step with a spinner, its clock and what a fast machine takes."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, transient=True, refresh_per_second=8)
        self._rows: dict[int, _Row] = {}  # by lane
        self._lock = threading.Lock()
        self._lane = _Lane(self, 0)
        self.start, self.note, self.done = self._lane.start, self._lane.note, self._lane.done

    def beside(self) -> Progress:
        return _Lane(self, 1)

    def show(self, lane: int, running: "_Row | None") -> None:
        """Put a lane's row on the screen, or take it off."""
        with self._lock:
            if running:
                self._rows[lane] = running
            else:
                self._rows.pop(lane, None)
            if not self._rows:
                self.live.stop()
                return
            self.live.update(Group(*(self._rows[lane] for lane in sorted(self._rows))))
            self.live.start()


class _Lane:
    """One row of a screen."""

    def __init__(self, screen: TerminalProgress, number: int) -> None:
        self._screen, self._number = screen, number
        self._running = _Row("", 0)

    def start(self, name: str, expected_seconds: float) -> None:
        self._running = _Row(name, expected_seconds)
        self._screen.show(self._number, self._running)

    def note(self, text: str) -> None:
        self._running.note = text[:LONGEST_NOTE]

    def done(self, *, changed: bool = True) -> None:
        self._screen.show(self._number, None)
        name, passed = self._running.name, f"{self._running.passed:8.1f} s  "
        if changed:
            self._screen.console.print(Text.assemble((passed, "green"), name))
        else:
            self._screen.console.print(Text(f"     there  {name}", "dim"))


class _Row:
    """One line that shows the passing time whenever it is drawn."""

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
def shown() -> Generator[TwoLaneProgress]:
    """Yield the display that suits standard error; restore the terminal afterwards."""
    if not sys.stderr.isatty():
        yield LogProgress()
        return
    screen = TerminalProgress()
    try:
        yield screen
    finally:
        screen.live.stop()
