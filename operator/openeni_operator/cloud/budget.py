"""How many calls a cloud is asked to bear: a token bucket with a real bound on bursts.

Kuryr's pools killed Neutron servers; openstacksdk's own rate limit lets unused time pile up without
bound. Pure: the caller holds the lock and the clock.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

SLOWEST: Final = 1 / 16  # of the full rate, after being told to slow down again and again
RECOVERY: Final = 1.05  # each call that goes well brings this much of the rate back


class Sort(Enum):
    """What a call is, as far as budgets and errors go."""

    READ = "read"
    WRITE = "write"
    PLUG = "plug"  # attach, detach


@dataclass
class Bucket:
    """`rate` tokens a second, never more than `burst` at once. Times in seconds."""

    rate: float
    burst: float
    tokens: float = 0.0
    share: float = 1.0  # of the rate, in force
    filled: float | None = None

    def take(self, now: float) -> float:
        """Take a token, owing it if need be; return how long to wait before using it."""
        if self.filled is None:
            self.tokens, self.filled = self.burst, now
        grown = self.tokens + max(0.0, now - self.filled) * self.rate * self.share
        self.tokens, self.filled = min(self.burst, grown) - 1, now
        return max(0.0, -self.tokens / (self.rate * self.share))

    def slow_down(self) -> None:
        """The cloud asked us to: halve the rate."""
        self.share = max(SLOWEST, self.share / 2)

    def went_well(self) -> None:
        self.share = min(1.0, self.share * RECOVERY)
