"""When PodIPs and ENI statuses may be written: seldom beside CNI calls, never by stale caches.

A write takes as much processor time as an ADD, in the same interpreter.
"""

from collections.abc import Callable
from typing import Final

BEHIND_POLL_SECONDS: Final = 0.5  # between two checks whether the caches still are
BUSY_POLL_SECONDS: Final = 0.1  # between two checks whether CNI calls are at work
MOST_BUSY_SECONDS: Final = 2.0  # for which calls put a write off: a node may always have some


class PublishingPace:
    """The pause of work queues. It keeps nothing from one question to the next."""

    def __init__(self, behind: Callable[[], bool], busy: Callable[[], bool]) -> None:
        """`behind` says whether the caches are that, `busy` whether calls are at work."""
        self._behind = behind
        self._busy = busy

    def pause(self, _: str, overdue: float) -> float:
        """Return for how many seconds a write that is so many seconds overdue is put off."""
        if self._behind():
            return BEHIND_POLL_SECONDS
        return BUSY_POLL_SECONDS if overdue < MOST_BUSY_SECONDS and self._busy() else 0.0
