"""Which key is worked on next: de-duplicated, one worker a key, back-off for what failed.

Theory of operation. A key is *due* at a time, or *running*, or neither. Adding a key that is due
keeps the earlier time; adding one that is running makes it due again as soon as it ends, so that no
change is lost and no key is worked on twice at once. Failures in a row double the key's pause; any
other outcome forgets them. Pure: the caller holds the lock, the clock and the dice.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from openeni_operator.outcome import Done, Invalid, Outcome, Retry, Wait

K = TypeVar("K", bound=Hashable)

FIRST_PAUSE: Final = 1.0  # seconds; doubled by each failure in a row ...
LONGEST_PAUSE: Final = 60.0  # ... up to this
JITTER: Final = 0.2  # of a pause, either way: many keys that failed at once come back apart


class WorkQueue(Generic[K]):
    """Keys and when they are due. Times are seconds on any clock that never goes back."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._running: set[K] = set()
        self._again: dict[K, float] = {}  # added while running
        self._failures: dict[K, int] = {}

    def add(self, key: K, at: float) -> None:
        """Make the key due at `at`, or earlier if it was due earlier."""
        waiting = self._again if key in self._running else self._due
        waiting[key] = min(at, waiting.get(key, at))

    def take(self, now: float) -> K | None:
        """Return the key that has been due the longest, now running, or None."""
        key = min(self._due, key=self._due.__getitem__, default=None)
        if key is None or self._due[key] > now:
            return None
        del self._due[key]
        self._running.add(key)
        return key

    def next_due(self) -> float | None:
        """When the next key is due, or None when none waits."""
        return min(self._due.values(), default=None)

    def finish(self, key: K, outcome: Outcome, now: float, dice: float) -> None:
        """The key's worker is through. `dice` is a random number in [0, 1)."""
        self._running.discard(key)
        pause = self._pause(key, outcome, dice)
        if pause is not None:
            self.add(key, now + pause)
        if key in self._again:
            self.add(key, self._again.pop(key))

    def _pause(self, key: K, outcome: Outcome, dice: float) -> float | None:
        match outcome:
            case Retry(_, after):
                failures = self._failures.get(key, 0)
                self._failures[key] = failures + 1
                return max(backoff(failures, dice), after)
            case Wait(_, after):
                self._failures.pop(key, None)
                return after
            case Done() | Invalid():
                self._failures.pop(key, None)
                return None


def backoff(failures: int, dice: float) -> float:
    """Seconds to pause after so many failures in a row."""
    pause = min(FIRST_PAUSE * 2.0 ** min(failures, 30), LONGEST_PAUSE)
    return pause * (1 + JITTER * (2 * dice - 1))
