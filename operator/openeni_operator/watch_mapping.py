"""Map a change in the cluster to the work queue keys that it affects."""

from collections.abc import Iterable
from typing import Any, Final

from openeni_crds.conditions import Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import ObjectMeta
from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, NODES, PODIPS, Kind
from openeni_crds.podip import PodIP
from openeni_crds.selection import choose_pool
from openeni_operator.claims import port_has_addresses_of
from openeni_operator.cluster_state import Change, ClusterState
from openeni_operator.core_objects import Node, WaitingPod
from openeni_operator.eni.report import report_error
from openeni_operator.eni.status import OWNED, in_use, lacks_slot
from openeni_operator.keys import ORPHAN_SWEEP, WATCHED_PODIP, Key
from openeni_operator.podip.plan import OWNED as OWNED_OF_PODIPS
from openeni_operator.podip.reconcile import ALL_NODES
from openeni_operator.podip.target_eni import may_serve

_AFFECTS_ALL_POOLS: Final[frozenset[Kind]] = frozenset({ENIPOOLS, NAMESPACES, NODES})


def keys_for(change: Change[Any], state: ClusterState) -> set[Key]:
    """Return the keys to reconcile after the change.

    A status that the operator itself wrote affects only the ENIPool that counts the ENI, or makes
    room for what a PodIP's pod waits for. It must not wake the object's own key, which would cut
    short that key's back-off.
    """
    before, after = change.before, change.after
    some = after or before
    keys = _keys_for_slot(before, after, state) if isinstance(some, ENI) else set[Key]()
    if _inputs(before) == _inputs(after):
        pools = {after.spec.pool_name} if isinstance(after, ENI | PodIP) else set[str]()
        return keys.union(Key(ENIPOOLS, pool) for pool in pools)
    keys |= _keys_for_kind(change.kind, state)
    if isinstance(some, ENI) and _cni_configured(before) != _cni_configured(after):
        keys.add(Key(NODES, some.spec.node_name))
    for side in (before, after):
        keys.update(_keys_for_object(side, change, state))
    return keys


def _keys_for_object(side: Any, change: Change[Any], state: ClusterState) -> Iterable[Key]:
    """Return the keys that the object before or after the change affects."""
    match side:
        case ENIPool():
            return {Key(ENIPOOLS, side.name), *_keys_for_pause(change, state)}
        case ENI():
            return _keys_for_eni(side, state, deleted=change.after is None)
        case Node():
            return _keys_for_node(side, state, deleted=change.after is None)
        case WaitingPod():
            return _keys_for_pod(side, state)
        case PodIP():
            return _keys_for_podip(side, state)
        case _:  # a namespace's labels, or None
            return ()


def _keys_for_kind(kind: Kind, state: ClusterState) -> set[Key]:
    """Return the keys that any change of an object of this kind affects."""
    keys: set[Key] = set()
    if kind in _AFFECTS_ALL_POOLS:
        keys.update(Key(ENIPOOLS, pool.name) for pool in state.pools())
    if kind == ENIPOOLS:
        keys.update(Key(NODES, node.name) for node in state.nodes())
    return keys


def _inputs(side: Any) -> Any:
    """Return the parts of an object that other writers than the operator set."""
    match side:
        case ENIPool(metadata=metadata, spec=spec):
            return _identity(metadata), spec
        case ENI(metadata=metadata, spec=spec, status=status):
            # An agent's message may change often; what follows from a condition is in its reason.
            reported = frozenset(
                (c.type, c.status, c.reason) for c in status.conditions if c.type not in OWNED
            )
            answers = (status.node.retired, status.node.refused) if status.node else None
            return _identity(metadata), spec, answers, report_error(side), reported
        case PodIP(metadata=metadata, spec=spec, status=status):
            seen = frozenset(
                (c.type, c.status, c.reason, c.observed_generation)
                for c in status.conditions
                if c.type not in OWNED_OF_PODIPS
            )
            return _identity(metadata), spec, seen
        case _:
            return side


def _cni_configured(side: ENI | None) -> tuple[str, str] | None:
    """Return the status and reason of CNIConfigured; "" for both if there is none yet."""
    if side is None:
        return None
    found = find(side.status.conditions, Type.CNI_CONFIGURED)
    return (found.status, found.reason) if found else ("", "")


def _keys_for_slot(before: ENI | None, after: ENI | None, state: ClusterState) -> set[Key]:
    """Return the keys of all pools if the ENI begins or ceases to keep others off its server."""
    lacked, lacks = (side is not None and lacks_slot(side) for side in (before, after))
    return {Key(ENIPOOLS, pool.name) for pool in state.pools()} if lacked != lacks else set()


def _keys_for_pause(change: Change[Any], state: ClusterState) -> set[Key]:
    """Return the keys of the ENIs that a pause of their pool begins or ends to hold up."""
    before, after = (
        isinstance(side, ENIPool) and side.spec.paused for side in (change.before, change.after)
    )
    pool: ENIPool | None = change.after or change.before
    if pool is None or before == after:
        return set()
    return {Key(ENIS, eni.name) for eni in state.enis_of(pool.name)}


def _identity(metadata: ObjectMeta) -> tuple[object, ...]:
    return metadata.uid, metadata.generation, metadata.deletion_timestamp, metadata.finalizers


def all_keys(state: ClusterState) -> set[Key]:
    """Return the keys of all objects and of all clouds in use."""
    pools = {Key(ENIPOOLS, pool.name) for pool in state.pools()}
    enis = {Key(ENIS, eni.name) for eni in state.enis()}
    nodes = {Key(NODES, node.name) for node in state.nodes()}
    sweeps = {Key(ORPHAN_SWEEP, cloud) for cloud in state.clouds()}
    podips = {Key(WATCHED_PODIP, podip.key) for podip in state.podips()}
    return pools | enis | nodes | sweeps | podips | {Key(PODIPS, ALL_NODES)}


def keys_of_cloud(cloud: str, state: ClusterState) -> set[Key]:
    """Return the keys of the pools and ENIs of a cloud."""
    pools = (Key(ENIPOOLS, pool.name) for pool in state.pools() if pool.spec.cloud == cloud)
    enis = (Key(ENIS, eni.name) for eni in state.enis() if eni.spec.cloud == cloud)
    return {*pools, *enis}


def _keys_for_eni(eni: ENI, state: ClusterState, *, deleted: bool) -> Iterable[Key]:
    """Return the keys that the ENI affects: the PodIPs if it goes while pods may use its port.

    That is one whose port was lost, or whose finalizer somebody else has removed. What is kept on
    one that serves no pods is to leave it if a pod waits for it.
    """
    yield Key(ENIS, eni.name)
    yield Key(ENIPOOLS, eni.spec.pool_name)
    if not may_serve(eni):
        yield from (Key(WATCHED_PODIP, podip.key) for podip in state.podips_on(eni.name))
    if deleted and in_use(eni, None):
        yield Key(PODIPS, eni.spec.node_name)


def _keys_for_node(node: Node, state: ClusterState, *, deleted: bool) -> Iterable[Key]:
    yield from (Key(ENIS, eni.name) for eni in state.enis_on(node.name))
    yield Key(PODIPS if deleted else NODES, node.name)


def _keys_for_podip(podip: PodIP, state: ClusterState) -> Iterable[Key]:
    """Return the keys that the PodIP affects: an ENI's only if its port gets or loses addresses.

    Pods that start or end do not affect an ENI that has the addresses, and it may be backing off.
    """
    yield Key(WATCHED_PODIP, podip.key)
    yield Key(ENIPOOLS, podip.spec.pool_name)
    if not podip.spec.eni_name:
        holders = (eni for address in podip.spec.addresses for eni in state.enis_with(address))
        yield from (Key(ENIS, eni.name) for eni in holders if not eni.offers_addresses)
    elif not port_has_addresses_of(state.eni(podip.spec.eni_name), podip):
        yield Key(ENIS, podip.spec.eni_name)


def _keys_for_pod(pod: WaitingPod, state: ClusterState) -> Iterable[Key]:
    if state.podip(pod.key) is not None:
        yield Key(WATCHED_PODIP, pod.key)
    node = state.node(pod.node)
    if node is None:
        return
    labels = state.namespace_labels(pod.namespace)
    chosen = choose_pool(pod.traits(labels), node.traits, state.pools())
    if isinstance(chosen, ENIPool):
        yield Key(ENIPOOLS, chosen.name)
