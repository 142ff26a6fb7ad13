"""`make load`: run the whole suite three times, next to a busy loop per processor.

A slow machine finds what a quiet one does not: this found a crash that 1,290 quiet tests had not.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from typing import Final

from openeni_testing import suite

RUNS: Final = 3
# A suite that is interrupted waits for each of its parts.
CLEAN_UP_SECONDS: Final = suite.CLEAN_UP_SECONDS * (len(suite.PARTS) + 1)
BUSY: Final = ("setpriv", "--pdeathsig", "KILL", sys.executable, "-S", "-c", "while True: pass")


def main(command: Sequence[str]) -> int:
    """Run the suite three times, failures or not; return 1 if a run failed."""
    suite.heed_signals()
    try:
        return _run(command)
    except KeyboardInterrupt:
        return suite.INTERRUPTED


def _run(command: Sequence[str]) -> int:
    codes: list[int] = []
    with busy_loops(os.cpu_count() or 1):
        for run in range(1, RUNS + 1):
            begun = time.monotonic()
            process = subprocess.Popen(command)
            with suite.ended(process, CLEAN_UP_SECONDS, signal.SIGTERM):
                codes.append(process.wait())
            minutes = (time.monotonic() - begun) / 60
            print(f"run {run} of {RUNS}: exit {codes[-1]} after {minutes:.0f} min", flush=True)
    return int(any(codes))


@contextlib.contextmanager
def busy_loops(count: int) -> Generator[None]:
    """Keep processors busy during the block; Ctrl-C does not reach the loops."""
    loops = [subprocess.Popen(BUSY, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait(10)


if __name__ == "__main__":
    sys.exit(main([sys.executable, "-m", suite.__name__, *sys.argv[1:]]))
