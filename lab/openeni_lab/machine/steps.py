"""Steps bring something up one after the other; an interrupted `up` continues where it stopped.

Each step checks before it acts and leaves alone what is already there. A step is complete when its
effect can be observed, not when its action returns.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event
from typing import Final, Protocol

from openeni_lab.invocation import command

TIMEOUT_FACTOR: Final = 20  # a step fails after this many times its expected duration ...
SHORTEST_TIMEOUT: Final = 120.0  # ... but not before: some machines are seven times slower


class StepError(Exception):
    """A step failed. The text is one line for the user."""


@dataclass(frozen=True)
class Step:
    """A desired state: how to observe it and how to reach it.

    `done` must be cheap. It returns False while the state is not reached, and raises StepError only
    when it cannot be reached any more (`service.watch`: the program has ended). `seconds` is the
    expected duration on a fast machine. `hindrance` says what it still waits for, "" if unknown.
    """

    name: str
    done: Callable[[], bool]
    do: Callable[[], None]
    seconds: float = 1.0
    hindrance: Callable[[], str] = str


class Progress(Protocol):
    """A display of the work in progress."""

    def start(self, name: str, expected_seconds: float) -> None: ...

    def note(self, text: str) -> None:
        """Show what the current work is doing; may be called many times a second."""
        ...

    def done(self, *, changed: bool = True) -> None:
        """End the current work. `changed` is False if nothing had to be done."""
        ...


def run(steps: Sequence[Step], progress: Progress) -> None:
    """Complete every step, in order.

    Raises StepError when a step does not complete in time or can no longer complete, and whatever
    its action raises.
    """
    for step in steps:
        _complete(step, progress)


def _complete(step: Step, progress: Progress) -> None:
    already = step.done()
    progress.start(step.name, 0 if already else step.seconds)
    if already:
        progress.done(changed=False)
        return
    begun = time.monotonic()
    step.do()
    timeout = max(SHORTEST_TIMEOUT, TIMEOUT_FACTOR * step.seconds)
    while not step.done():
        waited = time.monotonic() - begun
        if waited > timeout:
            why = step.hindrance() or f"see `{command('logs')}`"
            raise StepError(f"{step.name}: did not finish within {timeout:.0f} s; {why}")
        progress.note(f"still waiting ({waited:.0f} s)")
        time.sleep(0.05)
    progress.done()


def together(name: str, sequences: Sequence[Sequence[Step]]) -> Step:
    """Return one step that runs independent sequences of steps in parallel."""

    def done() -> bool:
        return all(step.done() for sequence in sequences for step in sequence)

    def do() -> None:
        progress = CancellableProgress(Event())
        with ThreadPoolExecutor(len(sequences) or 1) as pool:
            running = [pool.submit(run, sequence, progress) for sequence in sequences]
            try:
                for future in as_completed(running):
                    future.result()
            except BaseException:
                progress.cancelled.set()
                raise

    return Step(name, done, do, sum(step.seconds for sequence in sequences for step in sequence))


@dataclass(frozen=True)
class CancellableProgress:
    """A progress that cancels its work: once `cancelled` is set, the next report raises StepError.

    Work that runs in parallel with other work stops in this way when the other fails, or on
    Ctrl-C. Reports are passed on to `display`, if there is one.
    """

    cancelled: Event
    display: Progress | None = None

    def start(self, name: str, expected_seconds: float) -> None:
        self._refuse_cancelled(name)
        if self.display:
            self.display.start(name, expected_seconds)

    def note(self, text: str) -> None:
        self._refuse_cancelled(text)
        if self.display:
            self.display.note(text)

    def done(self, *, changed: bool = True) -> None:
        if self.display:
            self.display.done(changed=changed)

    def _refuse_cancelled(self, what: str) -> None:
        if self.cancelled.is_set():
            raise StepError(f"cancelled: {what}")
