"""When the node is looked at after a change: once changes have settled, for a part of the time.

Somebody who flushes rules removes them one after the other. A look while that goes on restores the
half of them, slows the rest down, and has to be followed by another.
"""

import contextlib
import time
from collections.abc import Generator
from typing import Final

LOOK_SHARE: Final = 0.2  # of the time, at most, for looks that notifications ask for
LOOK_CREDIT_SECONDS: Final = 5.0  # of the past, whose unused share looks may still take
COALESCE_SECONDS: Final = 0.1  # notifications come in bursts
SETTLE_SECONDS: Final = 0.5  # from a change to a look, at most, however many more have followed


class LookPace:
    """One thread at a time calls `unsettled` and `measured`; any thread may call the rest."""

    def __init__(self) -> None:
        self.took = 0.0  # the last look's length in seconds
        self._spent_until = 0.0  # the time whose share looks have had
        self._changes: tuple[float, float] | None = None  # the first and last since then

    def changed(self) -> float:
        """Note a change by others; return the seconds until the look that it asks for."""
        now = time.monotonic()
        first, _ = self._changes or (now, now)
        self._changes = first, now
        return self.delay()

    def delay(self) -> float:
        """Return the seconds until a look that is asked for now.

        It comes at once, unless looks would get more than their share of the time.
        """
        return max(COALESCE_SECONDS, self._spent_until - time.monotonic())

    def unsettled(self) -> float:
        """Return the seconds for which a look has still to wait; 0: changes have settled."""
        if self._changes is None:
            return 0.0
        first, last = self._changes
        return max(0.0, min(last + COALESCE_SECONDS, first + SETTLE_SECONDS) - time.monotonic())

    @contextlib.contextmanager
    def measured(self) -> Generator[None]:
        """Measure one look, which sees all changes until now."""
        self._changes = None
        begun = time.monotonic()
        try:
            yield
        finally:
            self.took = time.monotonic() - begun
            now, cost = begun + self.took, self.took / LOOK_SHARE
            # Looks for other reasons postpone one after a change by at most twice their cost.
            unspent_since = max(self._spent_until, now - LOOK_CREDIT_SECONDS)
            self._spent_until = min(unspent_since, now + cost) + cost
