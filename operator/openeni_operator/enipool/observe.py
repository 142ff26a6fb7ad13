"""Observe some nodes of a pool in the cluster state, with their ENIs and waiting pods."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.selection import selects_node
from openeni_operator.claims import leaving_addresses, pending_claims
from openeni_operator.cluster_state import ClusterState
from openeni_operator.eni.idle_times import IdleTimes
from openeni_operator.enipool.facts import PoolFacts, slotless_nodes, waiting_pods_by_node
from openeni_operator.missing_nodes import MissingNodes


@dataclass(frozen=True)
class PoolSources:
    """What the facts about a pool are gathered from."""

    state: ClusterState
    missing_nodes: MissingNodes
    idle_times: IdleTimes
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds

    def nodes_of(self, pool: ENIPool) -> Iterable[str]:
        """Yield the names of the nodes that the pool selects, or has ENIs on."""
        yield from (n.name for n in self.state.nodes() if selects_node(pool, n.traits))
        yield from (eni.spec.node_name for eni in self.state.enis_of(pool.name))

    def observe(self, pool: ENIPool, names: Iterable[str], *, elastic: bool) -> PoolFacts:
        """Return the facts about these nodes. Raises StoreError."""
        state, now = self.state, self.now()
        nodes = {name: node for name in names if (node := state.node(name)) is not None}
        on_nodes = [eni for name in names for eni in state.enis_on(name)]
        enis = tuple(eni for eni in on_nodes if eni.spec.pool_name == pool.name)
        pods = [pod for name in nodes for pod in state.waiting_pods_on(name)]
        labels = {pod.namespace: state.namespace_labels(pod.namespace) for pod in pods}
        return PoolFacts(
            pool=pool,
            nodes=nodes,
            enis=enis,
            waiting=waiting_pods_by_node(pool, state.pools(), pods, labels, nodes),
            missing=self._missing(enis),
            idle=self.idle_times.of(pool.name, enis, now),
            now=now,
            slotless=slotless_nodes(on_nodes, pool),
            elastic=elastic,
            leaving=leaving_addresses(state, enis),
            claims=pending_claims(state, enis) if elastic else {},
        )

    def _missing(self, enis: Iterable[ENI]) -> dict[tuple[str, str], float]:
        servers = {(e.spec.node_name, e.spec.server_id) for e in enis}
        ages = {server: self.missing_nodes.missing_for(*server) for server in servers}
        return {server: age for server, age in ages.items() if age is not None}
