"""`make bench-operator`: measure the whole operator in clusters of several sizes.

The operator's own process, on a real API server and etcd, with simulated agents and a fake
OpenStack that answers after CALL_SECONDS. Arguments are numbers of nodes, by default SIZES, which
also write docs/benchmarks-operator.md.
"""

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from openeni_testing import suite
from openeni_testing.objects import REPOSITORY
from openeni_testing.operator_bench import phases
from openeni_testing.operator_bench.report import page

SIZES: Final = (100, 300, 1000)
REPORT: Final = REPOSITORY / "docs" / "benchmarks-operator.md"


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark and print its page; return 1 for a wrong argument."""
    if not all(a.isdigit() and int(a) for a in arguments):
        print("SIZES are numbers of nodes, such as SIZES='100 300'")
        return 1
    suite.heed_signals()
    try:
        return _run(tuple(int(a) for a in arguments) or SIZES)
    except KeyboardInterrupt:
        return suite.INTERRUPTED


def _run(sizes: Sequence[int]) -> int:
    durations = phases.Durations()
    begun = time.monotonic()

    def log(nodes: int, text: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {nodes} nodes: {text}", flush=True)

    measured = [phases.measure(n, durations, partial(log, n)) for n in sizes]
    text = page(measured, durations, os.cpu_count() or 1)
    if sizes == SIZES:
        REPORT.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
