"""How work in progress is shown: a live line with a clock on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from openeni_lab.steps import Progress

__all__ = ["Lines", "Progress", "Screen", "shown"]

SAY_AGAIN_SECONDS = 15.0
LONGEST_NOTE = 70


class Lines:
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

    def done(self, *, changed: bool = True) -> None:
        if changed:
            _say(f"{time.monotonic() - self._begun:8.1f} s  {self._name}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Screen:
    """For people: the running step with a spinner, its clock and what a fast machine takes."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._console = console
        self.live = Live(console=console, transient=True, refresh_per_second=8)
        self._running = _Running("", 0)

    def start(self, name: str, expected_seconds: float) -> None:
        self._running = _Running(name, expected_seconds)
        self.live.update(self._running)
        self.live.start()

    def note(self, text: str) -> None:
        self._running.note = text[:LONGEST_NOTE]

    def done(self, *, changed: bool = True) -> None:
        self.live.stop()
        name = self._running.name
        if changed:
            self._console.print(Text.assemble((f"{self._running.passed:8.1f} s  ", "green"), name))
        else:
            self._console.print(Text(f"     there  {name}", "dim"))


class _Running:
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
def shown() -> Generator[Progress]:
    """What suits standard error; afterwards the terminal is as it was, whatever happened."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    screen = Screen()
    try:
        yield screen
    finally:
        screen.live.stop()
