"""`make bench-datapath`: compare how fast packets are with reference plugins and with a host.

On this machine's kernel by the clock, and in an emulator, with all modes, by its instructions. Only
figures of one kernel are compared. Writes docs/benchmarks-datapath.md and its plots.
"""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from openeni_lab.node.kernel import run_emulated, run_in_kernel
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import CNI_PLUGINS, EMULATOR
from openeni_testing import suite
from openeni_testing.node_bench.datapath import measured, node, report, traffic
from openeni_testing.node_bench.datapath.measured import Measured
from openeni_testing.node_bench.datapath.node import Orders
from openeni_testing.node_bench.process import environment
from openeni_testing.objects import REPOSITORY

REPORT: Final = REPOSITORY / "docs" / "benchmarks-datapath.md"
PLOTS: Final = REPOSITORY / "docs" / "plots"
MODES: Final = ("veth", "ipvlan-l2", "ipvlan-l3s", "ipvlan-l3")
SECONDS: Final = 3600.0  # for one kernel: an emulator takes a third of that


@dataclass(frozen=True)
class Amounts:
    """How often things are measured, and how long."""

    turns: int = 20
    seconds: float = 0.1  # of one sample
    pods: int = 250  # of a crowd


COUNTED: Final = Amounts(turns=3, seconds=0.05)  # instructions are exact, so few samples do


def main() -> int:
    """Run the benchmark, print its page and write it."""
    suite.heed_signals()
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    here = MODES if prepared.read([EMULATOR.name]).machine.ipvlan else ("veth",)
    try:
        counted = _measure(MODES, COUNTED, emulated=True)  # first: it needs more of the machine
        found = [_measure(here, Amounts(), emulated=False), counted]
    except KeyboardInterrupt:
        return suite.INTERRUPTED
    text = report.page(found, load, processors)
    REPORT.write_text(text)
    PLOTS.mkdir(exist_ok=True)
    for name, plot in report.plots(found).items():
        (PLOTS / name).write_text(plot)
    print(text)
    return 0


def _measure(modes: tuple[str, ...], amounts: Amounts, *, emulated: bool) -> Measured:
    with tempfile.TemporaryDirectory(prefix="oe-bench-") as made:
        return measure(Path(made), modes, amounts, emulated=emulated)


def measure(folder: Path, modes: tuple[str, ...], amounts: Amounts, *, emulated: bool) -> Measured:
    """Measure these modes on this machine's kernel, or on the emulated one."""
    orders = Orders(
        program=str(traffic.build(folder)),
        plugins=str(prepared.read([CNI_PLUGINS.name]).built.bin("ptp").parent),
        modes=modes,
        references=tuple(name for mode in modes for name in report.REFERENCES[mode]),
        turns=amounts.turns,
        seconds=amounts.seconds,
        pods=amounts.pods,
        counted=emulated,
    )
    (folder / node.ORDERS).write_bytes(msgspec.json.encode(orders))
    argv = [sys.executable, "-m", node.__name__, str(folder)]
    if emulated:
        code = run_emulated(argv, environment(), seconds=SECONDS, keep=folder)
    else:
        code = run_in_kernel(argv, environment(), seconds=SECONDS, own_kernel=True)
    if code:
        raise RuntimeError(f"the benchmark's process has ended with {code}; see above")
    return measured.decode((folder / node.RESULT).read_bytes())


if __name__ == "__main__":
    sys.exit(main())
