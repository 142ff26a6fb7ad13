"""The benchmark's process on one kernel: `python -m openeni_testing.node_bench.pods.node FOLDER`.

Reads its orders from the folder, measures one datapath and writes what it found into the folder.
Its /run is its own. The messages that it prints are for people.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Final

import msgspec

from openeni_crds.enipool import Datapath
from openeni_crds.meta import Json
from openeni_lab.runtime.sandbox import Sandbox, SandboxPod
from openeni_nodeagent.looks.pod_looks import LOOK_PERIOD_SECONDS
from openeni_testing.network.netns import Namespace
from openeni_testing.node_bench.pods import bench_node, healing, turns
from openeni_testing.node_bench.pods.agent_image import AgentRoot
from openeni_testing.node_bench.pods.bench_node import BenchNode
from openeni_testing.node_bench.pods.measured import Bursts, Measured, Turns, Usage, encode
from openeni_testing.node_bench.pods.prepared_messages import PreparedMessages
from openeni_testing.node_bench.pods.turns import Contestants
from openeni_testing.operator_bench.usage import cpu_seconds
from openeni_testing.waiting import wait_for

ORDERS, RESULT = "orders.json", "result.json"
SENTINEL: Final = "sentinel"
SETTLED_SHARE: Final = 0.1  # of a core
IDLE_INTERVALS: Final = 2
OUTAGES: Final = 4  # among which the turns are divided: a machine changes within minutes


class Orders(msgspec.Struct, frozen=True):
    """What to measure, and how often."""

    name: str
    image: AgentRoot
    datapath: Json
    reference: str
    plugins: str  # folder of the reference plugins
    kubeconfig: str  # "": the API server is in memory
    turns: int  # of one pod at a time, in each block
    bursts: dict[int, int]  # how many of each size
    pods: int  # on the full node
    damages: int  # of each kind


@dataclass
class Bench:
    """One datapath on one node."""

    orders: Orders
    node: BenchNode
    prepared: PreparedMessages
    begun: float

    @property
    def contestants(self) -> Contestants:
        return Contestants(
            self.node.openeni, self.node.reference, self.node.nothing, self.node.nothing_of_musl
        )

    @property
    def space(self) -> Namespace:
        return self.node.space

    def measure(self) -> Measured:
        """Measure everything; the blocks that are compared lie around what they are compared to."""
        orders, messages = self.orders, list[float]()
        self.node.wait_for_addresses(orders.turns)
        empty = self._block("empty node", lambda turn: messages.append(self.prepared.send(turn)))
        phases = self._phases(orders.turns)
        bursts = {size: self._bursts(size, count) for size, count in orders.bursts.items()}
        residents = self._fill()
        full = self._block(f"{orders.pods} pods")
        usage = self._usage() if orders.kubeconfig else None
        healing_times = self._heal(residents)
        self._drain(residents)
        down, between = self._outages()
        return Measured(
            datapath=orders.name,
            reference=orders.reference,
            kernel=os.uname().release,
            pods=orders.pods,
            messages=messages,
            empty=empty + between,
            between=between,
            full=full,
            down=down,
            bursts=bursts,
            phases=phases,
            healing=healing_times,
            usage=usage,
        )

    def _outages(self) -> tuple[Turns, Turns]:
        """Return the turns of several outages, and those after each of them."""
        part = max(1, self.orders.turns // OUTAGES)
        down, between = list[Turns](), list[Turns]()
        for _ in range(OUTAGES):
            self.node.wait_for_addresses(part)  # nobody can count them without the API server
            self.node.cluster.set_outage(True)
            down.append(self._block("API server down", count=part))
            self.node.cluster.set_outage(False)
            self._settle()
            self.node.wait_for_addresses(part)
            between.append(self._block("empty node again", count=part))
        return reduce(add, down), reduce(add, between)

    def _block(
        self, name: str, beside: Callable[[int], None] | None = None, count: int = 0
    ) -> Turns:
        """Return pods that are started and stopped one at a time: those after the residents."""
        self._log(name)
        pods = self._pods(self.orders.pods, count or self.orders.turns)
        return self.space.run(turns.one_by_one, self.contestants, pods, beside)

    def _bursts(self, size: int, count: int) -> Bursts:
        self._log(f"{count} bursts of {size}")
        self.node.wait_for_addresses(size * count)
        pods = self._pods(0, size)
        return self.space.run(turns.in_bursts, self.contestants, pods, count)

    def _fill(self) -> list[Sandbox]:
        self._log(f"starting {self.orders.pods} pods")
        self.node.wait_for_addresses(self.orders.pods + self.orders.turns)
        pods = self._pods(0, self.orders.pods)
        started = self.space.run(turns.start_all, self.node.openeni, pods)
        self.node.wait_for_podips(len(started))
        self._settle()
        return started

    def _drain(self, residents: Sequence[Sandbox]) -> None:
        """Stop the pods."""
        self._log("stopping them")
        self.space.run(turns.stop_all, self.node.openeni, residents)
        self.node.wait_for_podips(0)
        self._wait_for_the_end_of_namespaces()
        self._settle()

    def _wait_for_the_end_of_namespaces(self) -> None:
        """Wait until the kernel has removed those of pods that have ended.

        It does so in order (cleanup_net), and a slave that goes with one changes its ENI: the last
        namespace takes its veth along.
        """
        with Namespace("last") as last:
            self.space.ip(f"link add {SENTINEL} type veth peer name eth0 netns {last.thread_id}")
        wait_for(lambda: SENTINEL not in self.space.links(), "the namespaces are gone")

    def _heal(self, pods: Sequence[Sandbox]) -> dict[str, list[float]]:
        self._wait_for_the_end_of_namespaces()
        self._settle()
        time.sleep(healing.FIRST_REST_SECONDS)
        found: dict[str, list[float]] = {}
        number, pods_of_eni = self.node.fullest_eni()
        damaged = healing.DamagedNode(
            self.space,
            self.node.network,
            bench_node.eni_port(number),
            f"ens{number}",
            pods_of_eni,
            [pod.attachment.netns for pod in pods],
            self.node.agent.pid,
        )
        datapath = msgspec.convert(self.orders.datapath, Datapath)
        for name, damage in damaged.damages(datapath).items():
            self._log(f"healing: {name}")
            found[name] = [damaged.seconds_to_heal(damage) for _ in range(self.orders.damages)]
        return found

    def _usage(self) -> Usage:
        """Return what the agent uses while nothing happens."""
        self._log(f"the agent at rest, {(1 + IDLE_INTERVALS) * LOOK_PERIOD_SECONDS:.0f} s")
        self._settle()
        self._share(LOOK_PERIOD_SECONDS)  # with the last look that the start of a pod has caused
        cpu = [self._share(LOOK_PERIOD_SECONDS) for _ in range(IDLE_INTERVALS)]
        folder = Path("/proc", str(self.node.agent.pid))
        rollup = (folder / "smaps_rollup").read_text()
        return Usage(
            resident=_mebibytes(rollup, "Rss:"),
            proportional=_mebibytes(rollup, "Pss:"),
            peak=_mebibytes((folder / "status").read_text(), "VmHWM:"),
            cpu=cpu,
        )

    def _settle(self) -> None:
        """Wait until the agent has hardly anything to do."""
        wait_for(lambda: self._share(1.0) < SETTLED_SHARE, "the agent has settled")

    def _share(self, seconds: float) -> float:
        pid = self.node.agent.pid
        cpu, begun = cpu_seconds([pid]), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds([pid]) - cpu) / (time.monotonic() - begun)

    def _phases(self, last: int) -> dict[str, list[dict[str, float]]]:
        """Return the phases of the agent's last calls."""
        done = subprocess.run(
            [self.node.executable, "phases"], capture_output=True, check=True, timeout=30
        )
        found = msgspec.json.decode(done.stdout, type=dict[str, list[dict[str, float]]])
        return {command: calls[-last:] for command, calls in found.items()}

    def _pods(self, first: int, count: int) -> list[SandboxPod]:
        chosen = self.node.pods[first : first + count]
        return [
            SandboxPod(m["name"], m["namespace"], m["uid"]) for m in (p["metadata"] for p in chosen)
        ]

    def _log(self, text: str) -> None:
        seconds = time.monotonic() - self.begun
        print(f"{seconds:6.0f} s  {self.orders.name}: {text}", flush=True)


def main(folder: Path) -> int:
    orders = msgspec.json.decode((folder / ORDERS).read_bytes(), type=Orders)
    begun = time.monotonic()
    with bench_node.running(
        folder,
        orders.image,
        orders.datapath,
        orders.reference,
        Path(orders.plugins),
        pods=max(orders.pods + orders.turns, *orders.bursts),
        kubeconfig=Path(orders.kubeconfig) if orders.kubeconfig else None,
    ) as node:
        prepared = PreparedMessages(node.network, msgspec.convert(orders.datapath, Datapath))
        try:
            measured = Bench(orders, node, prepared, begun).measure()
        finally:
            prepared.close()
    (folder / RESULT).write_bytes(encode(measured))
    return 0


def _mebibytes(text: str, field: str) -> float:
    line = next(line for line in text.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
