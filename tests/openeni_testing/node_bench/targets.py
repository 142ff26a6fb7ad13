"""Compare figures with targets, and show both. Pure.

The figure itself is compared, not its interval: a wide interval is no excuse. Only where something
shall stay as fast as it was, the interval decides: it is slower if all of it lies beyond a ratio of
1, give or take one per cent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from openeni_testing.markdown import table
from openeni_testing.node_bench.estimates import Estimate

ALIKE: Final = 0.01  # the bench's own noise, where an interval is narrow


class Bound(StrEnum):
    AT_MOST = "at most"
    AT_LEAST = "at least"
    NO_MORE = "no more"  # of a time, by its interval
    NO_LESS = "no less"  # of a rate, by its interval


@dataclass(frozen=True)
class Target:
    """What a figure shall be; without a bound it is shown alone."""

    what: str
    of: str  # the datapath that was measured
    found: Estimate
    bound: Bound | None = None
    limit: float = 1.0
    unit: str = "x"

    @property
    def is_met(self) -> bool:
        match self.bound:
            case Bound.AT_MOST:
                return self.found.value <= self.limit
            case Bound.AT_LEAST:
                return self.found.value >= self.limit
            case Bound.NO_MORE:
                return self.found.low <= 1 + ALIKE
            case Bound.NO_LESS:
                return self.found.high >= 1 - ALIKE
            case None:
                return True

    @property
    def wanted(self) -> str:
        if self.bound is None:
            return ""
        if self.bound in {Bound.NO_MORE, Bound.NO_LESS}:
            return str(self.bound)
        return f"{self.bound} {self.limit:g} {self.unit}"

    @property
    def verdict(self) -> str:
        """Return "met" or "missed", "" without a bound."""
        if self.bound is None:
            return ""
        return "met" if self.is_met else "**missed**"


def shown(found: Estimate, unit: str = "x") -> str:
    """Return a figure with its interval, unless that is the figure itself when rounded."""
    digits = 2 if abs(found.value) < 10 else 0 if abs(found.value) >= 1000 else 1
    value, low, high = (f"{n:.{digits}f}" for n in (found.value, found.low, found.high))
    interval = "" if low == value == high else f" ({low} to {high})"
    return f"{value} {unit}".rstrip() + interval


def machine_line(load: float, processors: int) -> str:
    """Say how busy the machine was before: the less, the more its figures are worth."""
    return f"When this began, the load of the machine was {load:.1f} on {processors} processors."


def target_table(targets: Iterable[Target]) -> list[str]:
    """Return the targets as a table in Markdown."""
    rows = [[t.what, t.of, shown(t.found, t.unit), t.wanted, t.verdict] for t in targets]
    return table(("", "datapath", "found (95 %)", "target", ""), rows)
