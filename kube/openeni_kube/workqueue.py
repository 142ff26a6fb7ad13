"""The work queue: keys de-duplicated, one worker for each key, back-off for keys that failed.

A key is *due* at a time, or *running*, or neither. Adding a key that is due keeps the earlier time;
adding one that is running makes it due again as soon as it ends, so that no change is lost and no
key is worked on twice at once. Failures in a row double the key's delay; any other result forgets
them. Each key is due in a *lane*: who takes keys of one lane never waits for those of another.
Pure: the caller holds the lock, the clock and the source of random numbers.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from openeni_kube.result import Blocked, Done, RequeueAfter, Result, Retry

K = TypeVar("K", bound=Hashable)


def one_lane(_: Hashable) -> str:
    """Put every key into the same lane."""
    return ""


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

    def __init__(self, backoff: Backoff, lane_of: Callable[[K], str] = one_lane) -> None:
        """Ask `lane_of` for a key's lane whenever the key is added; it may change between two."""
        self._backoff = backoff
        self._lane_of = lane_of
        self._due: dict[K, tuple[float, str]] = {}  # authoritative; heap entries may be stale
        self._heaps: dict[str, list[tuple[float, int, K]]] = {}
        self._order = count()  # of keys that are due at the same time: the first added is first
        self._running: dict[K, tuple[float, str]] = {}  # when it was due, in which lane
        self._again: dict[K, float] = {}  # added while running
        self._failures: dict[K, int] = {}

    def add(self, key: K, at: float) -> str | None:
        """Make the key due at `at`, or earlier if it was due earlier.

        Return its lane if nothing was due there as early: who waits for the lane has to know.
        """
        lane = self._lane_of(key)
        if key in self._running:
            self._again[key] = min(at, self._again.get(key, at))
            return None
        due = self._due.get(key)
        if due is not None:
            at = min(at, due[0])
        if due == (at, lane):
            return None
        first = self.next_due(lane)
        self._due[key] = at, lane
        heapq.heappush(self._heaps.setdefault(lane, []), (at, next(self._order), key))
        return lane if first is None or at < first else None

    def take(self, now: float, lane: str = "") -> K | None:
        """Return the key that has been due the longest, now running; None when none is due."""
        due = self.next_due(lane)
        if due is None or due > now:
            return None
        at, _, key = heapq.heappop(self._heaps[lane])
        del self._due[key]
        self._running[key] = at, lane
        return key

    def next_due(self, lane: str = "") -> float | None:
        """Return the time at which the next key of the lane is due, None when no key waits."""
        heap = self._heaps.get(lane, [])
        while heap:
            at, _, key = heap[0]
            if self._due.get(key) == (at, lane):
                return at
            heapq.heappop(heap)  # an earlier time or another lane replaced it
        return None

    def load(self, now: float) -> dict[str, tuple[int, float]]:
        """Return, for each lane, how many keys are due, and the age in seconds of its oldest key.

        The age is the time since that key became due. Keys that are running count for it, too: work
        that hangs is seen even if none waits behind it.
        """
        due = Counter(lane for at, lane in self._due.values() if at <= now)
        first: dict[str, float] = {}
        for at, lane in (*self._due.values(), *self._running.values()):
            first[lane] = min(at, first.get(lane, now))
        return {lane: (due[lane], now - at) for lane, at in first.items()}

    def finish(self, key: K, result: Result, now: float, uniform: float) -> str | None:
        """End the run of a key; return what `add` does if it is due again.

        `uniform` is a random number in [0, 1).
        """
        self._running.pop(key, None)
        delay = self._delay(key, result, uniform)
        times = [] if delay is None else [now + delay]
        if key in self._again:
            times.append(self._again.pop(key))
        return self.add(key, min(times)) if times else None

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
