"""Results of a reconcile: the work queue turns each into the time of the next one.

A value rather than exceptions and return codes, so that a reader of a reconcile sees when its key
is looked at again, and why.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Done:
    """The observed state is the desired state; the next event or the resync looks again."""


@dataclass(frozen=True)
class RequeueAfter:
    """Something else must happen first; look again after so many seconds."""

    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Retry:
    """The reconcile failed and may succeed next time: back off, at least `after` seconds."""

    error: str
    after: float = 0


@dataclass(frozen=True)
class Blocked:
    """Nothing can be done until the object or the cloud changes; the resync looks again."""

    reason: str


Result: TypeAlias = Done | RequeueAfter | Retry | Blocked


def requeue(seconds: float | None) -> Result:
    """Return the result that looks again after so many seconds, or for None at the next event."""
    return Done() if seconds is None else RequeueAfter(seconds)
