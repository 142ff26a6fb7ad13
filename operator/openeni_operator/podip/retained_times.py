"""Tell for how long addresses have been retained, by this process's own clock.

The wall clock of the operator's node may be wrong for a moment, and what ends then is lost. It
counts for what was retained before the process has first looked.
"""

from collections.abc import Callable
from typing import TypeAlias

from openeni_crds.conditions import Type, find, is_true
from openeni_crds.meta import parse_time
from openeni_crds.podip import PodIP

_Period: TypeAlias = tuple[str, str]  # the PodIP's UID, and since when it says so; "": it does not


class RetainedTimes:
    """Thread-safe as long as one thread at a time asks about a PodIP."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock  # monotonic
        self._begun: dict[str, tuple[_Period, float]] = {}  # by key

    def of(self, podip: PodIP, now: str) -> float | None:
        """Return the seconds since the condition Retained is True; None while it is not."""
        retained = find(podip.status.conditions, Type.RETAINED)
        since = ""
        if retained is not None and is_true((retained,), Type.RETAINED):
            since = retained.last_transition_time
        period, clock = (podip.metadata.uid, since), self._clock()
        known = self._begun.get(podip.key)
        if known is None or known[0] != period:
            before = _seconds_between(since, now) if since and known is None else 0.0
            known = self._begun[podip.key] = period, clock - before
        return clock - known[1] if since else None

    def forget(self, key: str) -> None:
        """Forget a PodIP that is gone."""
        self._begun.pop(key, None)


def _seconds_between(since: str, now: str) -> float:
    return max(0.0, (parse_time(now) - parse_time(since)).total_seconds())
