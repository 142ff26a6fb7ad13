"""Reconcile a node's taint with what its agent and its ENIs say."""

from collections.abc import Callable
from dataclasses import dataclass

from openeni_crds.conditions import Type, is_true
from openeni_crds.meta import Json
from openeni_crds.names import NODES, TAINT_AGENT_NOT_READY
from openeni_crds.selection import selects_node
from openeni_kube.result import Done, Result, Retry, requeue
from openeni_kube.store import NotFoundError, Store, StoreError, same_version
from openeni_operator.cluster_state import ClusterState
from openeni_operator.core_objects import Node
from openeni_operator.eni.report import uses_other_cni
from openeni_operator.node.agents import AgentPods
from openeni_operator.node.taint import TAINT, TaintFacts, decide


@dataclass(frozen=True)
class NodeDependencies:
    """Clients and caches of the node controller."""

    state: ClusterState
    store: Store
    agents: AgentPods
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds


class NodeReconciler:
    """Called by the work queue with a node's name."""

    def __init__(self, deps: NodeDependencies) -> None:
        self._deps = deps

    def __call__(self, name: str) -> Result:
        node = self._deps.state.node(name)
        if node is None:
            return Done()
        decision = decide(self._facts(node))
        if decision.tainted != node.agent_taint:
            try:
                self._write(name, tainted=decision.tainted)
            except NotFoundError:
                return Done()
            except StoreError as error:
                return Retry(f"node {name}: its taint cannot be changed: {error}")
        return requeue(decision.after)

    def _facts(self, node: Node) -> TaintFacts:
        enis = self._deps.state.enis_on(node.name)
        return TaintFacts(
            tainted=node.agent_taint,
            selected=any(selects_node(pool, node.traits) for pool in self._deps.state.pools()),
            enis=len(enis),
            configured=any(is_true(e.status.conditions, Type.CNI_CONFIGURED) for e in enis),
            other_cni=any(uses_other_cni(eni) for eni in enis),
            silent=self._deps.agents.silent(node.name),
        )

    def _write(self, name: str, *, tainted: bool) -> None:
        """Change openeni's taint only; fail if somebody changes the Node in between."""
        body = self._deps.store.get(NODES, name)
        before = _taints(body)
        others = [taint for taint in before if taint["key"] != TAINT_AGENT_NOT_READY]
        if tainted == (len(others) < len(before)):
            return
        after = [*others, TAINT | {"timeAdded": self._deps.now()}] if tainted else others
        version = body["metadata"]["resourceVersion"]
        same = same_version(version)
        change = {"op": "add", "path": "/spec/taints", "value": after}
        self._deps.store.patch(NODES, name, operations=[same, change])


def _taints(body: Json) -> list[Json]:
    return list(body.get("spec", {}).get("taints") or ())
