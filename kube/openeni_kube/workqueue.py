"""The work queue: keys de-duplicated, one worker for each key, back-off for keys that failed.

A key is *due* at a time, or *running*, or neither. Adding a key that is due keeps the earlier time;
adding one that is running makes it due again as soon as it ends, so that no change is lost and no
key is worked on twice at once. Failures in a row double the key's delay; any other result forgets
them. Pure: the caller holds the lock, the clock and the source of random numbers.
"""

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from openeni_kube.result import Blocked, Done, RequeueAfter, Result, Retry

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Backoff:
    """Delays after consecutive failures: `base` seconds, doubled by each up to `maximum`.

    `jitter` is the part of a delay by which it varies either way, so that many keys that failed
    at the same time are not retried at the same time.
    """

    base: float = 1.0
    maximum: float = 60.0
    jitter: float = 0.2

    def delay(self, failures: int, uniform: float) -> float:
        """Return the seconds to wait after so many failures; `uniform` is a number in [0, 1)."""
        delay = min(self.base * 2.0 ** min(failures, 30), self.maximum)
        return delay * (1 + self.jitter * (2 * uniform - 1))


class WorkQueue(Generic[K]):
    """Keys and when they are due. Times are seconds on any clock that never goes back."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._due: dict[K, float] = {}  # authoritative; heap entries may be stale
        self._heap: list[tuple[float, int, K]] = []
        self._order = count()  # of keys that are due at the same time: the first added is first
        self._running: set[K] = set()
        self._again: dict[K, float] = {}  # added while running
        self._failures: dict[K, int] = {}

    def add(self, key: K, at: float) -> None:
        """Make the key due at `at`, or earlier if it was due earlier."""
        if key in self._running:
            self._again[key] = min(at, self._again.get(key, at))
        elif key not in self._due or at < self._due[key]:
            self._due[key] = at
            heapq.heappush(self._heap, (at, next(self._order), key))

    def take(self, now: float) -> K | None:
        """Return the key that has been due the longest, now running; None when none is due."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due[key]
        self._running.add(key)
        return key

    def next_due(self) -> float | None:
        """Return the time at which the next key is due, None when no key waits."""
        while self._heap:
            at, _, key = self._heap[0]
            if self._due.get(key) == at:
                return at
            heapq.heappop(self._heap)  # an earlier time replaced it
        return None

    def finish(self, key: K, result: Result, now: float, uniform: float) -> None:
        """End the run of a key; `uniform` is a random number in [0, 1)."""
        self._running.discard(key)
        delay = self._delay(key, result, uniform)
        if delay is not None:
            self.add(key, now + delay)
        if key in self._again:
            self.add(key, self._again.pop(key))

    def _delay(self, key: K, result: Result, uniform: float) -> float | None:
        match result:
            case Retry(_, after):
                failures = self._failures.get(key, 0)
                self._failures[key] = failures + 1
                return max(self._backoff.delay(failures, uniform), after)
            case RequeueAfter(seconds):
                self._failures.pop(key, None)
                return seconds
            case Done() | Blocked():
                self._failures.pop(key, None)
                return None
