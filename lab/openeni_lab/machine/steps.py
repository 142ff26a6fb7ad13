"""Bringing something up as a list of steps, so that an interrupted `up` continues where it stopped.

Each step looks before it acts: what is there already is left alone, and a step counts only when its
effect is seen, never because its action returned.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event
from typing import Final, Protocol

PATIENCE: Final = 20  # a step may take this many times what it was expected to take ...
SHORTEST: Final = 120.0  # ... and never less than this: other machines were seven times slower


class StepError(Exception):
    """A step did not reach its goal; the text is one line for the user."""


@dataclass(frozen=True)
class Step:
    """One thing to be true, how to see it and how to make it true.

    `done` must be cheap and must not raise; `seconds` is what a fast machine takes.
    """

    name: str
    done: Callable[[], bool]
    do: Callable[[], None]
    seconds: float = 1.0


class Progress(Protocol):
    """Where work in progress is shown."""

    def start(self, name: str, expected_seconds: float) -> None: ...

    def note(self, text: str) -> None:
        """A word about the started work; called as often as there is one."""
        ...

    def done(self, *, changed: bool = True) -> None:
        """The started work has ended; without a change it was there already."""
        ...


def run(steps: Sequence[Step], progress: Progress) -> None:
    """Make every step true, in order.

    Raises StepError when a step's effect is not seen long after its action, and whatever the
    action raises.
    """
    for step in steps:
        _make_true(step, progress)


def _make_true(step: Step, progress: Progress) -> None:
    there = step.done()
    progress.start(step.name, 0 if there else step.seconds)
    if there:
        progress.done(changed=False)
        return
    begun = time.monotonic()
    step.do()
    patience = max(SHORTEST, PATIENCE * step.seconds)
    while not step.done():
        waited = time.monotonic() - begun
        if waited > patience:
            raise StepError(f"{step.name}: not so after {waited:.0f} s; see the logs")
        progress.note(f"waiting for it, {waited:.0f} s so far")
        time.sleep(0.05)
    progress.done()


def together(name: str, sequences: Sequence[Sequence[Step]]) -> Step:
    """One step of several sequences that do not depend on each other, run side by side."""

    def done() -> bool:
        return all(step.done() for sequence in sequences for step in sequence)

    def do() -> None:
        aside = CancellableProgress(Event())
        with ThreadPoolExecutor(len(sequences) or 1) as pool:
            running = [pool.submit(run, sequence, aside) for sequence in sequences]
            try:
                for future in as_completed(running):
                    future.result()
            except BaseException:
                aside.given_up.set()
                raise

    return Step(name, done, do, sum(step.seconds for sequence in sequences for step in sequence))


@dataclass(frozen=True)
class CancellableProgress:
    """The progress of work beside other work: it ends when that fails, or on Ctrl-C.

    Shown where `shown` says, if anywhere.
    """

    given_up: Event
    shown: Progress | None = None

    def start(self, name: str, expected_seconds: float) -> None:
        self._look(name)
        if self.shown:
            self.shown.start(name, expected_seconds)

    def note(self, text: str) -> None:
        self._look(text)
        if self.shown:
            self.shown.note(text)

    def done(self, *, changed: bool = True) -> None:
        if self.shown:
            self.shown.done(changed=changed)

    def _look(self, what: str) -> None:
        if self.given_up.is_set():
            raise StepError(f"given up: {what}")
