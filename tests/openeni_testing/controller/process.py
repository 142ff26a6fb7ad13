"""The operator's process in a simulation, driven one key at a time."""

from collections.abc import Callable, Iterable, Mapping

from openeni_crds.meta import Json
from openeni_crds.names import NODES, PODS, SELECTOR_AGENTS, Kind
from openeni_kube.store import object_key
from openeni_kube.workqueue import Backoff, WorkQueue
from openeni_operator.cluster_state import (
    FIELD_SELECTORS,
    LABEL_SELECTORS,
    WATCHED_KINDS,
    ClusterState,
)
from openeni_operator.controllers import build_reconcilers, cloud_reads, reconcile
from openeni_operator.keys import Key
from openeni_operator.node.agents import AgentPods
from openeni_operator.settings import OrphanMode
from openeni_operator.watch_mapping import all_keys, keys_for
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.controller.recorded_events import RecordedEvents
from openeni_testing.store.hooked import HookedStore

CLUSTER_ID = "11111111-2222-3333-4444-555555555555"
SYSTEM = "openeni-system"
RESYNC = 300.0  # seconds


class Process:
    """The operator's process: everything that is lost when it is killed."""

    def __init__(
        self,
        store: HookedStore,
        clouds: Mapping[str, MemoryCloud],
        clock: FakeClock,
        now: Callable[[], str],
        orphans: OrphanMode,
    ) -> None:
        self.state = ClusterState(lambda change: self.enqueue(keys_for(change, self.state)))
        self.queue: WorkQueue[Key] = WorkQueue(Backoff())
        self.clock = clock
        self.store = store
        self._agent_pods = by_key(())
        self._synced: dict[Kind, int] = {}
        self.agents = AgentPods(SYSTEM, self.clock, lambda node: self.enqueue([Key(NODES, node)]))
        self.recorded = RecordedEvents()
        self.reconcilers = build_reconcilers(
            self.state,
            store,
            clouds.__getitem__,
            CLUSTER_ID,
            self.agents,
            reads=cloud_reads(RESYNC, self.clock),
            recorder=self.recorded,
            enqueue=self.enqueue,
            clock=self.clock,
            now=now,
            orphans=orphans,
        )

    def sync_state(self) -> None:
        """Bring the cluster state up to date, as watches and resync do."""
        for kind in WATCHED_KINDS:
            if self._synced.get(kind) != (at := self.store.changed_at(kind)):
                self._synced[kind] = at
                self._sync_kind(kind)

    def _sync_kind(self, kind: Kind) -> None:
        page = self.store.list(
            kind,
            field_selector=FIELD_SELECTORS.get(kind, ""),
            label_selector=LABEL_SELECTORS.get(kind, ""),
        )
        listed = by_key(page.items)
        for key, version in self.state.versions(kind).items():
            if key not in listed:
                self.state.delete_version(kind, key, version)
        for body in listed.values():
            self.state.put(kind, body)
        if kind == PODS:
            self._sync_agent_pods()

    def _sync_agent_pods(self) -> None:
        pods = by_key(self.store.list(PODS, label_selector=SELECTOR_AGENTS).items)
        for body in [b for key, b in self._agent_pods.items() if key not in pods]:
            self.agents.remove(body)
        for body in pods.values():
            self.agents.put(body)
        self._agent_pods = pods

    def enqueue_all(self) -> None:
        self.enqueue(all_keys(self.state))

    def enqueue(self, keys: Iterable[Key]) -> None:
        for key in sorted(keys):
            self.queue.add(key, self.clock.now)

    def reconcile_next(self) -> bool:
        """Reconcile the next due key; return False when none is due."""
        key = self.queue.take(self.clock.now)
        if key is None:
            return False
        result = reconcile(self.reconcilers, key)
        self.queue.finish(key, result, self.clock.now, 0.5)
        return True


def by_key(bodies: Iterable[Json]) -> dict[str, Json]:
    """Return the objects of a list by `object_key`."""
    return {object_key(body): body for body in bodies}
