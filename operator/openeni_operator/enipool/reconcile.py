"""One ENIPool: gather what is known, plan each node, write ENIs, say what is so."""

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
    MANAGER_OPERATOR,
    NODES,
    PODIPS,
    eni_name,
    node_hash,
)
from openeni_kube.result import Done, RequeueAfter, Result, Retry
from openeni_kube.store import ConflictError, InvalidError, NotFoundError, Store, StoreError
from openeni_operator.cloud import errors
from openeni_operator.enipool.nodes import Scene, limits_of, sort_nodes, state_of, waiting_pods
from openeni_operator.enipool.plan import (
    Action,
    CreateENI,
    DeleteENI,
    NodeState,
    Plan,
    RetireENI,
    plan,
)
from openeni_operator.enipool.resolve import Problem, Resolution
from openeni_operator.enipool.status import Findings, present_status, wanted_status
from openeni_operator.finalizers import with_finalizer, without_finalizer
from openeni_operator.mirror import Mirror

RECHECK: Final = 15.0  # seconds; what only a person or the cloud can put right


@dataclass(frozen=True)
class World:
    """What a reconcile works with; made once in `__main__`."""

    mirror: Mirror
    store: Store
    resolve: Callable[[ENIPool], Resolution | Problem]  # raises CloudError
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds


class PoolReconciler:
    """Called by the queue with a pool's name, never twice at once for the same one."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self, name: str) -> Result:
        pool = self._world.mirror.pool(name)
        if pool is None:
            return Done()
        try:
            return _Turn(self._world, pool).run()
        except StoreError as error:
            return Retry(str(error))


class _Turn:
    """One look at one pool, and what follows from it."""

    def __init__(self, world: World, pool: ENIPool) -> None:
        self.world = world
        self.pool = pool
        self.failures: list[str] = []

    def run(self) -> Result:
        deleting = self.pool.metadata.deleting
        if not deleting and FINALIZER_ENIPOOL not in self.pool.metadata.finalizers:
            body = with_finalizer(self.world.store, ENIPOOLS, self.pool.metadata, FINALIZER_ENIPOOL)
            self.world.mirror.put(ENIPOOLS, body)
            return RequeueAfter(0, "the finalizer is on")
        if deleting and self.is_empty():
            without_finalizer(self.world.store, ENIPOOLS, self.pool.metadata, FINALIZER_ENIPOOL)
            return Done()
        scene = self.gather()
        found = Findings(enis=scene.enis)
        found = found if deleting else self.find(scene, found)
        found = self.work(scene, found)
        self.say(found)
        return self.answer(scene, found)

    def is_empty(self) -> bool:
        """No ENI is left; the mirror alone is not believed with the last word."""
        if self.world.mirror.enis_of(self.pool.name):
            return False
        listed = self.world.store.list(ENIS).items
        return not any(body["spec"]["poolName"] == self.pool.name for body in listed)

    def gather(self) -> Scene:
        mirror = self.world.mirror
        enis = tuple(mirror.enis_of(self.pool.name))
        self.make_sure_of({e.spec.node_name for e in enis})
        pods = mirror.waiting_pods()
        nodes = {node.name: node for node in mirror.nodes()}
        labels = {pod.namespace: mirror.namespace_labels(pod.namespace) for pod in pods}
        return Scene(
            pool=self.pool,
            nodes=nodes,
            enis=enis,
            waiting=waiting_pods(self.pool, mirror.pools(), pods, labels, nodes),
            now=self.world.now(),
        )

    def make_sure_of(self, nodes: Iterable[str]) -> None:
        """That an ENI's node is gone is not believed on the mirror's word: it costs the ENI."""
        for name in nodes:
            if self.world.mirror.node(name) is not None:
                continue
            try:
                self.world.mirror.put(NODES, self.world.store.get(NODES, name))
            except NotFoundError:
                continue

    def find(self, scene: Scene, found: Findings) -> Findings:
        """Ask the cloud what the pool's names mean."""
        try:
            resolved = self.world.resolve(self.pool)
        except errors.CloudError as error:
            cloud = Problem(error.reason, error.message)
            return replace(found, cloud=cloud, nodes=sort_nodes(scene, None))
        if isinstance(resolved, Problem):
            return replace(found, problem=resolved, nodes=sort_nodes(scene, None))
        return replace(found, resolution=resolved, nodes=sort_nodes(scene, resolved))

    def work(self, scene: Scene, found: Findings) -> Findings:
        """Plan each node and do it; what fails on one node keeps no other from its own."""
        served = frozenset(found.nodes.served if found.resolution is not None else ())
        names = {n.name for n in scene.selected()} | {e.spec.node_name for e in scene.enis}
        short: list[str] = []
        for name in sorted(names):
            try:
                planned = self.plan_node(state_of(scene, name, served), scene)
                for action in planned.actions:
                    self.act(action, scene, found.resolution)
            except StoreError as error:
                self.failures.append(f"node {name}: {error}")
                continue
            if planned.short:
                short.append(name)
        return replace(found, nodes=replace(found.nodes, short=tuple(short)))

    def plan_node(self, node: NodeState, scene: Scene) -> Plan:
        """Plan; before anything is made for waiting pods, leave out those that have an address.

        A pod is still Pending for a while after its grant, which is counted as granted already:
        its PodIP tells, and where more is granted than PodIPs are published yet, some of the
        others must have the rest.
        """
        limits = limits_of(self.pool)
        planned = plan(node, limits)
        makes = planned.short or any(isinstance(a, CreateENI) for a in planned.actions)
        if not (makes and node.waiting):
            return planned
        listed = self.world.store.list(PODIPS, field_selector=f"spec.nodeName={node.name}").items
        served = {body["spec"]["podUID"] for body in listed}
        own = {held.name for held in node.held}
        published = sum(body["spec"]["eniName"] in own for body in listed)
        unpublished = max(0, sum(held.granted for held in node.held) - published)
        waiting = len(scene.waiting.get(node.name, frozenset()) - served) - unpublished
        return plan(replace(node, waiting=max(0, waiting)), limits)

    def act(self, action: Action, scene: Scene, resolution: Resolution | None) -> None:
        match action:
            case CreateENI(node, addresses):
                if resolution is not None:
                    self.create(scene, node, addresses, resolution)
            case RetireENI(name):
                self.retire(_named(scene.enis, name))
            case DeleteENI(name):
                eni = _named(scene.enis, name)
                self.world.store.delete(ENIS, name, uid=eni.metadata.uid)

    def create(self, scene: Scene, node: str, addresses: int, resolution: Resolution) -> None:
        taken = {e.name for e in self.world.mirror.enis()}
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
                server_id=scene.nodes[node].server_id,
                cloud=self.pool.spec.cloud,
                network_id=resolution.network.id,
                subnet_ids=tuple(
                    s.id for s in resolution.choose(scene.nodes[node].zone, addresses + 1)
                ),
                security_group_ids=tuple(g.id for g in resolution.security_groups),
                datapath=self.pool.spec.datapath,
                mtu=resolution.mtu,
                address_count=addresses,
            ),
        )
        body: Json = {"apiVersion": API_VERSION, "kind": ENIS.name, **encode(eni)}
        try:
            created = self.world.store.create(ENIS, body)
        except ConflictError:  # made a moment ago, before the mirror knew
            created = self.world.store.get(ENIS, name)
        self.world.mirror.put(ENIS, created)

    def retire(self, eni: ENI) -> None:
        """Ask for all addresses back; the agent's answers count from this generation on."""
        addresses = list(eni.status.port.addresses) if eni.status.port else []
        patch: list[Json] = [
            {"op": "test", "path": "/metadata/uid", "value": eni.metadata.uid},
            {"op": "test", "path": "/metadata/generation", "value": eni.metadata.generation},
            {"op": "add", "path": "/spec/retiring", "value": addresses},
        ]
        try:
            body = self.world.store.patch(ENIS, eni.name, patch)
        except InvalidError:  # it has changed: the next look plans anew
            self.failures.append(f"ENI {eni.name} has changed")
            return
        self.world.mirror.put(ENIS, body, known=True)

    def say(self, found: Findings) -> None:
        """Write the status, if it differs from what stands there."""
        now_there = replace(found, enis=tuple(self.world.mirror.enis_of(self.pool.name)))
        wanted = wanted_status(self.pool, now_there, self.world.now())
        if wanted == present_status(self.pool):
            return
        body: Json = {
            "apiVersion": API_VERSION,
            "kind": ENIPOOLS.name,
            "metadata": {"name": self.pool.name, "uid": self.pool.metadata.uid},
            "status": encode(wanted),
        }
        written = self.world.store.apply(
            ENIPOOLS, body, manager=MANAGER_OPERATOR, subresource="status"
        )
        self.world.mirror.put(ENIPOOLS, written, known=True)

    def answer(self, scene: Scene, found: Findings) -> Result:
        if self.failures:
            return Retry("; ".join(self.failures))
        bad = found.cloud or found.problem
        if bad is not None:
            return RequeueAfter(RECHECK, bad.message)
        due = idle_due(scene)
        return RequeueAfter(due, "an ENI may have been idle for long enough") if due else Done()


def owner_of(pool: ENIPool) -> OwnerReference:
    """Return what links an ENI to its pool: for tools, and for garbage collection at the end."""
    return OwnerReference(
        api_version=API_VERSION,
        kind=ENIPOOLS.name,
        name=pool.name,
        uid=pool.metadata.uid,
        controller=True,
    )


def idle_due(scene: Scene) -> float | None:
    """Seconds until the next idle ENI may go."""
    idle = limits_of(scene.pool).idle
    if idle is None or scene.pool.metadata.deleting:
        return None
    names = {e.spec.node_name for e in scene.enis}
    held = [h for name in names for h in state_of(scene, name, frozenset()).held if h.usable]
    left = [idle - h.idle for h in held if h.idle is not None and h.idle < idle]
    return max(1.0, min(left)) if left else None


def _named(enis: Iterable[ENI], name: str) -> ENI:
    return next(e for e in enis if e.name == name)
