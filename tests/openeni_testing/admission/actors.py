"""The operator and an agent as they are, on a real API server with their own tokens.

The operator's reconciles are driven by hand and its cloud is in memory; of the agent all that
writes to the API server is real, and no kernel is there.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from openeni_crds.conditions import Reason, Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIPOOLS, ENIS, MANAGER_AGENT, NODES, PODIPS, SERVICE_CIDRS
from openeni_kube.client import KubeStore
from openeni_kube.result import Result, Retry
from openeni_kube.store import object_key
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.facts import eni_facts, eni_view, is_attached
from openeni_nodeagent.cluster.node_reconciler import NodeReconciler
from openeni_nodeagent.cluster.objects import Node, ServiceCIDR
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.enis.link_status import ConditionValue, LinkStatus
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grant_log import EndReason, GrantLog
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.reports import eni_status
from openeni_nodeagent.reports.podip_publisher import PodIPPublisher
from openeni_nodeagent.settings import from_environment
from openeni_operator.cluster_state import LABEL_SELECTORS, ClusterState
from openeni_operator.controllers import build_reconcilers, cloud_reads
from openeni_operator.keys import WATCHED_PODIP
from openeni_operator.node.agents import AgentPods
from openeni_operator.node.reconcile import NodeDependencies
from openeni_operator.node.reconcile import NodeReconciler as TaintReconciler
from openeni_operator.podip.reconcile import ALL_NODES
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.agent.parts import CNI_CONFIGURED
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.controller.recorded_events import RecordedEvents

_BEGUN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STEP: Final = 5.0  # seconds of the cloud's clock between two looks


def succeeded(result: Result) -> None:
    """Assert that the API server refused nothing."""
    assert not (isinstance(result, Retry) and "forbidden" in result.error), result


class Operator:
    """The operator of one pool."""

    def __init__(self, store: KubeStore, cloud: MemoryCloud, pool: str) -> None:
        self._store = store
        self._cloud = cloud
        self._pool = pool
        self.state = ClusterState(lambda _: None)
        agents = AgentPods("openeni-system", cloud.clock, lambda _: None)
        self._reconcilers = build_reconcilers(
            self.state,
            store,
            self._find,
            "1c0ffee1-0000",
            agents,
            reads=cloud_reads(0, cloud.clock),
            recorder=RecordedEvents(),
            enqueue=lambda _: None,
            clock=cloud.clock,
            now=self.now,
        )

    def now(self) -> str:
        at = _BEGUN + timedelta(seconds=int(self._cloud.clock()))
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def act(self) -> None:
        """Look at everything once."""
        self._cloud.settle()
        for kind in (NODES, ENIPOOLS, ENIS):
            there = {b["metadata"]["name"]: b for b in self._store.list(kind).items}
            for name, version in self.state.versions(kind).items():
                if name not in there:
                    self.state.delete_version(kind, name, version)
            for body in there.values():
                self.state.put(kind, body)
        self._watch_podips()
        succeeded(self._reconcilers[ENIPOOLS](self._pool))
        for eni in self.state.enis_of(self._pool):
            succeeded(self._reconcilers[ENIS](eni.name))
        self.review()
        for podip in self.state.podips():
            succeeded(self._reconcilers[WATCHED_PODIP](podip.key))
        self._cloud.clock.advance(_STEP)

    def _watch_podips(self) -> None:
        listed = self._store.list(PODIPS, label_selector=LABEL_SELECTORS[PODIPS]).items
        there = {object_key(body): body for body in listed}
        for key, version in self.state.versions(PODIPS).items():
            if key not in there:
                self.state.delete_version(PODIPS, key, version)
        for body in there.values():
            self.state.put(PODIPS, body)

    def review(self) -> None:
        """Look at every PodIP."""
        succeeded(self._reconcilers[PODIPS](ALL_NODES))

    def look_at_node(self, name: str, *, silent: float) -> None:
        """Set the node's taint, or take it off, after its agent was silent for these seconds."""
        agents = AgentPods("", lambda: clock, lambda _: None)
        clock = 0.0
        pod: Json = {"metadata": {"name": "agent", "namespace": ""}, "spec": {"nodeName": name}}
        agents.put(pod | {"status": {"conditions": [{"type": "Ready", "status": str(not silent)}]}})
        clock = silent
        reconcile = TaintReconciler(NodeDependencies(self.state, self._store, agents, self.now))
        succeeded(reconcile(name))

    def _find(self, _: str) -> MemoryCloud:
        return self._cloud


class Agent:
    """The agent of one node."""

    def __init__(self, store: KubeStore, node: str, operator: Operator, journal: Path) -> None:
        self._store = store
        self._node = node
        self._now = operator.now
        self._grants = Grants(Journal(journal, "boot-1"), GrantLog(node), lambda _: False)
        caches = Caches()
        self._enis, self._podips = caches.enis, caches.podips
        self._publisher = PodIPPublisher(store, caches, self._grants, node, lambda _: None)

    def label(self) -> None:
        """Say what the node's kernel can do."""
        nodes: Cache[Node] = Cache(NODES, Node)
        (body,) = self._store.list(NODES, field_selector=f"metadata.name={self._node}").items
        nodes.put(body)
        side = NodeReconciler(
            self._store,
            MemoryDatapath(datapath_modes=frozenset({"Veth", "IPVlanL3S"})),
            self._grants,
            settings=from_environment({"NODE_NAME": self._node}),
            nodes=nodes,
            cidrs=Cache(SERVICE_CIDRS, ServiceCIDR),
            is_unused=lambda: False,
            on_facts=lambda _: None,
        )
        succeeded(side.reconcile(self._node))

    def report(self) -> None:
        """Look at the kernel, which has nothing, and write what differs of each ENI's status."""
        self._grants.look(dict)
        mine = f"spec.nodeName={self._node}"
        for body in self._store.list(ENIS, field_selector=mine).items:
            self._enis.put(body)
            eni = decode(body, ENI)
            if eni.status.port is not None:
                self._report(eni)

    def _report(self, eni: ENI) -> None:
        plugged = is_attached(eni)
        held = bool(self._grants.of_eni(eni.name))
        up = plugged and (held or not eni.metadata.deleting)
        facts = eni_facts(eni)
        assert facts
        self._grants.observe(eni_view(eni, link_ready=up), facts)
        side = LinkStatus(
            guest=ConditionValue(ok=True, reason=Reason.PREPARED),
            link=ConditionValue(ok=up, reason=Reason.LINK_UP if up else Reason.WAITING_FOR_NIC),
            device="eth1",
            ifindex=3,
        )
        acknowledged = self._grants.acknowledge(eni.name)
        assert acknowledged
        node = eni_status.node_status(side, *acknowledged, self._now())
        told = eni_status.agent_conditions(eni, side, CNI_CONFIGURED, self._now())
        if not eni_status.is_shown(eni, node, told):
            written = eni_status.status_body(eni, node, told)
            self._store.apply(ENIS, written, manager=MANAGER_AGENT, subresource="status")

    def take(self, grant: Grant) -> None:
        """Record a grant, and publish it; a pod's next sandbox takes the place of its last."""
        for old in self._grants.of_pod(grant.attachment.pod_uid):
            self._end(old)
        self._grants.adopt(grant)
        self.publish(grant.pod_key)

    def end(self, grant: Grant) -> None:
        """End a grant: the PodIP loses its finalizer and goes."""
        self._end(grant)
        self.publish(grant.pod_key)

    def _end(self, grant: Grant) -> None:
        self._grants.end_grant(grant, EndReason.DELETED, used=False)

    def publish(self, key: str) -> None:
        listed = self._store.list(PODIPS, field_selector=f"spec.nodeName={self._node}").items
        for known in self._podips.all():
            if known.key not in map(object_key, listed):
                self._podips.remove(
                    {"metadata": {"name": known.name, "namespace": known.namespace}}
                )
        for body in listed:
            self._podips.put(body)
        succeeded(self._publisher.reconcile(key))


def is_ready(eni: ENI) -> bool:
    return is_true(eni.status.conditions, Type.READY)
