"""Simulate the whole operator, with node agents, without threads, clocks or networks.

Everything is real but the API server, the cloud, the agents and time: the same cluster state, queue
and reconcilers as in production, driven one key at a time, so that a test can end the process after
any call.
"""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from openeni_crds.conditions import Condition, Reason, Type, condition, is_true
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode
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
from openeni_operator.settings import OrphanMode
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.controller.agent_report import CONFIGURED, new_report
from openeni_testing.controller.process import RESYNC, SYSTEM, Process
from openeni_testing.store.hooked import Countdown, CrashError, HookedStore
from openeni_testing.store.restorable import RestorableStore

START = datetime(2026, 1, 1, tzinfo=UTC)
CLOUD = "cloud"  # a label of nodes


class Simulation:
    """A cluster whose nodes are servers of a cloud, and the operator's process.

    `clouds` has the clouds by the names that pools give them.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        orphans: OrphanMode = OrphanMode.REPORT,
        dual_stack: bool = False,
    ) -> None:
        """With `dual_stack`, pools have a subnet of each IP family."""
        self.orphans = orphans
        self.skew: dict[str, int] = {}  # node -> seconds by which its clock is ahead
        self.cloud = MemoryCloud()
        self.clouds = {"default": self.cloud}
        self.api = RestorableStore(now=self.now)
        self.store = HookedStore(self.api)
        self.network = self.cloud.add_network()
        self.subnet = self.cloud.add_subnet(self.network, "pods", "10.98.0.0/22")
        self.subnets = [{"name": "pods"}]
        if dual_stack:
            self.cloud.add_subnet(self.network, "pods-v6", "fd00:98::/64")
            self.subnets.append({"name": "pods-v6"})
        self.group = self.cloud.add_group("pods")
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        for name in self.nodes:
            self.add_node(name)
        self.granted: dict[str, set[str]] = {}  # ENI -> addresses that pods have
        self.other_cni: set[str] = set()  # nodes with another CNI plugin
        self.missing_nics: set[str] = set()  # ENIs whose NICs no guest shows
        self.agents = set(self.nodes)
        self.countdown = Countdown()
        self.resync_at = self.cloud.clock.now + RESYNC
        self.cloud.after_call = self.countdown
        self.store.after_write = self.countdown
        self.process = self._start_process()

    def now(self, node: str = "") -> str:
        """Return the time, by the clock of a node if there is one."""
        seconds = int(self.cloud.clock.now) + self.skew.get(node, 0)
        return format_time(START + timedelta(seconds=seconds))

    def add_cloud(self, name: str) -> MemoryCloud:
        """Add another cloud, with what a pool needs there; no two have a resource of one ID."""
        cloud = MemoryCloud(clock=self.cloud.clock, numbers=count(1000 * len(self.clouds)))
        cloud.add_subnet(cloud.add_network(), "pods", "10.99.0.0/22")
        cloud.add_group("pods")
        self.clouds[name] = cloud
        return cloud

    def add_node(
        self, name: str, *, veth: str = "true", pods: str = "110", cloud: str = "default"
    ) -> None:
        """Add a node, with its cloud as a label."""
        server = self.clouds[cloud].add_server()
        labels = {CLOUD: cloud} | ({LABEL_VETH: veth} if veth else {})
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
                "subnets": self.subnets,
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

    def remove_pods(self) -> None:
        for body in self.api.list(PODS).items:
            if LABEL_COMPONENT not in body["metadata"].get("labels", {}):
                self.api.delete(PODS, body["metadata"]["name"], body["metadata"]["namespace"])

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
                "labels": {"app.kubernetes.io/name": "openeni", LABEL_COMPONENT: "agent"},
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
        """Run for `seconds`, beginning with a resync."""
        self.process.enqueue_all()
        self.run_events(seconds, agents=agents)

    def run_events(self, seconds: float, *, agents: bool = True) -> None:
        """Run for `seconds`; the clock jumps to the next due time whenever nothing is due."""
        clock = self.cloud.clock
        end = clock.now + seconds
        for _ in range(20_000):
            for cloud in self.clouds.values():
                cloud.settle()
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
        live = self.clouds[eni.spec.cloud].ports.get(port.id) if port else None
        body = new_report(
            eni,
            self.granted.get(eni.name, set()),
            self.now(eni.spec.node_name),
            attached=live is not None
            and live.device_id == eni.spec.server_id
            and eni.name not in self.missing_nics,
            configured=self._configured(eni.spec.node_name),
        )
        if body is not None:
            self.api.apply(ENIS, body, manager=MANAGER_AGENT, subresource="status")
        return body is not None

    def _configured(self, node: str) -> Condition:
        if node not in self.other_cni:
            return CONFIGURED
        return condition(Type.CNI_CONFIGURED, Reason.OTHER_CNI, "05-x.conflist", status=False)

    def _start_process(self) -> Process:
        process = Process(self.store, self.clouds, self.cloud.clock, self.now, self.orphans)
        process.sync_state()
        process.enqueue_all()
        return process
