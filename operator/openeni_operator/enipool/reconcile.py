"""Reconcile one ENIPool: gather facts, resolve names, plan each node, write ENIs and the status."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from openeni_crds.eni import ENI, ENISpec
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, ObjectMeta, OwnerReference, encode
from openeni_crds.names import (
    API_VERSION,
    ENIPOOLS,
    ENIS,
    FINALIZER_ENI,
    FINALIZER_ENIPOOL,
    LABEL_NODE_HASH,
    LABEL_POOL,
    NODES,
    PODIPS,
    eni_name,
    node_hash,
)
from openeni_kube.result import Done, RequeueAfter, Result, Retry
from openeni_kube.store import ConflictError, InvalidError, NotFoundError, Store, StoreError
from openeni_operator.cause import Cause
from openeni_operator.cloud import errors
from openeni_operator.cluster_state import ClusterState
from openeni_operator.enipool.facts import (
    PoolFacts,
    group_nodes,
    node_state,
    sizing_policy,
    waiting_pods_by_node,
)
from openeni_operator.enipool.plan import (
    Action,
    CreateENI,
    DeleteENI,
    NodeState,
    Plan,
    RetireENI,
    plan,
)
from openeni_operator.enipool.resolution import Resolution
from openeni_operator.enipool.status import StatusInputs, current_status, desired_status
from openeni_operator.finalizers import add_finalizer, remove_finalizer
from openeni_operator.status_writer import write_status

RECHECK: Final = 15.0  # seconds; for what only a person or the cloud can correct


@dataclass(frozen=True)
class PoolDependencies:
    """Clients and caches of the ENIPool controller."""

    state: ClusterState
    store: Store
    resolve: Callable[[ENIPool], Resolution | Cause]  # raises CloudError
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds


class PoolReconciler:
    """Called with a pool's name by the work queue, which never runs one key twice at once."""

    def __init__(self, deps: PoolDependencies) -> None:
        self._deps = deps

    def __call__(self, name: str) -> Result:
        pool = self._deps.state.pool(name)
        if pool is None:
            return Done()
        try:
            return _PoolReconcile(self._deps, pool).run()
        except StoreError as error:
            return Retry(str(error))


class _PoolReconcile:
    """One reconcile of one pool."""

    def __init__(self, deps: PoolDependencies, pool: ENIPool) -> None:
        self.deps = deps
        self.pool = pool
        self.failures: list[str] = []

    def run(self) -> Result:
        deleting = self.pool.metadata.deleting
        if not deleting and FINALIZER_ENIPOOL not in self.pool.metadata.finalizers:
            body = add_finalizer(self.deps.store, ENIPOOLS, self.pool.metadata, FINALIZER_ENIPOOL)
            self.deps.state.put(ENIPOOLS, body)
            return RequeueAfter(0, "the finalizer was added")
        if deleting and self.is_empty():
            remove_finalizer(self.deps.store, ENIPOOLS, self.pool.metadata, FINALIZER_ENIPOOL)
            return Done()
        facts = self.gather_facts()
        inputs = StatusInputs(enis=facts.enis)
        inputs = inputs if deleting else self.resolve_names(facts, inputs)
        inputs = self.execute_plans(facts, inputs)
        self.write_status(inputs)
        return self.result(facts, inputs)

    def is_empty(self) -> bool:
        """Return True if no ENI is left; confirm with a list, the cache may be stale."""
        if self.deps.state.enis_of(self.pool.name):
            return False
        listed = self.deps.store.list(ENIS).items
        return not any(body["spec"]["poolName"] == self.pool.name for body in listed)

    def gather_facts(self) -> PoolFacts:
        state = self.deps.state
        enis = tuple(state.enis_of(self.pool.name))
        self.confirm_missing_nodes({e.spec.node_name for e in enis})
        pods = state.waiting_pods()
        nodes = {node.name: node for node in state.nodes()}
        labels = {pod.namespace: state.namespace_labels(pod.namespace) for pod in pods}
        return PoolFacts(
            pool=self.pool,
            nodes=nodes,
            enis=enis,
            waiting=waiting_pods_by_node(self.pool, state.pools(), pods, labels, nodes),
            now=self.deps.now(),
        )

    def confirm_missing_nodes(self, nodes: Iterable[str]) -> None:
        """GET nodes that the cache lacks: it may be stale, and a missing node costs its ENIs."""
        for name in nodes:
            if self.deps.state.node(name) is not None:
                continue
            try:
                self.deps.state.put(NODES, self.deps.store.get(NODES, name))
            except NotFoundError:
                continue

    def resolve_names(self, facts: PoolFacts, inputs: StatusInputs) -> StatusInputs:
        """Look up in the cloud what the pool's spec names."""
        try:
            resolved = self.deps.resolve(self.pool)
        except errors.CloudError as error:
            cause = Cause(error.reason, error.message)
            return replace(inputs, cloud_failure=cause, nodes=group_nodes(facts, None))
        if isinstance(resolved, Cause):
            return replace(inputs, pool_failure=resolved, nodes=group_nodes(facts, None))
        return replace(inputs, resolution=resolved, nodes=group_nodes(facts, resolved))

    def execute_plans(self, facts: PoolFacts, inputs: StatusInputs) -> StatusInputs:
        """Plan each node and execute the plan; a failure on one node does not stop the others."""
        served = frozenset(inputs.nodes.served if inputs.resolution is not None else ())
        names = {n.name for n in facts.selected_nodes()} | {e.spec.node_name for e in facts.enis}
        at_limit: list[str] = []
        for name in sorted(names):
            try:
                planned = self.plan_node(node_state(facts, name, served), facts)
                for action in planned.actions:
                    self.execute(action, facts, inputs.resolution)
            except StoreError as error:
                self.failures.append(f"node {name}: {error}")
                continue
            if planned.limit_reached:
                at_limit.append(name)
        return replace(inputs, nodes=replace(inputs.nodes, at_limit=tuple(at_limit)))

    def plan_node(self, node: NodeState, facts: PoolFacts) -> Plan:
        """Plan the node; before it gets more for its waiting pods, leave out those already served.

        A pod stays Pending for a while after its grant, and its address already counts as granted.
        A pod with a PodIP is served. If more addresses are granted than PodIPs are
        published, the difference belongs to some of the other waiting pods.
        """
        policy = sizing_policy(self.pool)
        planned = plan(node, policy)
        grows = planned.limit_reached or any(isinstance(a, CreateENI) for a in planned.actions)
        if not (grows and node.waiting):
            return planned
        listed = self.deps.store.list(PODIPS, field_selector=f"spec.nodeName={node.name}").items
        served = {body["spec"]["podUID"] for body in listed}
        own = {eni.name for eni in node.enis}
        published = sum(body["spec"]["eniName"] in own for body in listed)
        unpublished = max(0, sum(eni.granted for eni in node.enis) - published)
        waiting = len(facts.waiting.get(node.name, frozenset()) - served) - unpublished
        return plan(replace(node, waiting=max(0, waiting)), policy)

    def execute(self, action: Action, facts: PoolFacts, resolution: Resolution | None) -> None:
        match action:
            case CreateENI(node, addresses):
                if resolution is not None:
                    self.create(facts, node, addresses, resolution)
            case RetireENI(name):
                self.retire(_by_name(facts.enis, name))
            case DeleteENI(name):
                eni = _by_name(facts.enis, name)
                self.deps.store.delete(ENIS, name, uid=eni.metadata.uid)

    def create(self, facts: PoolFacts, node: str, addresses: int, resolution: Resolution) -> None:
        taken = {e.name for e in self.deps.state.enis()}
        names = (eni_name(self.pool.name, node, i) for i in count())
        name = next(n for n in names if n not in taken)
        eni = ENI(
            metadata=ObjectMeta(
                name=name,
                finalizers=(FINALIZER_ENI,),
                labels={LABEL_POOL: self.pool.name, LABEL_NODE_HASH: node_hash(node)},
                owner_references=(owner_of(self.pool),),
            ),
            spec=ENISpec(
                pool_name=self.pool.name,
                node_name=node,
                server_id=facts.nodes[node].server_id,
                cloud=self.pool.spec.cloud,
                network_id=resolution.network.id,
                subnet_ids=tuple(
                    s.id for s in resolution.choose(facts.nodes[node].zone, addresses + 1)
                ),
                security_group_ids=tuple(g.id for g in resolution.security_groups),
                datapath=self.pool.spec.datapath,
                mtu=resolution.mtu,
                address_count=addresses,
            ),
        )
        body: Json = {"apiVersion": API_VERSION, "kind": ENIS.name, **encode(eni)}
        try:
            created = self.deps.store.create(ENIS, body)
        except ConflictError:  # created earlier; the watch has not delivered it yet
            created = self.deps.store.get(ENIS, name)
        self.deps.state.put(ENIS, created)

    def retire(self, eni: ENI) -> None:
        """Ask for all addresses; the agent's answers count from the new generation on."""
        addresses = list(eni.status.port.addresses) if eni.status.port else []
        patch: list[Json] = [
            {"op": "test", "path": "/metadata/uid", "value": eni.metadata.uid},
            {"op": "test", "path": "/metadata/generation", "value": eni.metadata.generation},
            {"op": "add", "path": "/spec/retiring", "value": addresses},
        ]
        try:
            body = self.deps.store.patch(ENIS, eni.name, operations=patch)
        except InvalidError:  # a test failed: plan again with the changed object
            self.failures.append(f"ENI {eni.name} has changed meanwhile")
            return
        self.deps.state.put(ENIS, body, only_update=True)

    def write_status(self, inputs: StatusInputs) -> None:
        """Write the status if it has changed."""
        current = replace(inputs, enis=tuple(self.deps.state.enis_of(self.pool.name)))
        desired = desired_status(self.pool, current, self.deps.now())
        if desired != current_status(self.pool):
            # A zero is a count, too, but omitted as the field's default.
            counts = {"eniCount": desired.eni_count, "freeCount": desired.free_count}
            metadata, status = self.pool.metadata, encode(desired) | counts
            write_status(self.deps.store, self.deps.state, ENIPOOLS, metadata, status)

    def result(self, facts: PoolFacts, inputs: StatusInputs) -> Result:
        if self.failures:
            return Retry("; ".join(self.failures))
        if inputs.failure is not None:
            return RequeueAfter(RECHECK, inputs.failure.message)
        due = seconds_until_reclaim(facts)
        return RequeueAfter(due, "an idle ENI becomes reclaimable") if due else Done()


def owner_of(pool: ENIPool) -> OwnerReference:
    """Return the ENIs' owner reference to their pool, for tools and for garbage collection."""
    return OwnerReference(
        api_version=API_VERSION,
        kind=ENIPOOLS.name,
        name=pool.name,
        uid=pool.metadata.uid,
        controller=True,
    )


def seconds_until_reclaim(facts: PoolFacts) -> float | None:
    """Return the seconds until the next idle ENI may be retired; None if there is none."""
    after = sizing_policy(facts.pool).reclaim_after
    if after is None or facts.pool.metadata.deleting:
        return None
    names = {e.spec.node_name for e in facts.enis}
    nodes = (node_state(facts, name, frozenset()) for name in names)
    idle = [e.idle_seconds for node in nodes for e in node.enis if e.usable]
    left = [after - seconds for seconds in idle if seconds is not None and seconds < after]
    return max(1.0, min(left)) if left else None


def _by_name(enis: Iterable[ENI], name: str) -> ENI:
    return next(e for e in enis if e.name == name)
