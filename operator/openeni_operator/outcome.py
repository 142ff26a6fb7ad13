"""What a reconcile answers: four words that the work queue turns into "when again".

A value instead of exceptions and return codes, so that whoever reads a reconcile sees when its key
is looked at again, and why.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Done:
    """The world is as wanted; the next event or the slow resync looks again."""


@dataclass(frozen=True)
class Wait:
    """Something else must happen first; look again after so many seconds."""

    reason: str
    after: float


@dataclass(frozen=True)
class Retry:
    """It went wrong and may go right next time: the queue backs off, at least `after` seconds."""

    error: str
    after: float = 0


@dataclass(frozen=True)
class Invalid:
    """Nothing to do until somebody changes the object or the cloud; the resync looks again."""

    reason: str


Outcome: TypeAlias = Done | Wait | Retry | Invalid


def sooner(first: Outcome, second: Outcome) -> Outcome:
    """Return the outcome that asks to be looked at again the sooner."""
    return min(first, second, key=_urgency)


def _urgency(outcome: Outcome) -> tuple[int, float]:
    match outcome:
        case Retry(_, after):
            return 0, after
        case Wait(_, after):
            return 1, after
        case Invalid():
            return 2, 0
        case Done():
            return 3, 0
