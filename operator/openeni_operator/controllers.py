"""Build the controllers and what they share: cluster state, caches, work queue and resync.

Without kopf, so that a test can run them too.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODIPS, Kind
from openeni_kube.informer import Informer
from openeni_kube.result import Result, Retry
from openeni_kube.store import Store
from openeni_kube.wire import format_time
from openeni_kube.workers import Workers
from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import NotLeadingError
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cluster_state import ClusterState
from openeni_operator.eni.observe import ENIDependencies
from openeni_operator.eni.reconcile import ENIReconciler
from openeni_operator.enipool.reconcile import PoolDependencies, PoolReconciler
from openeni_operator.enipool.resolution_cache import ResolutionCache
from openeni_operator.keys import Key, Reconcile
from openeni_operator.node.agents import AgentPods
from openeni_operator.node.reconcile import NodeDependencies, NodeReconciler
from openeni_operator.podip.reconcile import PodIPDependencies, PodIPReconciler
from openeni_operator.port_cache import PortCache
from openeni_operator.resync import Resync
from openeni_operator.settings import Settings
from openeni_operator.watch_mapping import all_keys, keys_for

BATCH_SECONDS: Final = 0.1  # delay of a key, so that one reconcile serves a burst of events


def _now() -> str:
    return format_time(datetime.now(UTC))


@dataclass(frozen=True)
class Controllers:
    """Everything that runs beside kopf."""

    state: ClusterState
    resync: Resync
    workers: Workers[Key]
    agents: Informer | None  # of the agents' pods

    def start(self) -> None:
        """Fill the cluster state, then start the threads. Raises StoreError if a list fails."""
        self.resync.fill()
        for key in all_keys(self.state):
            self.workers.add(key)
        self.workers.start()
        self.resync.start()
        if self.agents:
            self.agents.start()

    def stop(self, grace: float) -> bool:
        """Stop; running reconciles get `grace` seconds to end. Return True if all of them have."""
        if self.agents:
            self.agents.stop()
        self.resync.stop()
        self.workers.stop(grace)
        return self.workers.ended()


def build_controllers(
    settings: Settings, store: Store, clouds: Clouds, cluster_id: str
) -> Controllers:
    """Build the controllers without starting them."""

    def enqueue(keys: Iterable[Key]) -> None:
        for key in keys:
            workers.add(key, BATCH_SECONDS)

    state = ClusterState(lambda change: enqueue(keys_for(change, state)))
    agents = AgentPods(settings.namespace, time.monotonic, lambda node: enqueue([Key(NODES, node)]))
    reconcilers = build_reconcilers(
        state, store, clouds.get, cluster_id, agents, resync=settings.resync, enqueue=enqueue
    )
    workers: Workers[Key] = Workers(
        "worker", lambda key: reconcile(reconcilers, key), threads=settings.workers
    )
    resync = Resync(store, state, settings.resync, lambda: enqueue(all_keys(state)))
    informer = agents.informer(store) if settings.namespace else None
    return Controllers(state, resync, workers, informer)


def reconcile(reconcilers: Mapping[Kind, Reconcile], key: Key) -> Result:
    """Reconcile one key; while another operator may lead, it waits."""
    try:
        return reconcilers[key.kind](key.name)
    except NotLeadingError as error:
        return Retry(str(error))


def build_reconcilers(
    state: ClusterState,
    store: Store,
    cloud: Callable[[str], Cloud],
    cluster_id: str,
    agents: AgentPods,
    *,
    resync: float,
    enqueue: Callable[[Iterable[Key]], None],
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], str] = _now,
) -> dict[Kind, Reconcile]:
    """Build the reconcilers and the caches that they share; `resync` is in seconds."""
    max_age = resync / 2  # a cached list never survives until the next resync
    ports = PortCache(max_age, clock)

    def port_lost(node: str) -> None:
        enqueue([Key(PODIPS, node)])

    enis = ENIDependencies(state, store, cloud, cluster_id, ports, clock, now, port_lost)
    resolve = ResolutionCache(cloud, ports, max_age, clock)
    return {
        ENIPOOLS: PoolReconciler(PoolDependencies(state, store, resolve, now)),
        ENIS: ENIReconciler(enis),
        NODES: NodeReconciler(NodeDependencies(state, store, agents)),
        PODIPS: PodIPReconciler(PodIPDependencies(state, store, now)),
    }
