"""When PodIPs and ENI statuses may be written: seldom beside CNI calls, and not in an outage.

A write takes as much processor time as an ADD, in the same interpreter, and no pod waits for it.
"""

import time
from collections.abc import Callable
from typing import Final

OUTAGE_POLL_SECONDS: Final = 0.5  # between two checks whether the API server is back
BUSY_POLL_SECONDS: Final = 0.1  # between two checks whether CNI calls are at work
MOST_BUSY_SECONDS: Final = 2.0  # for which calls put writes off: a node may always have some


class PublishingPace:
    """For one work queue, which asks whenever a key is due."""

    def __init__(self, unreachable: Callable[[], bool], busy: Callable[[], bool]) -> None:
        """`unreachable` says whether the API server is away, `busy` whether calls are at work."""
        self._unreachable = unreachable
        self._busy = busy
        self._busy_since = 0.0
        self._asked_at = 0.0

    def pause(self, _: str = "") -> float:
        """Return the seconds for which nothing may be written; 0 if a write may begin."""
        if self._unreachable():
            return OUTAGE_POLL_SECONDS
        now = time.monotonic()
        asked_lately = now - self._asked_at <= 2 * BUSY_POLL_SECONDS
        self._asked_at = now
        if not self._busy():
            self._busy_since = now
            return 0.0
        if not asked_lately:  # what was before is another burst's
            self._busy_since = now
        return BUSY_POLL_SECONDS if now - self._busy_since < MOST_BUSY_SECONDS else 0.0
