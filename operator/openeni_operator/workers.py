"""Threads that work the queue off: a bounded number of plain synchronous reconciles at a time."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from openeni_operator.outcome import Invalid, Outcome, Retry
from openeni_operator.workqueue import WorkQueue

LOG: Final = logging.getLogger(__name__)
GATHER: Final = 0.1  # seconds that events of one key are gathered before it is worked on


@dataclass(frozen=True, order=True)
class Key:
    """What is reconciled: `kind` is a word of this operator, `name` one of its objects."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


Reconcile = Callable[[str], Outcome]


class Workers:
    """Takes keys in, calls their kind's reconcile, and looks again when the outcome says so."""

    def __init__(self, reconcilers: dict[str, Reconcile], count: int) -> None:
        self._reconcilers = reconcilers
        self._queue: WorkQueue[Key] = WorkQueue()
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [
            # daemons: a cloud call cannot be cancelled, and being killed in one is safe
            threading.Thread(target=self._work, name=f"worker-{n}", daemon=True)
            for n in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, grace: float) -> None:
        """Take no more keys; wait up to `grace` seconds for those being worked on."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + grace
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def add(self, keys: Iterable[Key], after: float = GATHER) -> None:
        """Have the keys worked on, `after` seconds from now at the latest."""
        with self._changed:
            at = time.monotonic() + after
            for key in keys:
                self._queue.add(key, at)
            self._changed.notify_all()

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (key := self._next()) is not None:
            outcome = self._reconcile(key)
            with self._changed:
                # spreading load, no secret: any random number will do
                dice = random.random()  # noqa: S311
                self._queue.finish(key, outcome, time.monotonic(), dice)
                self._changed.notify()

    def _next(self) -> Key | None:
        with self._changed:
            while not self._stopping:
                key = self._queue.take(time.monotonic())
                if key is not None:
                    return key
                due = self._queue.next_due()
                self._changed.wait(None if due is None else max(0.0, due - time.monotonic()))
            return None

    def _reconcile(self, key: Key) -> Outcome:
        begun = time.monotonic()
        try:
            outcome = self._reconcilers[key.kind](key.name)
        except Exception as error:
            LOG.exception("reconcile failed unexpectedly", extra={"key": str(key)})
            return Retry(repr(error))
        spent = time.monotonic() - begun
        level = logging.WARNING if isinstance(outcome, Retry | Invalid) else logging.DEBUG
        LOG.log(level, "reconciled", extra={"key": str(key), "outcome": outcome, "seconds": spent})
        return outcome
