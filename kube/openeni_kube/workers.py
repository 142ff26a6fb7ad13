"""Threads that work a queue off: a bounded number of plain synchronous reconciles at a time."""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final, Generic, TypeVar

from openeni_kube.problem_log import ProblemLog
from openeni_kube.result import Blocked, Result, Retry
from openeni_kube.workqueue import Backoff, WorkQueue, one_lane

LOG: Final = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)


def no_pause(_lane: str, _overdue: float) -> float:
    """Return 0 s: the lane begins its keys as soon as they are due."""
    return 0.0


class Workers(Generic[K]):
    """Daemon threads that call `reconcile(key)`; its result says when the key is due again.

    `add` may be called by any thread, at any time. An error that a reconcile raises counts as a
    failure, with its traceback in the log; it ends nothing else. `ProblemLog` decides which
    failures are logged as WARNING or ERROR; every result is logged at DEBUG.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Result],
        *,
        threads: int = 1,
        backoff: Backoff | None = None,
        lane_of: Callable[[K], str] = one_lane,
        pause_of: Callable[[str, float], float] = no_pause,
        observe: Callable[[K, Result, float], None] = lambda _key, _result, _seconds: None,
    ) -> None:
        """Give each lane that `lane_of` names `threads` of its own, from its first key on.

        `pause_of` returns the seconds for which a lane may begin nothing; it is told by how many
        seconds the lane's first key is overdue. `observe` is called with the result of each
        reconcile and the seconds that it took.
        """
        self._observe = observe
        self._name = name
        self._reconcile = reconcile
        self._threads_each = threads
        self._pause_of = pause_of
        self._queue: WorkQueue[K] = WorkQueue(backoff or Backoff(), lane_of)
        self._problems: ProblemLog[K] = ProblemLog()
        self._lock = threading.Lock()
        # Each is notified when its due keys change; the first is there before its first key.
        self._lanes = {"": threading.Condition(self._lock)}
        # Until when one thread of a lane waits for its next due key: the others need no time-out.
        self._watched: dict[str, float] = {}
        self._threads: list[threading.Thread] = []
        self._begun: dict[K, float] = {}  # what runs, since when
        self._started = False
        self._stopping = False

    def start(self) -> None:
        """Begin; a key that was added before is taken up, too."""
        with self._lock:
            self._started = True
            for lane in self._lanes:
                self._start_threads(lane)

    def stop(self, seconds: float) -> None:
        """Begin nothing new; wait up to `seconds` for what runs."""
        stop_all([self], seconds)

    def add(self, key: K, after: float = 0.0) -> None:
        """Have the key worked on, `after` seconds from now at the latest."""
        with self._lock:
            lane = self._queue.add(key, time.monotonic() + after)
            if lane is not None:
                self._notify(lane)

    def alive(self) -> bool:
        """Return whether every thread still runs."""
        with self._lock:
            return self._started and all(thread.is_alive() for thread in self._threads)

    def longest(self) -> float:
        """Return the seconds for which the oldest of what runs has been running; 0: nothing is."""
        with self._lock:
            oldest = min(self._begun.values(), default=None)
            return 0.0 if oldest is None else time.monotonic() - oldest

    def ended(self) -> bool:
        """Return whether no thread runs any more."""
        with self._lock:
            return not any(thread.is_alive() for thread in self._threads)

    def load(self) -> dict[str, tuple[int, float]]:
        """Return the load of each lane, as of `WorkQueue.load`."""
        with self._lock:
            load = self._queue.load(time.monotonic())
            return {lane: load.get(lane, (0, 0.0)) for lane in self._lanes}

    def stopping(self) -> bool:
        """Return True once nothing new begins: a long reconcile may then end early."""
        with self._lock:
            return self._stopping

    def request_stop(self) -> None:
        """Begin nothing new, and do not wait for what runs."""
        with self._lock:
            self._stopping = True
            for changed in self._lanes.values():
                changed.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for what runs, until `deadline` on the monotonic clock."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _notify(self, lane: str) -> None:
        """Wake one of the lane's threads; make the lane if it is new. The caller has the lock."""
        if lane not in self._lanes:
            self._lanes[lane] = threading.Condition(self._lock)
            if self._started and not self._stopping:
                self._start_threads(lane)
        self._lanes[lane].notify()

    def _start_threads(self, lane: str) -> None:
        for n in range(self._threads_each):
            name = "-".join(part for part in (self._name, lane, str(n)) if part)
            # daemons: a call in flight cannot be cancelled, and may be cut off at any point
            thread = threading.Thread(target=self._work, args=(lane,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self, lane: str) -> None:
        while (key := self._next(lane)) is not None:
            result = self._result_of(key)
            with self._lock:
                del self._begun[key]
                # spreading load, no secret: any random number will do
                uniform = random.random()  # noqa: S311
                again = self._queue.finish(key, result, time.monotonic(), uniform)
                if again is not None:
                    self._notify(again)

    def _next(self, lane: str) -> K | None:
        with self._lock:
            changed = self._lanes[lane]
            while not self._stopping:
                now = time.monotonic()
                due = self._queue.next_due(lane)
                if due is None:
                    changed.wait()
                    continue
                wait = due - now if due > now else self._pause_of(lane, now - due)
                if wait <= 0:
                    changed.notify()  # another thread waits for the next due time instead
                    if (key := self._queue.take(now, lane)) is not None:
                        self._begun[key] = now
                    return key
                self._wait(lane, now + wait)
            return None

    def _wait(self, lane: str, until: float) -> None:
        """Wait until that time, or for another thread that does, or a change.

        If all idle threads waited until then, all would wake up for one key.
        """
        changed, watched = self._lanes[lane], self._watched.get(lane)
        if watched is not None and watched <= until:
            changed.wait()
            return
        self._watched[lane] = until
        changed.wait(until - time.monotonic())
        if self._watched.get(lane) == until:
            del self._watched[lane]

    def _result_of(self, key: K) -> Result:
        begun, unexpected = time.monotonic(), None
        try:
            result = self._reconcile(key)
        except Exception as error:  # noqa: BLE001 whatever it is
            unexpected, result = error, Retry(repr(error))
        spent = time.monotonic() - begun
        self._observe(key, result, spent)
        self._log(key, result, spent, unexpected)
        return result

    def _log(self, key: K, result: Result, spent: float, unexpected: Exception | None) -> None:
        fields = {"key": str(key), "seconds": spent}
        message = "reconciled %s in %.3f s: %s"
        LOG.debug(message, key, spent, result, exc_info=unexpected, extra=fields)
        with self._lock:
            now = time.monotonic()
            counts, text = self._problems.take_counts(now), ""
            match result:
                case Retry(problem) | Blocked(problem):
                    text = self._problems.text_for(key, problem, now)
                case _:
                    self._problems.forget(key)
        for line in counts:
            LOG.warning("%s", line)
        if text and unexpected is not None:
            message = "reconcile of %s failed unexpectedly"
            LOG.error(message, key, exc_info=unexpected, extra=fields)
        elif text:
            LOG.warning("%s: %s (after %.1f s)", key, text, spent, extra=fields)


def stop_all(several: Collection[Workers[Any]], seconds: float) -> None:
    """Stop several at once: none begins anything new while others finish what runs.

    All of them together have `seconds`, however many there are.
    """
    for workers in several:
        workers.request_stop()
    deadline = time.monotonic() + seconds
    for workers in several:
        workers.join(deadline)
