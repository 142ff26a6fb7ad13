"""The product's two clocks: seconds since boot for durations, wall-clock time for the API."""

import time
from datetime import UTC, datetime, timedelta

from openeni_kube.wire import format_time


def boot_seconds() -> float:
    """Return seconds since boot, those while the machine was suspended included.

    Restarts of the program and jumps of the wall clock do not matter. Python has
    time.CLOCK_BOOTTIME since 3.7; clock_gettime(2) has it since Linux 2.6.39.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now_text() -> str:
    """Return the time as RFC 3339 in UTC with whole seconds, as metav1.Time prints it."""
    return format_time(datetime.now(UTC))


def timestamp(seconds: float = 0.0) -> str:
    """Return the time in so many seconds as RFC 3339 in UTC with milliseconds, for logs."""
    time_ = datetime.now(UTC) + timedelta(seconds=seconds)
    return time_.isoformat(timespec="milliseconds").replace("+00:00", "Z")
