"""The whole operator without threads, clocks or networks, and a node agent that plays its part.

Everything is real but the API server, the cloud and time: the same mirror, queue and reconciles as
in production, driven one key at a time, so that a test can stop the process after any call.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from openeni_crds.conditions import Reason, Type, condition, is_true, merge
from openeni_crds.eni import ENI, NodeStatus, RetireAnswer
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode, encode, parse_time
from openeni_crds.names import (
    ANNOTATION_POOL,
    API_VERSION,
    ENIPOOLS,
    ENIS,
    LABEL_VETH,
    MANAGER_AGENT,
    NODES,
    PODIPS,
    PODS,
    Kind,
)
from openeni_kube.store import Store
from openeni_kube.workqueue import Backoff, WorkQueue
from openeni_operator.eni.observe import World as ENIWorld
from openeni_operator.eni.reconcile import ENIReconciler
from openeni_operator.enipool.reconcile import PoolReconciler
from openeni_operator.enipool.reconcile import World as PoolWorld
from openeni_operator.enipool.resolver import Resolver
from openeni_operator.feed import everything, keys_of
from openeni_operator.keys import Key, Reconcile
from openeni_operator.mirror import KINDS, SELECTORS, Mirror, listed
from openeni_operator.podip.reconcile import PodIPReconciler
from openeni_operator.podip.reconcile import World as PodIPWorld
from openeni_operator.ports import PortLists
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.store.memory import MemoryStore
from openeni_testing.store.watched import Countdown, CrashError, WatchedStore, wire

CLUSTER = "11111111-2222-3333-4444-555555555555"
RESYNC = 300.0
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


class Process:
    """One life of the operator: what is lost when it is killed."""

    def __init__(self, store: Store, cloud: MemoryCloud, now: Callable[[], str]) -> None:
        self.mirror = Mirror(lambda change: self.add(keys_of(change, self.mirror)))
        self.queue: WorkQueue[Key] = WorkQueue(Backoff())
        self.clock = cloud.clock
        self.store = store
        ports = PortLists(RESYNC - 1, self.clock)

        def lost(node: str) -> None:
            self.add([Key(PODIPS, node)])

        def cloud_of(name: str) -> MemoryCloud:
            assert name == "default"
            return cloud

        enis = ENIWorld(self.mirror, store, cloud_of, CLUSTER, ports, self.clock, now, lost)
        resolver = Resolver(cloud_of, ports, RESYNC - 1, self.clock)
        self.reconcilers: dict[Kind, Reconcile] = {
            ENIPOOLS: PoolReconciler(PoolWorld(self.mirror, store, resolver, now)),
            ENIS: ENIReconciler(enis),
            PODIPS: PodIPReconciler(PodIPWorld(self.mirror, store, now)),
        }

    def look(self) -> None:
        """What watches and resync do: bring the mirror up to date, have everything looked at."""
        for kind in KINDS:
            page = self.store.list(kind, field_selector=SELECTORS.get(kind, ""))
            there = listed(page.items)
            for key, version in self.mirror.versions(kind).items():
                if key not in there:
                    self.mirror.prune(kind, key, version)
            for body in there.values():
                self.mirror.put(kind, body)

    def look_at_everything(self) -> None:
        self.add(everything(self.mirror))

    def add(self, keys: Iterable[Key]) -> None:
        for key in sorted(keys):
            self.queue.add(key, self.clock.now)

    def work_one(self) -> bool:
        """Work on the next due key; False when none is due."""
        key = self.queue.take(self.clock.now)
        if key is None:
            return False
        result = self.reconcilers[key.kind](key.name)
        self.queue.finish(key, result, self.clock.now, 0.5)
        return True


class OperatorWorld:
    """A cluster with nodes that are servers, one cloud, and the operator's process."""

    def __init__(self, nodes: int = 1) -> None:
        self.cloud = MemoryCloud()
        self.api = MemoryStore()
        self.store = WatchedStore(self.api)
        self.network = self.cloud.add_network("pods")
        self.subnet = self.cloud.add_subnet(self.network, "pods", "10.98.0.0/22")
        self.group = self.cloud.add_group("pods")
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        for name in self.nodes:
            self.add_node(name)
        self.held: dict[str, set[str]] = {}  # ENI -> addresses that pods hold
        self.agents = set(self.nodes)
        self.countdown = Countdown()
        self.resync_at = self.cloud.clock.now + RESYNC
        self.cloud.after_call = self.countdown
        self.store.after_write = self.countdown
        self.process = self._born()

    def now(self) -> str:
        at = BEGUN + timedelta(seconds=int(self.cloud.clock.now))
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def add_node(self, name: str, *, veth: str = "true", pods: str = "110") -> None:
        server = self.cloud.add_server()
        labels = {LABEL_VETH: veth} if veth else {}
        body: Json = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"providerID": f"openstack:///{server.id}"},
            "status": {"allocatable": {"pods": pods}},
        }
        self.api.create(NODES, body)

    def add_pool(self, name: str = "pods", **spec: Any) -> None:
        body: Json = {
            "apiVersion": API_VERSION,
            "kind": "ENIPool",
            "metadata": {"name": name},
            "spec": {
                "subnets": [{"name": "pods"}],
                "securityGroups": [{"name": "pods"}],
                "datapath": {"mode": "Veth"},
                "podSelector": {},
                "capacity": {"addressesPerENI": 3, "minAvailable": 1},
                **spec,
            },
        }
        self.api.create(ENIPOOLS, body)

    def add_pod(self, name: str, node: str, *, pool: str = "") -> str:
        body: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "default",
                "annotations": {ANNOTATION_POOL: pool} if pool else {},
            },
            "spec": {"nodeName": node},
            "status": {"phase": "Pending"},
        }
        uid: str = self.api.create(PODS, body)["metadata"]["uid"]
        return uid

    def report(self, eni: str, conditions: list[Json], **node: Any) -> None:
        """Write an agent's report, whatever it says."""
        body = {"metadata": {"name": eni}, "status": {"conditions": conditions, "node": node}}
        self.api.apply(ENIS, body, manager=MANAGER_AGENT, subresource="status")

    def restart(self) -> None:
        """kill -9: memory, queue and mirror are gone."""
        self.process = self._born()

    def settle(self, seconds: float = 900, *, agents: bool = True) -> None:
        """Run for `seconds`; time jumps to what is due next."""
        clock = self.cloud.clock
        end = clock.now + seconds
        self.process.look_at_everything()
        for _ in range(20_000):
            self.cloud.settle()
            changed = agents and self.agents_act()
            self.process.look()
            try:
                if self.process.work_one() or changed:
                    continue
            except CrashError:
                self.restart()
                continue
            due = min(self.resync_at, self.process.queue.next_due() or end + 1)
            if due > end:
                clock.now = end
                return
            clock.now = max(clock.now, due)
            if clock.now >= self.resync_at:
                self.resync_at += RESYNC
                self.process.look_at_everything()
        raise AssertionError(f"never settles; calls: {self.cloud.calls}")

    def eni(self, name: str) -> ENI:
        return decode(self.api.get(ENIS, name), ENI)

    def enis(self) -> list[ENI]:
        return [decode(body, ENI) for body in self.api.list(ENIS).items]

    def pool(self, name: str = "pods") -> ENIPool:
        return decode(self.api.get(ENIPOOLS, name), ENIPool)

    def ready(self) -> list[str]:
        return sorted(e.name for e in self.enis() if is_true(e.status.conditions, Type.READY))

    def agents_act(self) -> bool:
        """Let each node's agent do its next thing; whether any did something."""
        there = {body["metadata"]["name"] for body in self.api.list(NODES).items}
        acting = [e for e in self.enis() if e.spec.node_name in self.agents & there]
        return any([self._act(eni) for eni in acting])  # noqa: C419 each of them acts

    def _act(self, eni: ENI) -> bool:
        port = eni.status.port
        held = self.held.get(eni.name, set())
        live = self.cloud.ports.get(port.id) if port else None
        nic = live is not None and live.device_id == eni.spec.server_id
        going = eni.metadata.deleting
        listed_back = set[str](eni.spec.retiring)
        if port and going:
            listed_back = set(port.addresses)
        given_up = sorted(listed_back - held)
        out_of_use = going and not held
        linked = condition(
            Type.LINK_READY,
            Reason.DELETING if out_of_use else Reason.LINK_UP if nic else Reason.NIC_MISSING,
            status=nic and not out_of_use,
        )
        prepared = condition(Type.GUEST_PREPARED, Reason.PREPARED, status=True)
        own = [c for c in eni.status.conditions if c.type in (linked.type, prepared.type)]
        wanted = merge(own, [prepared, linked], self.now()) if port else ()
        same = {c.type: c for c in own} == {c.type: c for c in wanted}
        node = NodeStatus(
            device="eth1" if nic else "",
            granted=len(held),
            available=len(set(port.addresses) - held - set(given_up)) if port and nic else 0,
            idle_since="" if held else (self._idle_since(eni) if nic else ""),
            retired=tuple(RetireAnswer(a, eni.metadata.generation) for a in given_up),
            refused=tuple(
                RetireAnswer(a, eni.metadata.generation) for a in sorted(listed_back & held)
            ),
        )
        if not port or (node == eni.status.node and same):
            return False
        body: Json = {
            "apiVersion": API_VERSION,
            "kind": "ENI",
            "metadata": {"name": eni.name},
            "status": {"node": encode(node), "conditions": [encode(c) for c in wanted]},
        }
        self.api.apply(ENIS, wire(body), manager=MANAGER_AGENT, subresource="status")
        return True

    def _idle_since(self, eni: ENI) -> str:
        before = eni.status.node.idle_since if eni.status.node else ""
        with suppress(ValueError):
            parse_time(before)
            return before
        return self.now()

    def _born(self) -> Process:
        process = Process(self.store, self.cloud, self.now)
        process.look()
        process.look_at_everything()
        return process
