"""Threads that work a queue off: a bounded number of plain synchronous reconciles at a time."""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final, Generic, TypeVar

from openeni_kube.result import Blocked, Result, Retry
from openeni_kube.workqueue import Backoff, WorkQueue

LOG: Final = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)


class Workers(Generic[K]):
    """Daemon threads that call `reconcile(key)`; its result says when the key is due again.

    `add` may be called by any thread, at any time. An error that a reconcile raises counts as a
    failure and is logged with its traceback; it ends nothing else.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Result],
        *,
        threads: int = 1,
        backoff: Backoff | None = None,
    ) -> None:
        self._reconcile = reconcile
        self._queue: WorkQueue[K] = WorkQueue(backoff or Backoff())
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [
            # daemons: a call in flight cannot be cancelled, and may be cut off at any point
            threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True)
            for n in range(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """Begin nothing new; wait up to `seconds` for what runs."""
        stop_all([self], seconds)

    def add(self, key: K, after: float = 0.0) -> None:
        """Have the key worked on, `after` seconds from now at the latest."""
        with self._changed:
            self._queue.add(key, time.monotonic() + after)
            self._changed.notify()

    def alive(self) -> bool:
        """Return whether every thread still runs."""
        return all(thread.is_alive() for thread in self._threads)

    def ended(self) -> bool:
        """Return whether no thread runs any more."""
        return not any(thread.is_alive() for thread in self._threads)

    def request_stop(self) -> None:
        """Begin nothing new, and do not wait for what runs."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for what runs, until `deadline` on the monotonic clock."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (key := self._next()) is not None:
            result = self._result_of(key)
            with self._changed:
                # spreading load, no secret: any random number will do
                uniform = random.random()  # noqa: S311
                self._queue.finish(key, result, time.monotonic(), uniform)
                self._changed.notify()

    def _next(self) -> K | None:
        with self._changed:
            while not self._stopping:
                key = self._queue.take(time.monotonic())
                if key is not None:
                    self._changed.notify()  # another thread waits for the next due time instead
                    return key
                due = self._queue.next_due()
                self._changed.wait(None if due is None else max(0.0, due - time.monotonic()))
            return None

    def _result_of(self, key: K) -> Result:
        begun = time.monotonic()
        try:
            result = self._reconcile(key)
        except Exception as error:
            LOG.exception("reconcile of %s failed unexpectedly", key, extra={"key": str(key)})
            return Retry(repr(error))
        spent = time.monotonic() - begun
        fields = {"key": str(key), "result": result, "seconds": spent}
        match result:
            case Retry(problem) | Blocked(problem):
                LOG.warning("%s: %s (after %.1f s)", key, problem, spent, extra=fields)
            case _:
                LOG.debug("reconciled %s in %.3f s: %s", key, spent, result, extra=fields)
        return result


def stop_all(several: Collection[Workers[Any]], seconds: float) -> None:
    """Stop several at once: none begins anything new while others finish what runs.

    All of them together have `seconds`, however many there are.
    """
    for workers in several:
        workers.request_stop()
    deadline = time.monotonic() + seconds
    for workers in several:
        workers.join(deadline)
