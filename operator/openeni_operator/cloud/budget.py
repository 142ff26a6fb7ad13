"""A token bucket that bounds the rate of calls to a cloud, bursts included.

Kuryr's port pools overloaded Neutron servers, and openstacksdk's own rate limit lets unused time
accumulate without bound. Pure: the caller holds the lock and the clock.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

MIN_RATE_FACTOR: Final = 1 / 16  # after repeated throttling
RECOVERY: Final = 1.05  # each successful call multiplies the rate by this, up to the full rate


class CallType(Enum):
    """The kind of a call; it selects the budget and decides what a missing response means."""

    READ = "read"
    WRITE = "write"
    ATTACH = "attach"  # Nova's attach and detach


@dataclass
class TokenBucket:
    """`rate` tokens a second, never more than `burst` at once. Times are in seconds."""

    rate: float
    burst: float
    tokens: float = 0.0
    rate_factor: float = 1.0  # lowered by throttling
    filled_at: float | None = None

    def reserve(self, now: float) -> float:
        """Take a token, in advance if there is none; return the seconds to wait before using it."""
        wait = self.wait_for(1, now)
        self.tokens -= 1
        return wait

    def wait_for(self, tokens: float, now: float) -> float:
        """Return the seconds until there are so many tokens."""
        if self.filled_at is None:
            self.tokens, self.filled_at = self.burst, now
        speed = self.rate * self.rate_factor
        grown = self.tokens + max(0.0, now - self.filled_at) * speed
        self.tokens, self.filled_at = min(self.burst, grown), now
        return max(0.0, (tokens - self.tokens) / speed)

    def slow_down(self) -> None:
        """Halve the rate after the cloud has throttled a call."""
        self.rate_factor = max(MIN_RATE_FACTOR, self.rate_factor / 2)

    def speed_up(self) -> None:
        """Recover part of the rate after a successful call."""
        self.rate_factor = min(1.0, self.rate_factor * RECOVERY)
