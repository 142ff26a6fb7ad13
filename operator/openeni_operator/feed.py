"""From a change in the cluster to the keys that it concerns."""

from collections.abc import Iterable
from typing import Any, Final

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import ObjectMeta
from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, NODES, PODIPS, Kind
from openeni_crds.selection import choose_pool
from openeni_operator.cluster import Node, WaitingPod
from openeni_operator.eni.status import OWNED
from openeni_operator.keys import Key
from openeni_operator.mirror import Change, Mirror
from openeni_operator.podip.reconcile import ALL

_EVERY_POOL: Final[frozenset[Kind]] = frozenset({ENIPOOLS, NAMESPACES, NODES})


def keys_of(change: Change[Any], mirror: Mirror) -> set[Key]:
    """Return what must be looked at because of the change.

    What the operator itself wrote into a status concerns nobody but those who count: a key that
    backs off must not be woken by the echo of what it said about it.
    """
    before, after = change.before, change.after
    if _inputs(before) == _inputs(after):
        return {Key(ENIPOOLS, after.spec.pool_name)} if isinstance(after, ENI) else set()
    keys: set[Key] = set()
    if change.kind in _EVERY_POOL:
        keys.update(Key(ENIPOOLS, pool.name) for pool in mirror.pools())
    for side in (before, after):
        match side:
            case ENIPool():
                keys.add(Key(ENIPOOLS, side.name))
            case ENI():
                keys |= {Key(ENIS, side.name), Key(ENIPOOLS, side.spec.pool_name)}
            case Node():
                keys.update(_of_node(side, mirror, gone=after is None))
            case WaitingPod():
                keys.update(_of_pod(side, mirror))
            case _:  # a namespace's labels, or nothing
                continue
    return keys


def _inputs(side: Any) -> Any:
    """What others than the operator decide of an object."""
    match side:
        case ENIPool(metadata=metadata, spec=spec):
            return _identity(metadata), spec
        case ENI(metadata=metadata, spec=spec, status=status):
            told = frozenset(c for c in status.conditions if c.type not in OWNED)
            return _identity(metadata), spec, status.node, told
        case _:
            return side


def _identity(metadata: ObjectMeta) -> tuple[object, ...]:
    return metadata.uid, metadata.generation, metadata.deletion_timestamp, metadata.finalizers


def everything(mirror: Mirror) -> set[Key]:
    """Return the keys of all there is."""
    pools = {Key(ENIPOOLS, pool.name) for pool in mirror.pools()}
    return pools | {Key(ENIS, eni.name) for eni in mirror.enis()} | {Key(PODIPS, ALL)}


def _of_node(node: Node, mirror: Mirror, *, gone: bool) -> Iterable[Key]:
    yield from (Key(ENIS, e.name) for e in mirror.enis() if e.spec.node_name == node.name)
    if gone:
        yield Key(PODIPS, node.name)


def _of_pod(pod: WaitingPod, mirror: Mirror) -> Iterable[Key]:
    node = mirror.node(pod.node)
    if node is None:
        return []
    labels = mirror.namespace_labels(pod.namespace)
    chosen = choose_pool(pod.traits(labels), node.traits, mirror.pools())
    return [Key(ENIPOOLS, chosen.name)] if isinstance(chosen, ENIPool) else []
