"""Wait with a deadline, for a condition or the end of a process: the only ways of the suite.

And repeat something meanwhile.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

T = TypeVar("T")
_FIRST_PAUSE: Final = 0.005  # seconds; it doubles, since most of what is waited for comes soon
_LONGEST_PAUSE: Final = 0.1
# A check costs the processor's time that what is waited for needs: it gets a fifth of the time.
_PAUSE_PER_CHECK: Final = 4.0
_LONGEST_COSTLY_PAUSE: Final = 2.0


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 100) -> T:
    """Return the first truthy value of `condition`, which is checked at growing intervals.

    An AssertionError raised by `condition` counts as "not yet" and its text ends up in the
    failure, so that a condition can be written as plain asserts. So does a KeyError: of an object
    whose status is not written yet.
    """
    deadline = time.monotonic() + seconds
    last, pause = "", _FIRST_PAUSE
    while True:
        begun = time.monotonic()
        try:
            value = condition()
        except (AssertionError, KeyError) as error:
            value, last = None, f": {error!r}"
        if value:
            return value
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}{last}")
        time.sleep(max(pause, min(_PAUSE_PER_CHECK * (now - begun), _LONGEST_COSTLY_PAUSE)))
        pause = min(2 * pause, _LONGEST_PAUSE)


def reap(process: "subprocess.Popen[Any]", seconds: float) -> None:
    """Wait for a process that is about to end, and kill it if it has not after so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(seconds)


@contextmanager
def repeating(work: Callable[[], object], pause: float = 0.0) -> Generator[None]:
    """Call `work` on a thread during the block, each time after a pause in seconds."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(pause):
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
