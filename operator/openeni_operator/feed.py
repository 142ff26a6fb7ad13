"""From a change in the cluster to the keys that it concerns."""

from collections.abc import Iterable
from typing import Any

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json
from openeni_crds.names import ENI as ENI_KIND
from openeni_crds.names import ENIPOOL, NAMESPACE, NODE, POD, Kind
from openeni_crds.selection import PodFacts, choose_pool
from openeni_operator.cluster import Node, WaitingPod
from openeni_operator.mirror import Change, Mirror
from openeni_operator.podip.reconcile import ALL
from openeni_operator.workers import Key, Workers

POOLS, ENIS, PODIPS = "ENIPool", "ENI", "PodIPs"


class Feed:
    """Takes watch events in: into the mirror, and as keys into the queue. Safe for threads."""

    def __init__(self, mirror: Mirror, workers: Workers) -> None:
        self._mirror = mirror
        self._workers = workers

    def seen(self, kind: Kind, body: Json) -> None:
        """The object is there. Raises msgspec.ValidationError where it does not fit its kind."""
        self._add(self._mirror.put(kind, body))

    def gone(self, kind: Kind, body: Json) -> None:
        """The object is not there, or is none of those that are watched any more."""
        self._add(self._mirror.drop(kind, body))

    def missing(self, kind: Kind, key: str, version: int) -> None:
        """A list lacked the object that the mirror has in this version."""
        self._add(self._mirror.prune(kind, key, version))

    def everything(self) -> None:
        """Have everything looked at again."""
        pools, enis = self._mirror.pools(), self._mirror.enis()
        keys = [Key(POOLS, p.name) for p in pools] + [Key(ENIS, e.name) for e in enis]
        self._workers.add([*keys, Key(PODIPS, ALL)])

    def _add(self, change: Change[Any]) -> None:
        if change:
            self._workers.add(self._keys(change))

    def _keys(self, change: Change[Any]) -> Iterable[Key]:
        sides = [side for side in (change.before, change.after) if side is not None]
        pools = [Key(POOLS, pool.name) for pool in self._mirror.pools()]
        if change.kind in {ENIPOOL, NAMESPACE}:
            named = {side.name for side in sides if isinstance(side, ENIPool)}
            return {*pools, *(Key(POOLS, name) for name in named)}
        if change.kind == ENI_KIND:
            enis = [side for side in sides if isinstance(side, ENI)]
            return {k for e in enis for k in (Key(ENIS, e.name), Key(POOLS, e.spec.pool))}
        if change.kind == NODE:
            return [*pools, *self._of_node(sides, gone=change.after is None)]
        if change.kind == POD:
            return {k for pod in sides if isinstance(pod, WaitingPod) for k in self._of_pod(pod)}
        raise AssertionError(change.kind)

    def _of_node(self, sides: list[Any], *, gone: bool) -> Iterable[Key]:
        names = {side.name for side in sides if isinstance(side, Node)}
        yield from (Key(ENIS, e.name) for e in self._mirror.enis() if e.spec.node_name in names)
        if gone:
            yield from (Key(PODIPS, name) for name in names)

    def _of_pod(self, pod: WaitingPod) -> Iterable[Key]:
        labels = self._mirror.namespace_labels(pod.namespace)
        chosen = choose_pool(PodFacts(pod.labels, pod.annotations, labels), self._mirror.pools())
        return [Key(POOLS, chosen.name)] if isinstance(chosen, ENIPool) else []
