"""Wait for a condition with a deadline: the suite's only way to wait."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
_FIRST_PAUSE: Final = 0.005  # seconds; it doubles, since most of what is waited for comes soon
_LONGEST_PAUSE: Final = 0.1


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 60) -> T:
    """Return the first truthy value of `condition`, which is checked at growing intervals.

    An AssertionError raised by `condition` counts as "not yet" and its text ends up in the
    failure, so that a condition can be written as plain asserts.
    """
    deadline = time.monotonic() + seconds
    last, pause = "", _FIRST_PAUSE
    while True:
        try:
            value = condition()
        except AssertionError as error:
            value, last = None, f": {error}"
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}{last}")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
