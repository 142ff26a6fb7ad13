"""The agent's two clocks: seconds since boot for durations, wall-clock time for statuses."""

import time
from datetime import UTC, datetime


def boot_seconds() -> float:
    """Return seconds since boot, sleep included: agent restarts and clock jumps do not matter.

    Python has time.CLOCK_BOOTTIME since 3.7; clock_gettime(2) has it since Linux 2.6.39.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now_text() -> str:
    """Return the time as RFC 3339 in UTC with whole seconds, as metav1.Time prints it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
