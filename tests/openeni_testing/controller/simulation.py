"""Simulate the whole operator, with node agents, without threads, clocks or networks.

Everything is real but the API server, the cloud, the agents and time: the same cluster state, queue
and reconcilers as in production, driven one key at a time, so that a test can end the process after
any call.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from openeni_crds.conditions import Condition, Reason, Type, condition, is_true, merge
from openeni_crds.eni import ENI, NodeStatus, RetireAnswer
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode, encode, parse_time
from openeni_crds.names import (
    ANNOTATION_POOL,
    API_VERSION,
    ENIPOOLS,
    ENIS,
    LABEL_COMPONENT,
    LABEL_VETH,
    MANAGER_AGENT,
    NODES,
    PODS,
)
from openeni_kube.wire import format_time
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.controller.process import RESYNC, SYSTEM, Process
from openeni_testing.store.hooked import Countdown, CrashError, HookedStore, wire
from openeni_testing.store.memory import MemoryStore

START = datetime(2026, 1, 1, tzinfo=UTC)


class Simulation:
    """A cluster whose nodes are servers of one cloud, and the operator's process."""

    def __init__(self, nodes: int = 1) -> None:
        self.cloud = MemoryCloud()
        self.api = MemoryStore(now=self.now)
        self.store = HookedStore(self.api)
        self.network = self.cloud.add_network()
        self.subnet = self.cloud.add_subnet(self.network, "pods", "10.98.0.0/22")
        self.group = self.cloud.add_group("pods")
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        for name in self.nodes:
            self.add_node(name)
        self.granted: dict[str, set[str]] = {}  # ENI -> addresses that pods have
        self.other_cni: set[str] = set()  # nodes with another CNI plugin
        self.agents = set(self.nodes)
        self.countdown = Countdown()
        self.resync_at = self.cloud.clock.now + RESYNC
        self.cloud.after_call = self.countdown
        self.store.after_write = self.countdown
        self.process = self._start_process()

    def now(self) -> str:
        return format_time(START + timedelta(seconds=int(self.cloud.clock.now)))

    def add_node(self, name: str, *, veth: str = "true", pods: str = "110") -> None:
        server = self.cloud.add_server()
        labels = {LABEL_VETH: veth} if veth else {}
        body: Json = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"providerID": f"openstack:///{server}"},
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

    def set_agent(self, node: str, *, ready: bool | None) -> None:
        """Replace the pod of a node's agent; None: there is none any more."""
        name = f"agent-{node}"
        self.api.delete(PODS, name, SYSTEM)
        body: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": SYSTEM,
                "labels": {LABEL_COMPONENT: "agent"},
            },
            "spec": {"nodeName": node},
        }
        condition = {"type": "Ready", "status": str(ready)}
        status = {"op": "add", "path": "/status", "value": {"conditions": [condition]}}
        if ready is not None:
            self.api.create(PODS, body)
            self.api.patch(PODS, name, SYSTEM, operations=[status], subresource="status")

    def report(self, eni: str, conditions: list[Json], **node: Any) -> None:
        """Write any report in the agent's name, valid or not."""
        body = {"metadata": {"name": eni}, "status": {"conditions": conditions, "node": node}}
        self.api.apply(ENIS, body, manager=MANAGER_AGENT, subresource="status")

    def restart(self) -> None:
        """Kill the process and start another."""
        self.process = self._start_process()

    def settle(self, seconds: float = 900, *, agents: bool = True) -> None:
        """Run for `seconds`; the clock jumps to the next due time whenever nothing is due."""
        clock = self.cloud.clock
        end = clock.now + seconds
        self.process.enqueue_all()
        for _ in range(20_000):
            self.cloud.settle()
            changed = agents and self.run_agents()
            self.process.sync_state()
            try:
                if self.process.reconcile_next() or changed:
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
                self.process.enqueue_all()
        raise AssertionError(f"the simulation never settles; calls: {self.cloud.calls}")

    def eni(self, name: str) -> ENI:
        return decode(self.api.get(ENIS, name), ENI)

    def enis(self) -> list[ENI]:
        return [decode(body, ENI) for body in self.api.list(ENIS).items]

    def pool(self, name: str = "pods") -> ENIPool:
        return decode(self.api.get(ENIPOOLS, name), ENIPool)

    def ready(self) -> list[str]:
        return sorted(e.name for e in self.enis() if is_true(e.status.conditions, Type.READY))

    def run_agents(self) -> bool:
        """Let each node's agent report on its ENIs; return True if a report has changed."""
        nodes = {body["metadata"]["name"] for body in self.api.list(NODES).items}
        enis = [e for e in self.enis() if e.spec.node_name in self.agents & nodes]
        return any([self._update_report(eni) for eni in enis])  # noqa: C419 every agent runs

    def _update_report(self, eni: ENI) -> bool:
        port = eni.status.port
        granted = self.granted.get(eni.name, set())
        live = self.cloud.ports.get(port.id) if port else None
        attached = live is not None and live.device_id == eni.spec.server_id
        deleting = eni.metadata.deleting
        requested = set[str](eni.spec.retiring)
        if port and deleting:
            requested = set(port.addresses)
        retired = sorted(requested - granted)
        out_of_use = deleting and not granted
        linked = condition(
            Type.LINK_READY,
            Reason.DELETING if out_of_use else Reason.LINK_UP if attached else Reason.NIC_MISSING,
            status=attached and not out_of_use,
        )
        prepared = condition(Type.GUEST_PREPARED, Reason.PREPARED, status=True)
        configured = self._configured(eni.spec.node_name)
        types = (configured.type, linked.type, prepared.type)
        own = [c for c in eni.status.conditions if c.type in types]
        wanted = merge(own, [configured, prepared, linked], self.now()) if port else ()
        same = {c.type: c for c in own} == {c.type: c for c in wanted}
        node = NodeStatus(
            device="eth1" if attached else "",
            granted=len(granted),
            available=len(set(port.addresses) - granted - set(retired)) if port and attached else 0,
            idle_since="" if granted else (self._idle_since(eni) if attached else ""),
            retired=tuple(RetireAnswer(a, eni.metadata.generation) for a in retired),
            refused=tuple(
                RetireAnswer(a, eni.metadata.generation) for a in sorted(requested & granted)
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

    def _configured(self, node: str) -> Condition:
        if node not in self.other_cni:
            return condition(Type.CNI_CONFIGURED, Reason.CONFIGURED, status=True)
        return condition(Type.CNI_CONFIGURED, Reason.OTHER_CNI, "05-x.conflist", status=False)

    def _idle_since(self, eni: ENI) -> str:
        before = eni.status.node.idle_since if eni.status.node else ""
        with suppress(ValueError):
            parse_time(before)
            return before
        return self.now()

    def _start_process(self) -> Process:
        process = Process(self.store, self.cloud, self.now)
        process.sync_state()
        process.enqueue_all()
        return process
