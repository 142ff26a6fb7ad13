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
