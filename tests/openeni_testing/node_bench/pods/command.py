"""`make bench`: compare ADD and DEL with reference plugins, and with what they take at least.

Measures also how long a damaged node takes to heal, and what the agent uses. veth runs on this
machine's kernel, with a real API server; ipvlan where there is ipvlan, if need be in a kernel of
its own, with an API server in memory. Only figures of one kernel are compared. Arguments are
datapaths, by default all, which also writes docs/benchmarks.md and its plots.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from openeni_kube.client import connect
from openeni_lab.machine.isolation import ending_with_caller
from openeni_lab.node.kernel import run_in_kernel
from openeni_lab.product.workloads import DATAPATHS
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import CNI_PLUGINS
from openeni_testing import suite
from openeni_testing.lab.api_server import ApiServer
from openeni_testing.node_bench.pods import measured, node, report
from openeni_testing.node_bench.pods.agent_image import unpack
from openeni_testing.node_bench.pods.bench_node import NOTHING, NOTHING_OF_MUSL
from openeni_testing.node_bench.pods.measured import Measured
from openeni_testing.node_bench.pods.node import Orders
from openeni_testing.node_bench.process import compile_c, environment
from openeni_testing.node_bench.targets import target_table
from openeni_testing.objects import REPOSITORY, install_crds

REPORT: Final = REPOSITORY / "docs" / "benchmarks.md"
PLOTS: Final = REPOSITORY / "docs" / "plots"
REFERENCES: Final[Mapping[str, str]] = {
    "veth": "ptp",
    "ipvlan-l2": "ipvlan",
    "ipvlan-l3s": "ipvlan",
}
SECONDS: Final = 480.0  # for one datapath


@dataclass(frozen=True)
class Amounts:
    """How often things are measured."""

    turns: int
    bursts: Mapping[int, int]
    damages: int
    pods: int = 250


OWN_KERNEL: Final = Amounts(turns=40, bursts={20: 6, 100: 2}, damages=3)
OTHER_KERNEL: Final = Amounts(turns=16, bursts={20: 3, 100: 1}, damages=1)  # is slow


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark and print its page; return 1 for a wrong argument."""
    if unknown := [a for a in arguments if a not in REFERENCES]:
        print(f"DATAPATHS={' '.join(unknown)}: choose of {' '.join(REFERENCES)}")
        return 1
    suite.heed_signals()
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    try:
        found = [_shown(_measure(name)) for name in arguments or REFERENCES]
    except KeyboardInterrupt:
        return suite.INTERRUPTED
    text = report.page(found, load, processors)
    if not arguments:
        REPORT.write_text(text)
        PLOTS.mkdir(exist_ok=True)
        for name, plot in report.plots(found).items():
            (PLOTS / name).write_text(plot)
    print(text)
    return 0


def _shown(one: Measured) -> Measured:
    """Print what was found of one datapath at once: the next one may fail."""
    print("\n".join(target_table(report.targets_of(one))), flush=True)
    return one


def _measure(name: str) -> Measured:
    """Measure one datapath on a suitable kernel."""
    with tempfile.TemporaryDirectory(prefix="oe-bench-") as made:
        folder = Path(made)
        if name == "veth":
            with _api_server(folder / "api") as kubeconfig:
                return measure_here(folder, name, OWN_KERNEL, kubeconfig)
        argv = _prepared(folder, name, OTHER_KERNEL, "")
        if code := run_in_kernel(argv, environment(), seconds=SECONDS, keep=folder):
            raise RuntimeError(f"the benchmark's process has ended with {code}; see above")
        return measured.decode((folder / node.RESULT).read_bytes())


def measure_here(folder: Path, name: str, amounts: Amounts, kubeconfig: str = "") -> Measured:
    """Measure on this machine's kernel and in its network, where the API server is."""
    fresh = 'mount -t tmpfs -o mode=755 run /run || exit 125; "$@"; exit $?'
    inside = ["sh", "-c", fresh, "sh", *_prepared(folder, name, amounts, kubeconfig)]
    argv = [*ending_with_caller("--mount", "--mount-proc"), *inside]
    subprocess.run(argv, check=True, timeout=SECONDS, env=environment())
    return measured.decode((folder / node.RESULT).read_bytes())


def _prepared(folder: Path, name: str, amounts: Amounts, kubeconfig: str) -> list[str]:
    """Put programs and orders into the folder; return the command of the node's process."""
    for program, compiler in ((NOTHING, ""), (NOTHING_OF_MUSL, "musl-gcc")):
        compile_c("int main(void) { return 0; }", folder / program, compiler)
    orders = Orders(
        name=name,
        image=unpack(folder / "agent"),
        datapath=DATAPATHS[name],
        reference=REFERENCES[name],
        plugins=str(prepared.read([CNI_PLUGINS.name]).built.bin("ptp").parent),
        kubeconfig=kubeconfig,
        turns=amounts.turns,
        bursts=dict(amounts.bursts),
        pods=amounts.pods,
        damages=amounts.damages,
    )
    (folder / node.ORDERS).write_bytes(msgspec.json.encode(orders))
    return [sys.executable, "-m", node.__name__, str(folder)]


@contextmanager
def _api_server(folder: Path) -> Generator[str]:
    """Run an API server with the CRDs during the block; yield the path of its kubeconfig."""
    folder.mkdir()
    server = ApiServer.start(folder)
    try:
        install_crds(connect(agent="openeni-bench", kubeconfig=str(server.kubeconfig)))
        yield str(server.kubeconfig)
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
