"""`make bench-datapath`: compare how fast packets are with reference plugins and with a host.

veth is measured on this machine's kernel, and with all modes of ipvlan once more where there is
ipvlan, if need be in a kernel of its own. Only figures of one kernel are compared. Writes
docs/benchmarks-datapath.md and its plots.
"""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from openeni_lab.node.kernel import run_in_kernel
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import CNI_PLUGINS
from openeni_testing import suite
from openeni_testing.node_bench.datapath import measured, node, report, traffic
from openeni_testing.node_bench.datapath.measured import Measured
from openeni_testing.node_bench.datapath.node import Orders
from openeni_testing.node_bench.process import environment
from openeni_testing.objects import REPOSITORY

REPORT: Final = REPOSITORY / "docs" / "benchmarks-datapath.md"
PLOTS: Final = REPOSITORY / "docs" / "plots"
MODES: Final = ("veth", "ipvlan-l2", "ipvlan-l3s", "ipvlan-l3")
SECONDS: Final = 1200.0  # for one kernel


@dataclass(frozen=True)
class Amounts:
    """How often things are measured, and how long."""

    turns: int = 20
    seconds: float = 0.1  # of one sample
    pods: int = 250  # of a crowd


def main() -> int:
    """Run the benchmark, print its page and write it."""
    suite.heed_signals()
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    has_ipvlan = prepared.read(()).machine.ipvlan
    try:
        found = [] if has_ipvlan else [_measure(("veth",), own_kernel=True)]
        found.append(_measure(MODES, own_kernel=has_ipvlan))
    except KeyboardInterrupt:
        return suite.INTERRUPTED
    text = report.page(found, load, processors)
    REPORT.write_text(text)
    PLOTS.mkdir(exist_ok=True)
    for name, plot in report.plots(found).items():
        (PLOTS / name).write_text(plot)
    print(text)
    return 0


def _measure(modes: tuple[str, ...], *, own_kernel: bool) -> Measured:
    with tempfile.TemporaryDirectory(prefix="oe-bench-") as made:
        return measure(Path(made), modes, Amounts(), own_kernel=own_kernel)


def measure(
    folder: Path, modes: tuple[str, ...], amounts: Amounts, *, own_kernel: bool
) -> Measured:
    """Measure these modes on one kernel."""
    orders = Orders(
        program=str(traffic.build(folder)),
        plugins=str(prepared.read([CNI_PLUGINS.name]).built.bin("ptp").parent),
        modes=modes,
        references=tuple(name for mode in modes for name in report.REFERENCES[mode]),
        turns=amounts.turns,
        seconds=amounts.seconds,
        pods=amounts.pods,
    )
    (folder / node.ORDERS).write_bytes(msgspec.json.encode(orders))
    argv = [sys.executable, "-m", node.__name__, str(folder)]
    if code := run_in_kernel(
        argv, environment(), seconds=SECONDS, own_kernel=own_kernel, keep=folder
    ):
        raise RuntimeError(f"the benchmark's process has ended with {code}; see above")
    return measured.decode((folder / node.RESULT).read_bytes())


if __name__ == "__main__":
    sys.exit(main())
