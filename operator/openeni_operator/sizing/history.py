"""Remember how the demand of a pool's nodes moved, and how long refills took. Pure: see `now`.

It is lost on a restart and begins at zero: nodes then expect no pods, and give no address back
before they have been watched for as long as the pool says. Its size is bounded by the nodes.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

# All in seconds.
ARRIVALS_WINDOW: Final = 300.0  # over which the rate of arrivals is measured
ARRIVALS_STEP: Final = 10.0
PEAK_STEPS: Final = 8  # into which the time of a peak is divided
MAX_REFILL: Final = 300.0  # longer ones say nothing about the next one
REFILL_SHARE: Final = 0.3  # of the newest refill in the average


@dataclass
class _Steps:
    """Numbers by the time at which they were noted, rounded down to a step; the oldest first."""

    values: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def add(self, at: float, number: int) -> None:
        """Add a number to the sum of its step."""
        before = self.values.pop()[1] if self.values and self.values[-1][0] >= at else 0
        self.values.append((at, before + number))

    def raise_to(self, at: float, number: int) -> None:
        """Raise the number of a step to this one."""
        before = self.values.pop()[1] if self.values and self.values[-1][0] >= at else number
        self.values.append((at, max(before, number)))

    def drop_until(self, time: float) -> None:
        while self.values and self.values[0][0] <= time:
            self.values.popleft()


@dataclass
class NodeHistory:
    """The demand of one node."""

    since: float  # when it was first looked at
    waiting: frozenset[str] = frozenset()  # UIDs of the pods that waited at the last look
    arrivals: _Steps = field(default_factory=_Steps)
    peaks: _Steps = field(default_factory=_Steps)
    level: int = 0  # at the last look

    def note_waiting(self, waiting: frozenset[str], now: float) -> None:
        """Count the pods that were not waiting at the last look."""
        new = len(waiting - self.waiting)
        self.waiting = waiting
        if new:
            self.arrivals.add(now - now % ARRIVALS_STEP, new)

    def expected(self, seconds: float, now: float) -> int:
        """Return how many pods arrive in so many seconds, by the present rate."""
        self.arrivals.drop_until(now - ARRIVALS_WINDOW)
        arrived = sum(count for _, count in self.arrivals.values)
        return math.ceil(arrived / ARRIVALS_WINDOW * min(seconds, MAX_REFILL))

    def seconds_until_quiet(self, now: float) -> float | None:
        """Return the seconds until the last arrivals do not count any more; None: none do."""
        if not self.arrivals.values:
            return None
        at, _ = self.arrivals.values[-1]
        return max(0.0, at + ARRIVALS_WINDOW - now)

    def note_level(self, level: int, now: float, window: float) -> None:
        """Note how many addresses the node should hold now, for `peak`.

        Since the last look it was as many as then.
        """
        step = window / PEAK_STEPS
        self.peaks.raise_to(now - now % step, max(level, self.level))
        self.peaks.drop_until(now - window - step)
        self.level = level

    def peak(self, now: float, window: float) -> int | None:
        """Return the highest level of the last `window` seconds; None if it is not known."""
        if now - self.since < window or not self.peaks.values:
            return None
        return max(level for _, level in self.peaks.values)

    def seconds_until_peak_below(self, level: int, now: float, window: float) -> float:
        """Return the seconds until the peak is below `level`, if the demand stays as it is."""
        high = [at for at, noted in self.peaks.values if noted >= level]
        end = max(high) + window / PEAK_STEPS if high else self.since
        return max(0.0, max(end, self.since) + window - now)


@dataclass
class RefillTimes:
    """How long it took until requested addresses were there; the average of the last ones."""

    average: float = 0.0  # 0 before the first one has ended
    _since: dict[str, float] = field(default_factory=dict[str, float])  # ENI -> of its request

    def note(self, eni: str, now: float, *, lacking: bool) -> None:
        """Note whether the ENI lacks addresses now; if it did before, it has got them."""
        if lacking:
            self._since.setdefault(eni, now)
        elif eni in self._since:
            taken = now - self._since.pop(eni)
            if taken <= MAX_REFILL:
                share = REFILL_SHARE if self.average else 1.0
                self.average += share * (taken - self.average)

    def forget(self, eni: str) -> None:
        """Forget an ENI that is gone: it is no measure."""
        self._since.pop(eni, None)


@dataclass
class PoolHistory:
    """The history of one pool."""

    nodes: dict[str, NodeHistory] = field(default_factory=dict[str, NodeHistory])
    creations: RefillTimes = field(default_factory=RefillTimes)
    additions: RefillTimes = field(default_factory=RefillTimes)
    begun: bool = False  # every node has been looked at once

    def note_waiting(self, node: str, pods: frozenset[str], now: float) -> None:
        """Note the waiting pods of a node; those of the first look may have waited for long."""
        known = self.nodes.get(node)
        if known is None:
            first = frozenset[str]() if self.begun else pods
            known = self.nodes[node] = NodeHistory(now, first)
        known.note_waiting(pods, now)

    def forget_node(self, node: str) -> None:
        """Forget a node that is none of the pool's."""
        self.nodes.pop(node, None)
