"""Gather the facts that a pool's plan needs from the cluster state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool, ReclaimPolicy
from openeni_crds.meta import seconds
from openeni_crds.selection import choose_pool, selects_node
from openeni_operator.core_objects import Node, WaitingPod
from openeni_operator.eni.report import agent_report, capacity_of
from openeni_operator.eni.status import retired_addresses
from openeni_operator.enipool.plan import ENIState, NodeState, SizingPolicy
from openeni_operator.enipool.resolution import Resolution
from openeni_operator.enipool.status import NodeGroups


@dataclass(frozen=True)
class PoolFacts:
    """A pool with its nodes, ENIs and waiting pods."""

    pool: ENIPool
    nodes: Mapping[str, Node]
    enis: tuple[ENI, ...]
    waiting: Mapping[str, frozenset[str]]  # node -> UIDs of pods that wait for this pool
    now: str  # RFC 3339

    def selected_nodes(self) -> list[Node]:
        """Return the nodes that the pool selects, by name."""
        selected = (n for n in self.nodes.values() if selects_node(self.pool, n.traits))
        return sorted(selected, key=lambda node: node.name)

    def enis_on(self, node: str) -> tuple[ENI, ...]:
        return tuple(e for e in self.enis if e.spec.node_name == node)


def sizing_policy(pool: ENIPool) -> SizingPolicy:
    capacity, reclaim = pool.spec.capacity, pool.spec.reclaim
    after = float(seconds(reclaim.after)) if reclaim.policy is ReclaimPolicy.AFTER else None
    return SizingPolicy(
        addresses_per_eni=capacity.addresses_per_eni,
        max_enis=capacity.max_enis_per_node,
        min_available=capacity.min_available,
        max_available=capacity.max_available,
        max_addresses=capacity.max_addresses_per_node,
        reclaim_after=after,
    )


def group_nodes(facts: PoolFacts, resolution: Resolution | None) -> NodeGroups:
    """Group the selected nodes by what prevents an ENI there."""
    groups: dict[str, list[str]] = {"served": [], "agent": [], "datapath": [], "subnet": []}
    for node in facts.selected_nodes():
        groups[_group(node, facts.pool, resolution)].append(node.name)
    return NodeGroups(
        served=tuple(groups["served"]),
        without_agent=tuple(groups["agent"]),
        without_datapath=tuple(groups["datapath"]),
        without_subnet=tuple(groups["subnet"]),
    )


def _group(node: Node, pool: ENIPool, resolution: Resolution | None) -> str:
    supported = node.supports(pool.spec.datapath.mode)
    if supported is None:
        return "agent"
    if not supported:
        return "datapath"
    if resolution is not None and not resolution.choose(node.zone, 0):
        return "subnet"
    return "served"


def waiting_pods_by_node(
    pool: ENIPool,
    pools: Iterable[ENIPool],
    pods: Iterable[WaitingPod],
    labels: Mapping[str, dict[str, str]],
    nodes: Mapping[str, Node],
) -> dict[str, frozenset[str]]:
    """Return, by node, the UIDs of the pods that wait for an address of this pool."""
    candidates = list(pools)
    found: dict[str, set[str]] = {}
    for pod in pods:
        node = nodes.get(pod.node)
        if node is None:
            continue
        facts = pod.traits(labels.get(pod.namespace, {}))
        chosen = choose_pool(facts, node.traits, candidates)
        if isinstance(chosen, ENIPool) and chosen.name == pool.name:
            found.setdefault(pod.node, set()).add(pod.uid)
    return {node: frozenset(uids) for node, uids in found.items()}


def node_state(facts: PoolFacts, name: str, served: frozenset[str]) -> NodeState:
    """Return the node as the plan sees it; a deleted node counts as not selected."""
    node = facts.nodes.get(name)
    deleting = facts.pool.metadata.deleting
    return NodeState(
        name=name,
        enis=tuple(eni_state(eni, node, facts.now) for eni in facts.enis_on(name)),
        waiting=len(facts.waiting.get(name, ())),
        max_pods=node.max_pods if node else 0,
        selected=not deleting and node is not None and _may_keep(facts.pool, node),
        can_create=name in served,
    )


def eni_state(eni: ENI, node: Node | None, now: str) -> ENIState:
    port, report = eni.status.port, agent_report(eni, now)
    return ENIState(
        name=eni.name,
        addresses=capacity_of(eni),
        granted=report.granted,
        cooling=report.cooling,
        ready=is_true(eni.status.conditions, Type.READY),
        retiring=bool(eni.spec.retiring),
        all_retired=port is None or retired_addresses(eni) >= set(port.addresses),
        deleting=eni.metadata.deleting,
        orphaned=node is None or node.is_other_server(eni.spec.server_id),
        idle_seconds=report.idle_seconds,
    )


def _may_keep(pool: ENIPool, node: Node) -> bool:
    """Return True if ENIs stay on the node; one without a providerID may still be a server."""
    selector = pool.spec.node_selector
    return selector is None or selector.matches(node.labels)
