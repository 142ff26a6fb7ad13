"""Run all phases of one size: growth, idle, pods that come and go, restart, resync."""

import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from openeni_testing.operator_bench import cluster as clusters
from openeni_testing.operator_bench.child import Child, child
from openeni_testing.operator_bench.cluster import Cluster
from openeni_testing.operator_bench.measured import OPERATOR, Growth, Restart, Samples, Size
from openeni_testing.operator_bench.objects import ENIS_PER_NODE
from openeni_testing.operator_bench.operator_process import OperatorProcess, running, settings
from openeni_testing.operator_bench.pod_changes import changing_pods
from openeni_testing.operator_bench.usage import cpu_seconds
from openeni_testing.waiting import repeating, wait_for

Log: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Durations:
    """How long things are measured, in seconds."""

    idle: float = 60.0
    busy: float = 20.0
    sample: float = 5.0
    resync: float = 300.0  # the product's default
    short_resync: float = 20.0  # of the operator that is restarted: a whole interval is measured
    # From the operator's start until its share when idle is measured: the first resync goes over
    # what was there 30 s after the start, and only from the second one on over every ENI.
    steady: float = 330.0
    growth: float = 900.0  # until every ENI is Ready, or the benchmark fails


EVENTS_PER_SECOND: Final = 50.0
SETTLED_SHARE: Final = 0.1  # of a core, over SETTLED_SECONDS
SETTLED_SECONDS: Final = 2.0
HOT_PLUG_SECONDS: Final = 0.1


def measure(nodes: int, durations: Durations, log: Log) -> Size:
    """Measure one size in a cluster of its own, and remove it."""
    with tempfile.TemporaryDirectory(prefix="oe-bench-") as folder:
        root = Path(folder)
        with (
            clusters.started(root) as cluster,
            child("openeni_testing.operator_bench.cloud_process", str(root / "clouds")) as cloud,
            child("openeni_testing.operator_bench.agents", str(cluster.kubeconfig)) as agents,
        ):
            cluster.add_nodes(cloud.ask("add servers", count=nodes)["ids"])
            run = _Run(nodes, durations, log, root, cluster, cloud, agents)
            return run.measure()


@dataclass(frozen=True)
class _Run:
    """One size in its cluster."""

    nodes: int
    durations: Durations
    log: Log
    root: Path
    cluster: Cluster
    cloud: Child
    agents: Child

    def measure(self) -> Size:
        with self._operator("cold", self.durations.resync) as operator:
            growth = self._grow(operator)
            self.log(f"all Ready after {growth.seconds:.1f} s")
            podips = self.cluster.add_podips()
            self._settle(operator)
            self.log(f"{podips} PodIPs are there")
            time.sleep(max(0.0, operator.begun + self.durations.steady - time.monotonic()))
            idle = self._samples(operator, self.durations.idle)
            self.log(f"idle: {idle.median:.1%} of a core")
            busy, reached, reconciles = self._busy_samples(operator)
            self.log(f"{reached:.0f} pod events a second: {busy.median:.1%} of a core")
            self._settle(operator)
            peak = operator.peak_mebibytes()
        restart = self._restart()
        self.log(f"ready again after {restart.seconds:.1f} s")
        return Size(
            nodes=self.nodes,
            enis=self.nodes * ENIS_PER_NODE,
            podips=podips,
            growth=growth,
            idle=idle,
            busy=busy,
            events_per_second=reached,
            reconciles_per_event=reconciles,
            restart=restart,
            peak_mebibytes=max(peak, restart.peak_mebibytes),
        )

    def _operator(self, name: str, resync: float) -> AbstractContextManager[OperatorProcess]:
        variables = settings(self.root / "clouds", self.cluster.kubeconfig, resync)
        return running(variables, self.root / f"operator-{name}.log")

    def _grow(self, operator: OperatorProcess) -> Growth:
        """Create the pool and wait until every ENI is Ready."""
        self._take_calls()
        before, reconciles = self._cpu(operator), operator.reconciles()
        begun = time.monotonic()
        wanted = self.nodes * ENIS_PER_NODE

        def all_ready() -> bool:
            operator.check_log()
            return bool(self.agents.ask("count ready")["ready"] == wanted)

        with self._hot_plug():
            self.cluster.add_pool()
            wait_for(all_ready, f"{wanted} ENIs are Ready", self.durations.growth)
        seconds = time.monotonic() - begun
        used = {part: total - before[part] for part, total in self._cpu(operator).items()}
        times = self._take_calls()
        return Growth(seconds, times, used, operator.reconciles() - reconciles)

    @contextmanager
    def _hot_plug(self) -> Generator[None]:
        """Let the guests see the NICs of attached ports, as their kernels would."""

        def relay() -> None:
            ports = self.cloud.ask("take attached")["ports"]
            if ports:
                self.agents.ask("plug", ports=ports)

        with repeating(relay, HOT_PLUG_SECONDS):
            yield

    def _settle(self, operator: OperatorProcess) -> None:
        """Wait until the operator has hardly anything to do."""

        def settled() -> bool:
            operator.check_log()
            return _share(operator, SETTLED_SECONDS) < SETTLED_SHARE

        wait_for(settled, "the operator has settled", 120)

    def _samples(self, operator: OperatorProcess, seconds: float) -> Samples:
        count = max(1, round(seconds / self.durations.sample))
        return Samples(tuple(_share(operator, seconds / count) for _ in range(count)))

    def _busy_samples(self, operator: OperatorProcess) -> tuple[Samples, float, dict[str, float]]:
        """Return CPU shares while pods come and go, events per second, reconciles per event."""
        seconds = self.durations.busy
        with changing_pods(
            self.cluster.store, self.agents, self.nodes, EVENTS_PER_SECOND
        ) as changes:
            before, reconciles = changes.events, operator.reconciles()
            samples = self._samples(operator, seconds)
            events = changes.events - before
            found = operator.reconciles() - reconciles
            return samples, events / seconds, {k: n / max(1, events) for k, n in found.items()}

    def _restart(self) -> Restart:
        """Start another operator; its first resync begins `short_resync` after its start."""
        self._take_calls()
        with self._operator("restarted", self.durations.short_resync) as operator:
            time.sleep(self.durations.short_resync)
            calls, cpu = _counts(self._take_calls()), operator.cpu_seconds()
            time.sleep(self.durations.short_resync)
            used = operator.cpu_seconds() - cpu
            return Restart(
                seconds=operator.seconds_to_ready,
                calls=calls,
                resync_calls=_counts(self._take_calls()),
                resync_cpu=used,
                peak_mebibytes=operator.peak_mebibytes(),
            )

    def _take_calls(self) -> dict[str, list[float]]:
        times: dict[str, list[float]] = self.cloud.ask("take calls")["times"]
        return times

    def _cpu(self, operator: OperatorProcess) -> dict[str, float]:
        return {
            OPERATOR: operator.cpu_seconds(),
            "API server": cpu_seconds(self.cluster.processes()),
            "cloud": cpu_seconds([self.cloud.pid]),
            "agents": cpu_seconds([self.agents.pid]),
        }


def _counts(times: dict[str, list[float]]) -> dict[str, int]:
    return {operation: len(of_it) for operation, of_it in times.items()}


def _share(operator: OperatorProcess, seconds: float) -> float:
    """Return the share of a core that the operator uses for so many seconds."""
    cpu, begun = operator.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (operator.cpu_seconds() - cpu) / (time.monotonic() - begun)
