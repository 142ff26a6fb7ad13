"""Which nodes a pool serves, and what it holds on each: facts of the mirror in the plan's words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool, ReclaimPolicy
from openeni_crds.meta import seconds
from openeni_crds.selection import PodFacts, choose_pool
from openeni_operator.cluster import Node, WaitingPod
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

    def means(self, node: Node) -> bool:
        selector = self.pool.spec.node_selector
        return selector is None or selector.matches(node.labels)

    def selected(self) -> list[Node]:
        """Nodes that the pool means and that are servers, by name."""
        meant = (n for n in self.nodes.values() if n.server_id and self.means(n))
        return sorted(meant, key=lambda node: node.name)

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
) -> dict[str, frozenset[str]]:
    """UIDs of the pods by node that wait for an address of this pool."""
    candidates = list(pools)
    found: dict[str, set[str]] = {}
    for pod in pods:
        facts = PodFacts(pod.labels, pod.annotations, labels.get(pod.namespace, {}))
        chosen = choose_pool(facts, candidates)
        if isinstance(chosen, ENIPool) and chosen.name == pool.name:
            found.setdefault(pod.node, set()).add(pod.uid)
    return {node: frozenset(uids) for node, uids in found.items()}


def state_of(scene: Scene, name: str, served: frozenset[str]) -> NodeState:
    """One node in the plan's words; a node that is gone or not selected stays no longer."""
    node = scene.nodes.get(name)
    stays = not scene.pool.metadata.deleting and node is not None and scene.means(node)
    return NodeState(
        name=name,
        held=tuple(held_of(eni, node, scene.now) for eni in scene.held_on(name)),
        waiting=len(scene.waiting.get(name, ())),
        pods=node.pods if node else 0,
        stays=stays,
        serves=name in served,
    )


def held_of(eni: ENI, node: Node | None, now: str) -> Held:
    families = len(eni.spec.subnets)
    port, said = eni.status.port, eni.status.node
    return Held(
        name=eni.name,
        addresses=len(port.addresses) // families if port else eni.spec.addresses,
        granted=said.granted if said else 0,
        cooling=said.cooling if said else 0,
        ready=is_true(eni.status.conditions, Type.READY),
        retiring=bool(eni.spec.retiring),
        released=port is None or retired(eni) >= set(port.addresses),
        deleting=eni.metadata.deleting,
        stranded=node is None or node.is_other_than(eni.spec.server_id),
        idle=_age(said.idle_since, now) if said and said.idle_since else None,
    )


def _age(since: str, now: str) -> float:
    """Seconds between two RFC 3339 times."""
    parsed = [datetime.fromisoformat(t) for t in (since, now)]
    return (parsed[1] - parsed[0]).total_seconds()
