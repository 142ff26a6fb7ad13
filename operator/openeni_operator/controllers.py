"""Build the controllers and what they share: informers, cluster state, work queue and resync.

Without kopf, so that a test can run them too.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, NODES, PODIPS, PODS, Kind
from openeni_kube.clock import now_text
from openeni_kube.events import Recorder
from openeni_kube.result import RequeueAfter, Result, Retry
from openeni_kube.store import Store
from openeni_kube.watches.informer import Informer
from openeni_kube.workers import Workers
from openeni_operator.claim_refusals import ClaimRefusals
from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import NotLeadingError, NotYetError
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cluster_state import FIELD_SELECTORS, LABEL_SELECTORS, ClusterState
from openeni_operator.credential_expiry import CredentialExpiry
from openeni_operator.eni.created import CreatedENIs
from openeni_operator.eni.idle_times import IdleTimes
from openeni_operator.eni.observe import ENIDependencies
from openeni_operator.eni.reconcile import ENIReconciler
from openeni_operator.enipool.growth_probe import GrowthProbe
from openeni_operator.enipool.memory.subnet_usage import ExhaustedSubnets
from openeni_operator.enipool.node_plans import PlanClients
from openeni_operator.enipool.observe import PoolSources
from openeni_operator.enipool.reconcile import PoolDependencies, PoolReconciler
from openeni_operator.enipool.resolution_cache import ResolutionCache
from openeni_operator.enipool.served_pods import ServedPods
from openeni_operator.keys import ORPHAN_SWEEP, WATCHED_PODIP, Key, Reconcile
from openeni_operator.lanes import Lanes
from openeni_operator.missing_nodes import MissingNodes
from openeni_operator.node.agents import AgentPods
from openeni_operator.node.reconcile import NodeDependencies, NodeReconciler
from openeni_operator.objects.invalid_objects import put_valid
from openeni_operator.podip.reconcile import PodIPDependencies, PodIPReconciler
from openeni_operator.podip.watched import WatchedPodIPDependencies, WatchedPodIPReconciler
from openeni_operator.process.relists import Relists
from openeni_operator.process.reloads import Reloads
from openeni_operator.resync import Resync
from openeni_operator.settings import OrphanMode, Settings
from openeni_operator.shared_reads import CloudReads
from openeni_operator.sweep.observe import Sources
from openeni_operator.sweep.reconcile import SweepDependencies, SweepReconciler
from openeni_operator.sweep.report import PortReports
from openeni_operator.watch_mapping import all_keys, keys_for, keys_of_cloud

LOG: Final = logging.getLogger(__name__)
INFORMER_KINDS: Final = (ENIS, NODES, PODS, PODIPS, NAMESPACES)  # kopf watches ENIPools
SYNC_SECONDS: Final = 30.0  # for an informer's first list, before its delay is logged
POOL_THREADS: Final = 8  # that write ENIs at a time, in a pool's reconcile
BATCH_SECONDS: Final = 0.1  # delay of a key, so that one reconcile serves a burst of events


@dataclass(frozen=True)
class Controllers:
    """Everything that runs beside kopf."""

    state: ClusterState
    resync: Resync
    reloads: Reloads
    workers: Workers[Key]
    informers: tuple[Informer, ...]
    reads: CloudReads
    agents: AgentPods  # of the settings' namespace; without one nothing is known of them
    relists: Relists  # of what kopf watches

    def sync(self) -> None:
        """Start the informers and return once each has passed on its first list."""
        for informer in self.informers:
            informer.start()
        for informer in self.informers:
            while not informer.synced.wait(SYNC_SECONDS):
                LOG.warning(
                    "waiting to start: the %s have not been listed in %g s, still trying",
                    informer.kind.plural,
                    SYNC_SECONDS,
                )

    def start(self) -> None:
        """List what kopf watches, then start the threads. Raises StoreError if a list fails."""
        self.resync.fill()
        for key in all_keys(self.state):
            self.workers.add(key)
        self.workers.start()
        self.resync.start()
        self.reloads.start()

    def informers_alive(self) -> bool:
        """Return False if an informer's thread hangs or has ended."""
        return not any(i.stalled() for i in self.informers)

    def stop(self, grace: float) -> bool:
        """Stop; running reconciles get `grace` seconds to end. Return True if all of them have."""
        for informer in self.informers:
            informer.stop()
        self.resync.stop()
        self.reloads.stop()
        self.workers.stop(grace)
        return self.workers.ended()


def build_controllers(
    settings: Settings,
    store: Store,
    clouds: Clouds,
    cluster_id: str,
    *,
    recorder: Recorder,
    observe: Callable[[Kind, Result, float], None],
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], str] = now_text,
) -> Controllers:
    """Build the controllers without starting them."""

    def enqueue(keys: Iterable[Key]) -> None:
        for key in keys:
            workers.add(key, BATCH_SECONDS)

    state = ClusterState(lambda change: enqueue(keys_for(change, state)))
    lanes = Lanes(state, clouds.pause_of_reconciles)
    workers: Workers[Key] = Workers(
        "worker",
        lambda key: reconcile(reconcilers, key),
        threads=settings.threads,
        lane_of=lanes.lane_of,
        pause_of=lanes.pause_of,
        observe=lambda key, result, seconds: observe(key.kind, result, seconds),
    )
    agents = AgentPods(settings.namespace, clock, lambda node: enqueue([Key(NODES, node)]))
    reads = cloud_reads(settings.resync, clock)
    reconcilers = build_reconcilers(
        state,
        store,
        clouds.get,
        cluster_id,
        agents,
        reads=reads,
        recorder=recorder,
        enqueue=enqueue,
        clock=clock,
        orphans=settings.orphans,
        now=now,
        threads=POOL_THREADS,
        stopping=workers.stopping,
    )
    resync, relists = Resync(store, state, settings.resync, workers.add), Relists()
    reloads = Reloads(clouds.take_changes, lambda name: enqueue(keys_of_cloud(name, state)))
    known_agents = agents if settings.namespace else None
    informers = build_informers(store, state, (relists.request, resync.hasten), known_agents)
    return Controllers(state, resync, reloads, workers, informers, reads, agents, relists)


def cloud_reads(resync: float, clock: Callable[[], float]) -> CloudReads:
    """Return the reads that controllers share, for a resync of so many seconds."""
    return CloudReads(resync * 0.9, clock)  # one serves an interval's looks, and none of the next


def build_informers(
    store: Store,
    state: ClusterState,
    on_restored: Iterable[Callable[[], None]] = (),
    agents: AgentPods | None = None,
) -> tuple[Informer, ...]:
    """Build the informers that keep the cluster state, but for ENIPools, and agents up to date.

    `on_restored` are called when one has found that etcd was restored.
    """

    def tell(finder: int) -> None:
        others = (one.relist for n, one in enumerate(informers) if n != finder)
        for call in (*on_restored, *others):
            call()

    informers = tuple(
        Informer(
            store,
            kind,
            on_change=partial(put_valid, state, kind),
            on_delete=partial(state.delete, kind),
            on_rewind=partial(state.rewind, kind),
            on_restored=partial(tell, number),
            on_listed=partial(state.settle, kind),
            field_selector=FIELD_SELECTORS.get(kind, ""),
            label_selector=LABEL_SELECTORS.get(kind, ""),
        )
        for number, kind in enumerate(INFORMER_KINDS)
    )
    if agents is not None:
        informers += (agents.informer(store, partial(tell, len(informers))),)
    return informers


def reconcile(reconcilers: Mapping[Kind, Reconcile], key: Key) -> Result:
    """Reconcile one key; while another operator may lead, or a limit is reached, it waits."""
    try:
        return reconcilers[key.kind](key.name)
    except NotLeadingError as error:
        return Retry(str(error))
    except NotYetError as error:
        return RequeueAfter(error.seconds, error.reason)


def build_reconcilers(
    state: ClusterState,
    store: Store,
    cloud: Callable[[str], Cloud],
    cluster_id: str,
    agents: AgentPods,
    *,
    reads: CloudReads,
    recorder: Recorder,
    enqueue: Callable[[Iterable[Key]], None],
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], str] = now_text,
    orphans: OrphanMode = OrphanMode.REPORT,
    threads: int = 1,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[Kind, Reconcile]:
    """Build the reconcilers and their caches; a pool's reconcile writes with so many threads."""
    missing_nodes, review = MissingNodes(state, store, clock), partial(_enqueue_podips, enqueue)
    claims, created, reports = ClaimRefusals(clock), CreatedENIs(clock), PortReports()
    sources = PoolSources(state, missing_nodes, IdleTimes(clock), now)
    sweep_sources, served = Sources(state, store, cluster_id, now), ServedPods(store, clock)
    clients = PlanClients(state, store, served, created, threads, clock)
    pools = _pool_dependencies(
        sources, clients, cloud, reads, recorder=recorder, reports=reports, enqueue=enqueue
    )
    enis = ENIDependencies(
        state,
        store,
        cloud,
        cluster_id,
        reads,
        missing_nodes,
        clock,
        now,
        recorder,
        review,
        claims,
        created,
    )
    podips = PodIPDependencies(state, store, missing_nodes, recorder, review, now, stopping)
    watched = WatchedPodIPDependencies(state, store, missing_nodes, claims, recorder, now, clock)
    sweep = SweepDependencies(sweep_sources, cloud, orphans, reports, enqueue, clock)
    return {
        ENIPOOLS: PoolReconciler(pools),
        ENIS: ENIReconciler(enis),
        NODES: NodeReconciler(NodeDependencies(state, store, agents, now)),
        PODIPS: PodIPReconciler(podips),
        WATCHED_PODIP: WatchedPodIPReconciler(watched),
        ORPHAN_SWEEP: SweepReconciler(sweep),
    }


def _pool_dependencies(
    sources: PoolSources,
    clients: PlanClients,
    cloud: Callable[[str], Cloud],
    reads: CloudReads,
    *,
    recorder: Recorder,
    reports: PortReports,
    enqueue: Callable[[Iterable[Key]], None],
) -> PoolDependencies:
    clock = clients.clock

    def enqueue_pools(cloud_name: str) -> None:
        pools = clients.state.pools()
        enqueue([Key(ENIPOOLS, pool.name) for pool in pools if pool.spec.cloud == cloud_name])

    return PoolDependencies(
        sources,
        clients,
        ResolutionCache(cloud, reads, reads.max_age, clock),
        ExhaustedSubnets(clock),
        GrowthProbe(cloud, clock, enqueue_pools),
        recorder,
        reports.get,
        CredentialExpiry(cloud, clock, sources.now),
    )


def _enqueue_podips(enqueue: Callable[[Iterable[Key]], None], node: str) -> None:
    enqueue([Key(PODIPS, node)])
