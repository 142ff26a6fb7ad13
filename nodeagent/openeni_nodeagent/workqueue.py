"""Keys to be worked on: each once, not before its time, later and later while it fails."""

import heapq
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

FIRST_DELAY: Final = 0.25  # seconds
LONGEST_DELAY: Final = 30.0
_log: Final = logging.getLogger(__name__)


class RetryError(Exception):
    """This key could not be done; the text says why, for the log."""


class WorkQueue:
    """One daemon thread that calls `work(key)`.

    `add` from any thread; a key that is added while it is worked on is worked on again. `work`
    returns after how many seconds it wants to look again, or None, and raises RetryError when it
    failed; any other error counts as failure too and is logged with its traceback.
    """

    def __init__(self, name: str, work: Callable[[str], float | None]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._due: dict[str, float] = {}  # the truth; the heap may hold older entries
        self._heap: list[tuple[float, str]] = []
        self._failures: dict[str, int] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Begin nothing new, and wait so long for what runs."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def add(self, key: str, after: float = 0.0) -> None:
        """Work on `key` in `after` seconds, or sooner if that was asked for already."""
        due = time.monotonic() + after
        with self._changed:
            if key in self._due and self._due[key] <= due:
                return
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            if self._heap[0] == (due, key):
                self._changed.notify_all()

    def _run(self) -> None:
        while (key := self._take()) is not None:
            try:
                again = self._work(key)
                self._failures.pop(key, None)
            except RetryError as error:
                again = self._failed(key)
                _log.warning("%s: %s; again in %.1f s", key, error, again)
            except Exception:  # noqa: BLE001 - logged, and the key is tried again
                again = self._failed(key)
                _log.exception("%s failed; again in %.1f s", key, again)
            if again is not None:
                self.add(key, again)

    def _failed(self, key: str) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(FIRST_DELAY * 2.0 ** min(failures, 10), LONGEST_DELAY)

    def _take(self) -> str | None:
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                if self._heap and self._heap[0][0] <= now:
                    due, key = heapq.heappop(self._heap)
                    if self._due.get(key) == due:
                        del self._due[key]
                        return key
                else:
                    self._changed.wait(self._heap[0][0] - now if self._heap else None)
        return None
