"""Map a change in the cluster to the work queue keys that it affects."""

from collections.abc import Iterable
from typing import Any, Final

from openeni_crds.conditions import Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import ObjectMeta
from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, NODES, PODIPS, Kind
from openeni_crds.selection import choose_pool
from openeni_operator.cluster_state import Change, ClusterState
from openeni_operator.core_objects import Node, WaitingPod
from openeni_operator.eni.status import OWNED
from openeni_operator.keys import Key
from openeni_operator.podip.reconcile import ALL_NODES

_AFFECTS_ALL_POOLS: Final[frozenset[Kind]] = frozenset({ENIPOOLS, NAMESPACES, NODES})


def keys_for(change: Change[Any], state: ClusterState) -> set[Key]:
    """Return the keys to reconcile after the change.

    A status that the operator itself wrote affects only the ENIPool that counts the ENI. It must
    not wake the object's own key, which would cut short that key's back-off.
    """
    before, after = change.before, change.after
    if _inputs(before) == _inputs(after):
        return {Key(ENIPOOLS, after.spec.pool_name)} if isinstance(after, ENI) else set()
    keys = _keys_for_kind(change.kind, state)
    some = after or before
    if isinstance(some, ENI) and _cni_configured(before) != _cni_configured(after):
        keys.add(Key(NODES, some.spec.node_name))
    for side in (before, after):
        match side:
            case ENIPool():
                keys.add(Key(ENIPOOLS, side.name))
            case ENI():
                keys |= {Key(ENIS, side.name), Key(ENIPOOLS, side.spec.pool_name)}
            case Node():
                keys.update(_keys_for_node(side, state, deleted=after is None))
            case WaitingPod():
                keys.update(_keys_for_pod(side, state))
            case _:  # a namespace's labels, or None
                continue
    return keys


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
            return _identity(metadata), spec, status.node, reported
        case _:
            return side


def _cni_configured(side: ENI | None) -> tuple[str, str] | None:
    """Return the status and reason of CNIConfigured; "" for both if there is none yet."""
    if side is None:
        return None
    found = find(side.status.conditions, Type.CNI_CONFIGURED)
    return (found.status, found.reason) if found else ("", "")


def _identity(metadata: ObjectMeta) -> tuple[object, ...]:
    return metadata.uid, metadata.generation, metadata.deletion_timestamp, metadata.finalizers


def all_keys(state: ClusterState) -> set[Key]:
    """Return the keys of all objects."""
    pools = {Key(ENIPOOLS, pool.name) for pool in state.pools()}
    enis = {Key(ENIS, eni.name) for eni in state.enis()}
    nodes = {Key(NODES, node.name) for node in state.nodes()}
    return pools | enis | nodes | {Key(PODIPS, ALL_NODES)}


def _keys_for_node(node: Node, state: ClusterState, *, deleted: bool) -> Iterable[Key]:
    yield from (Key(ENIS, e.name) for e in state.enis() if e.spec.node_name == node.name)
    yield Key(PODIPS if deleted else NODES, node.name)


def _keys_for_pod(pod: WaitingPod, state: ClusterState) -> Iterable[Key]:
    node = state.node(pod.node)
    if node is None:
        return []
    labels = state.namespace_labels(pod.namespace)
    chosen = choose_pool(pod.traits(labels), node.traits, state.pools())
    return [Key(ENIPOOLS, chosen.name)] if isinstance(chosen, ENIPool) else []
