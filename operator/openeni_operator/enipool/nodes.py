"""Which nodes a pool serves, and what it holds on each: facts of the mirror in the plan's words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool, ReclaimPolicy
from openeni_crds.meta import seconds
from openeni_crds.selection import choose_pool, selects_node
from openeni_operator.cluster import Node, WaitingPod
from openeni_operator.eni.report import capacity_of, report_of
from openeni_operator.eni.status import retired
from openeni_operator.enipool.plan import Held, Limits, NodeState
from openeni_operator.enipool.resolve import Resolution
from openeni_operator.enipool.status import Nodes


@dataclass(frozen=True)
class Scene:
    """What is known of one pool's nodes, ENIs and waiting pods at one instant."""

    pool: ENIPool
    nodes: Mapping[str, Node]
    enis: tuple[ENI, ...]
    waiting: Mapping[str, frozenset[str]]  # node -> UIDs of pods of this pool
    now: str  # RFC 3339

    def selected(self) -> list[Node]:
        """Return the nodes that the pool selects, by name."""
        chosen = (n for n in self.nodes.values() if selects_node(self.pool, n.traits))
        return sorted(chosen, key=lambda node: node.name)

    def held_on(self, node: str) -> tuple[ENI, ...]:
        return tuple(e for e in self.enis if e.spec.node_name == node)


def limits_of(pool: ENIPool) -> Limits:
    capacity, reclaim = pool.spec.capacity, pool.spec.reclaim
    return Limits(
        addresses_per_eni=capacity.addresses_per_eni,
        max_enis=capacity.max_enis_per_node,
        min_available=capacity.min_available,
        max_available=capacity.max_available,
        max_addresses=capacity.max_addresses_per_node,
        idle=float(seconds(reclaim.after)) if reclaim.policy is ReclaimPolicy.AFTER else None,
    )


def sort_nodes(scene: Scene, resolution: Resolution | None) -> Nodes:
    """Say which of the selected nodes can be served, and what is in the way of the others."""
    found: dict[str, list[str]] = {"served": [], "agent": [], "mode": [], "subnet": []}
    for node in scene.selected():
        found[_obstacle(node, scene.pool, resolution)].append(node.name)
    return Nodes(
        served=tuple(found["served"]),
        without_agent=tuple(found["agent"]),
        without_mode=tuple(found["mode"]),
        without_subnet=tuple(found["subnet"]),
    )


def _obstacle(node: Node, pool: ENIPool, resolution: Resolution | None) -> str:
    able = node.can(pool.spec.datapath.mode)
    if able is None:
        return "agent"
    if not able:
        return "mode"
    if resolution is not None and not resolution.choose(node.zone, 0):
        return "subnet"
    return "served"


def waiting_pods(
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


def state_of(scene: Scene, name: str, served: frozenset[str]) -> NodeState:
    """One node in the plan's words; a node that is gone or not selected stays no longer."""
    node = scene.nodes.get(name)
    stays = not scene.pool.metadata.deleting and node is not None and _may_keep(scene.pool, node)
    return NodeState(
        name=name,
        held=tuple(held_of(eni, node, scene.now) for eni in scene.held_on(name)),
        waiting=len(scene.waiting.get(name, ())),
        pods=node.pods if node else 0,
        stays=stays,
        serves=name in served,
    )


def held_of(eni: ENI, node: Node | None, now: str) -> Held:
    port, report = eni.status.port, report_of(eni, now)
    return Held(
        name=eni.name,
        addresses=capacity_of(eni),
        granted=report.granted,
        cooling=report.cooling,
        ready=is_true(eni.status.conditions, Type.READY),
        retiring=bool(eni.spec.retiring),
        released=port is None or retired(eni) >= set(port.addresses),
        deleting=eni.metadata.deleting,
        stranded=node is None or node.is_other_than(eni.spec.server_id),
        idle=report.idle,
    )


def _may_keep(pool: ENIPool, node: Node) -> bool:
    """Return whether ENIs stay on the node; one without its providerID yet may be a server."""
    selector = pool.spec.node_selector
    return selector is None or selector.matches(node.labels)
