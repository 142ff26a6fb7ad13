"""`make load`: run the whole suite three times, next to a busy loop per processor.

A slow machine finds what a quiet one does not: this found a crash that 1,290 quiet tests had not.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Generator
from typing import Final

RUNS: Final = 3
BUSY: Final = ("setpriv", "--pdeathsig", "KILL", sys.executable, "-S", "-c", "while True: pass")


def main() -> int:
    """Run the suite three times, failures or not; return 1 if a run failed."""
    codes: list[int] = []
    with busy_loops(os.cpu_count() or 1):
        for run in range(1, RUNS + 1):
            begun = time.monotonic()
            suite = [sys.executable, "-m", "openeni_testing.suite", *sys.argv[1:]]
            codes.append(subprocess.run(suite, check=False).returncode)
            minutes = (time.monotonic() - begun) / 60
            print(f"run {run} of {RUNS}: exit {codes[-1]} after {minutes:.0f} min", flush=True)
    return int(any(codes))


@contextlib.contextmanager
def busy_loops(count: int) -> Generator[None]:
    """Keep processors busy during the block."""
    loops = [subprocess.Popen(BUSY) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait(10)


if __name__ == "__main__":
    sys.exit(main())
