"""Reconcile one watched PodIP: gather facts, decide, write conditions, change or delete it."""

from collections.abc import Callable
from dataclasses import dataclass

from openeni_crds.conditions import Condition
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, encode
from openeni_crds.names import ENIPOOLS, FINALIZER_PODIP, PODIPS, PODS
from openeni_crds.podip import DELETE, PodIP
from openeni_crds.selection import AddressWish, WishError, choose_pool, wish_of
from openeni_kube.events import Recorder
from openeni_kube.result import Done, RequeueAfter, Result, Retry
from openeni_kube.store import (
    ConflictError,
    InvalidError,
    NotFoundError,
    Store,
    StoreError,
    same_version,
)
from openeni_operator.claim_refusals import ClaimRefusals
from openeni_operator.claims import claimant_of
from openeni_operator.cluster_state import ClusterState
from openeni_operator.core_objects import WaitingPod, is_alive, parse_pod
from openeni_operator.missing_nodes import NODE_GRACE_PERIOD, MissingNodes
from openeni_operator.objects.status_writer import CHANGED_SECONDS, write_status
from openeni_operator.podip.facts import PlacementFacts, Waiter
from openeni_operator.podip.placement import (
    ClearENI,
    EndPodIP,
    MoveToNode,
    PodIPChange,
    SetENI,
    decide,
)
from openeni_operator.podip.plan import is_without_pod, own_conditions
from openeni_operator.podip.retained_times import RetainedTimes
from openeni_operator.podip.target_eni import may_serve
from openeni_operator.process.transitions import record_transitions


@dataclass(frozen=True)
class WatchedPodIPDependencies:
    """Clients and caches of the controller of watched PodIPs."""

    state: ClusterState
    store: Store
    missing_nodes: MissingNodes
    refusals: ClaimRefusals
    recorder: Recorder
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds
    clock: Callable[[], float]  # monotonic seconds


class WatchedPodIPReconciler:
    """Called with `namespace/name` by the work queue, which never runs one key twice at once."""

    def __init__(self, deps: WatchedPodIPDependencies) -> None:
        self._deps = deps
        self._retained_times = RetainedTimes(deps.clock)
        self._over: dict[str, tuple[str, int]] = {}  # by key: a pod's UID

    def __call__(self, key: str) -> Result:
        podip = self._deps.state.podip(key)
        if podip is None:
            self._retained_times.forget(key)
            self._over.pop(key, None)
            return Done()
        try:
            decision = decide(self._facts(podip))
            self._write_conditions(podip, decision.conditions)
            if decision.change is not None:
                self._change(key, podip, decision.change)
        except (ConflictError, InvalidError, NotFoundError):
            return RequeueAfter(CHANGED_SECONDS, "it has changed meanwhile")
        except StoreError as error:
            return Retry(f"PodIP {key}: {error}")
        return Done() if decision.after is None else RequeueAfter(max(1.0, decision.after))

    def _facts(self, podip: PodIP) -> PlacementFacts:
        deps, spec = self._deps, podip.spec
        missing = deps.missing_nodes.missing_for(spec.node_name)
        waiter = self._find_waiter(podip, node_exists=missing is None)
        node = waiter.node if waiter is not None else spec.node_name
        on_node = tuple(e for e in deps.state.enis_on(node) if e.spec.pool_name == spec.pool_name)
        eni = deps.state.eni(spec.eni_name) if spec.eni_name else None
        asks = eni is None or may_serve(eni)  # else when it has left that one
        return PlacementFacts(
            podip,
            deps.state.pool(spec.pool_name),
            self._is_pool_gone(podip),
            {a: self._enis_with(a, spec.pool_name, on_node) for a in spec.addresses},
            on_node=on_node,
            current=eni,
            waiter=waiter,
            node_gone=missing is not None and missing >= NODE_GRACE_PERIOD,
            node_exists=missing is None,
            retained_seconds=self._retained_times.of(podip, deps.now()),
            rivals=self._rivals(podip) if asks and (waiter or not spec.eni_name) else {},
            refused=deps.refusals.get,
        )

    def _is_pool_gone(self, podip: PodIP) -> bool:
        """Return True if there is no such pool; one that does not fit its schema is not cached."""
        pool = self._deps.state.pool(podip.spec.pool_name)
        if pool is not None or not podip.is_retained:
            return pool is not None and pool.metadata.deleting
        try:
            self._deps.store.get(ENIPOOLS, podip.spec.pool_name)
        except NotFoundError:
            return True
        return False

    def _enis_with(self, address: str, pool: str, on_node: tuple[ENI, ...]) -> tuple[ENI, ...]:
        """Return the ENIs of the pool's networks that have the address: others may have equals."""
        networks = {(e.spec.cloud, e.spec.network_id) for e in on_node}
        return tuple(
            eni
            for eni in self._deps.state.enis_with(address)
            if eni.spec.pool_name == pool or (eni.spec.cloud, eni.spec.network_id) in networks
        )

    def _find_waiter(self, podip: PodIP, *, node_exists: bool) -> Waiter | None:
        """Return the pod that waits for an address, if there is one. Raises StoreError.

        One that has run, and whose sandbox or node was restarted, is not Pending, and so not
        watched. It is asked for only where it matters: if no pod has the addresses, and its agent
        has none of them to grant.
        """
        pod = self._deps.state.waiting_pod(podip.key)
        if pod is None and node_exists and is_without_pod(podip) and not self._is_held(podip):
            pod = self._restarted_pod(podip)
        return self._waiter(podip, pod) if pod is not None else None

    def _is_held(self, podip: PodIP) -> bool:
        """Return True if ENIs of the PodIP's node have its addresses, and may grant them."""
        spec = podip.spec
        there = {
            address
            for eni in self._deps.state.enis_on(spec.node_name)
            if eni.status.port is not None and may_serve(eni)
            for address in eni.status.port.addresses
            if eni.spec.pool_name == spec.pool_name
        }
        return there.issuperset(spec.addresses)

    def _restarted_pod(self, podip: PodIP) -> WaitingPod | None:
        """Return the PodIP's pod, if it lives: by its agent it has no address.

        One that is over stays so, unless etcd is restored: it is asked for once.
        """
        asked = podip.spec.pod_uid, self._deps.state.rewinds
        if self._over.get(podip.key) == asked:
            return None
        try:
            body = self._deps.store.get(PODS, podip.name, podip.namespace)
        except NotFoundError:
            body = None
        if body is None or body["metadata"]["uid"] != podip.spec.pod_uid or not is_alive(body):
            self._over[podip.key] = asked
            return None
        return parse_pod(body)

    def _waiter(self, podip: PodIP, pod: WaitingPod) -> Waiter:
        state, node = self._deps.state, self._deps.state.node(pod.node)
        traits = pod.traits(state.namespace_labels(pod.namespace))
        chosen = choose_pool(traits, node.traits, state.pools()) if node is not None else None
        try:
            wish = wish_of(pod.annotations)
        except WishError:  # its agent says so
            wish = AddressWish(podip.spec.retention)
        by_name = bool(wish.addresses) and set(wish.addresses) <= set(podip.spec.addresses)
        keeps = wish.retention != DELETE and not wish.addresses
        pool = chosen.name if isinstance(chosen, ENIPool) else ""
        return Waiter(pod.node, pool, wishes=by_name or keeps, by_name=by_name)

    def _rivals(self, podip: PodIP) -> dict[str, str]:
        """Return the pods that have an address of the PodIP, or whose claim counts more."""
        found: dict[str, str] = {}
        for address in podip.spec.addresses:
            field = "addressIPv6" if ":" in address else "address"
            selector = f"spec.{field}={address}"
            bodies = self._deps.store.list(PODIPS, field_selector=selector).items
            for body in bodies:
                meta, other = body["metadata"], body["spec"]
                key = f"{meta['namespace']}/{meta['name']}"
                same_pool = other["poolName"] == podip.spec.pool_name
                if key != podip.key and same_pool and other.get("eniName"):
                    found[address] = key
            first = claimant_of(self._deps.state, address, podip.spec.pool_name)
            if first is not None and first.key != podip.key:
                found.setdefault(address, first.key)
        return found

    def _write_conditions(self, podip: PodIP, wanted: tuple[Condition, ...]) -> None:
        """Write the operator's conditions; those that say nothing new stay as they are."""
        deps, conditions = self._deps, own_conditions(podip, wanted, self._deps.now())
        if conditions is None:
            return
        status: Json = {"conditions": [encode(c) for c in conditions]}
        write_status(deps.store, deps.state, PODIPS, podip.metadata, status)
        before = podip.status.conditions
        record_transitions(deps.recorder, PODIPS, podip.metadata, before, conditions)

    def _change(self, key: str, podip: PodIP, change: PodIPChange) -> None:
        """Make the change, if the PodIP is as it was decided on but for its status."""
        store, meta = self._deps.store, podip.metadata
        if isinstance(change, EndPodIP):
            store.delete(PODIPS, podip.name, podip.namespace, uid=meta.uid)
            return
        latest = self._deps.state.podip(key) or podip
        if (latest.metadata.uid, latest.metadata.generation) != (meta.uid, meta.generation):
            return
        if isinstance(change, SetENI):
            self._deps.refusals.forget(change.eni, podip.spec.addresses)
        operations = [same_version(latest.metadata.resource_version), *operations_of(podip, change)]
        body = store.patch(PODIPS, podip.name, podip.namespace, operations=operations)
        self._deps.state.put(PODIPS, body, only_update=True)


def operations_of(podip: PodIP, change: PodIPChange) -> list[Json]:
    """Return the operations of a JSON patch that make the change; none for a deletion."""
    clear: list[Json] = [{"op": "remove", "path": "/spec/eniName"}] if podip.spec.eni_name else []
    match change:
        case ClearENI():
            return clear
        case SetENI(eni):
            return [{"op": "add", "path": "/spec/eniName", "value": eni}]
        case MoveToNode(node):
            finalizers = [f for f in podip.metadata.finalizers if f != FINALIZER_PODIP]
            return [
                *clear,
                {"op": "replace", "path": "/spec/nodeName", "value": node},
                {
                    "op": "add",
                    "path": "/metadata/finalizers",
                    "value": [*finalizers, FINALIZER_PODIP],
                },
            ]
        case EndPodIP():
            return []
