"""The agent's two clocks: one for how long, one for people."""

import time
from datetime import UTC, datetime


def boot_seconds() -> float:
    """Seconds since boot, sleep included: runs on over agent restarts and wall-clock jumps.

    Python has time.CLOCK_BOOTTIME since 3.7; clock_gettime(2) has it since Linux 2.6.39.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now_text() -> str:
    """RFC 3339 in UTC with whole seconds, as metav1.Time prints it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
