"""The operator's cache of the cluster, updated by watches, its own writes and the resync.

An object is replaced only by a newer version of itself, so that a late watch event cannot undo a
write. Resource versions of one API server are ordered integers: guaranteed since Kubernetes 1.35,
true before. They go back if etcd is restored from a backup: then `rewind` forgets them.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode
from openeni_crds.names import (
    ENIPOOLS,
    ENIS,
    LABEL_RETAINED,
    NAMESPACES,
    NODES,
    PODIPS,
    PODS,
    Kind,
)
from openeni_crds.podip import PodIP
from openeni_kube.store import Page, object_key
from openeni_operator.core_objects import Node, WaitingPod, parse_node, parse_pod
from openeni_operator.index.addresses import PoolAddress
from openeni_operator.index.changes import Changes
from openeni_operator.index.cluster import ClusterIndex

T = TypeVar("T")
PENDING_BOUND: Final = "spec.nodeName!=,status.phase=Pending"
# Other kinds are watched whole.
FIELD_SELECTORS: Final[dict[Kind, str]] = {PODS: PENDING_BOUND}
LABEL_SELECTORS: Final[dict[Kind, str]] = {PODIPS: LABEL_RETAINED}


@dataclass(frozen=True)
class Change(Generic[T]):
    """An object before and after; None where it did not, or does not, exist."""

    kind: Kind
    before: T | None
    after: T | None


@dataclass(frozen=True)
class _Entry:
    version: int
    value: Any


def _labels(body: Json) -> dict[str, str]:
    return dict(body["metadata"].get("labels") or {})


_DECODE: Final[dict[Kind, Callable[[Json], Any]]] = {
    ENIPOOLS: lambda body: decode(body, ENIPool),
    ENIS: lambda body: decode(body, ENI),
    NODES: parse_node,
    PODS: parse_pod,
    PODIPS: lambda body: decode(body, PodIP),
    NAMESPACES: _labels,
}
WATCHED_KINDS: Final = tuple(_DECODE)


class ClusterState:
    """A thread-safe cache. Objects it returns are never modified."""

    def __init__(self, on_change: Callable[[Change[Any]], None]) -> None:
        """Call `on_change` for every change of a decoded object, whatever its source."""
        self._on_change = on_change
        self._lock = threading.Lock()
        self._kinds: dict[Kind, dict[str, _Entry]] = {kind: {} for kind in WATCHED_KINDS}
        self._node_arrivals: Counter[str] = Counter()
        self._index = ClusterIndex()
        self.rewinds = 0

    def put(self, kind: Kind, body: Json, *, only_update: bool = False) -> None:
        """Add an object or replace an older version of it.

        With `only_update`, ignore an object that is not cached: a late response to a write must
        not bring back a deleted object. Raises msgspec.ValidationError if the body does not fit
        its kind.
        """
        key, version = object_key(body), version_of(body)
        with self._lock:
            known = self._kinds[kind].get(key)
        if known is not None and version <= known.version:
            return  # the event of an own write, most often: decoding it would be half of the work
        entry = _Entry(version, _DECODE[kind](body))
        with self._lock:
            old = self._kinds[kind].get(key)
            ignored = only_update if old is None else entry.version <= old.version
            if ignored:
                return
            self._kinds[kind][key] = entry
            if kind == NODES and old is None:
                self._node_arrivals[key] += 1
            self._index.replace(old.value if old else None, entry.value)
        self._notify(Change(kind, old.value if old else None, entry.value))

    def delete(self, kind: Kind, body: Json) -> None:
        """Remove an object that was deleted or no longer matches its field selector."""
        with self._lock:
            old = self._kinds[kind].get(object_key(body))
            if old is None or old.version > version_of(body):
                return
            del self._kinds[kind][object_key(body)]
            self._index.replace(old.value, None)
        self._notify(Change(kind, old.value, None))

    def rewind(self, kind: Kind) -> None:
        """Let any version of the kind's objects replace what is cached: etcd was restored."""
        with self._lock:
            self.rewinds += 1
            entries = self._kinds[kind]
            for key, entry in entries.items():
                entries[key] = _Entry(0, entry.value)

    def settle(self, kind: Kind, page: Page) -> None:
        """Undo what a list, whose objects are put next, lacks though it is as new.

        These are own writes that are undone, and that no watch has shown.
        """
        listed = {object_key(body): version_of(body) for body in page.items}
        for key, version in self.versions(kind).items():
            if version > int(page.resource_version):
                continue
            if key not in listed:
                self.delete_version(kind, key, version)
            elif listed[key] < version:
                self._forget_version(kind, key, version)

    def _forget_version(self, kind: Kind, key: str, version: int) -> None:
        with self._lock:
            entry = self._kinds[kind].get(key)
            if entry is not None and entry.version == version:
                self._kinds[kind][key] = _Entry(0, entry.value)

    def delete_version(self, kind: Kind, key: str, version: int) -> None:
        """Remove an object that a list did not contain, unless it has changed since `version`."""
        with self._lock:
            old = self._kinds[kind].get(key)
            if old is None or old.version != version:
                return
            del self._kinds[kind][key]
            self._index.replace(old.value, None)
        self._notify(Change(kind, old.value, None))

    def _notify(self, change: Change[Any]) -> None:
        if change.before != change.after:
            self._on_change(change)

    def take_changes(self, pool: str) -> Changes:
        """Return what has changed since the pool's last call; everything, the first time."""
        with self._lock:
            return self._index.changes.take(pool)

    def forget_changes(self, pool: str) -> None:
        """Note no more changes for a pool that is gone."""
        with self._lock:
            self._index.changes.forget(pool)

    def versions(self, kind: Kind) -> dict[str, int]:
        with self._lock:
            return {key: entry.version for key, entry in self._kinds[kind].items()}

    def pools(self) -> list[ENIPool]:
        return self._values(ENIPOOLS)

    def pool(self, name: str) -> ENIPool | None:
        found: ENIPool | None = self._value(ENIPOOLS, name)
        return found

    def enis(self) -> list[ENI]:
        return self._values(ENIS)

    def eni(self, name: str) -> ENI | None:
        found: ENI | None = self._value(ENIS, name)
        return found

    def enis_of(self, pool: str) -> tuple[ENI, ...]:
        with self._lock:
            return self._index.enis_by_pool.of(pool)

    def enis_on(self, node: str) -> tuple[ENI, ...]:
        with self._lock:
            return self._index.enis_by_node.of(node)

    def enis_with(self, address: str) -> list[ENI]:
        """Return the ENIs whose port has the address, as one for pods or as its primary one."""
        with self._lock:
            names = self._index.addresses.enis_with(address)
        return [eni for name in names if (eni := self.eni(name)) is not None]

    def unplaced_addresses(self) -> frozenset[PoolAddress]:
        """Return the addresses that watched PodIPs name, and no ENI of their pool has."""
        with self._lock:
            return self._index.addresses.unplaced()

    def podips(self) -> list[PodIP]:
        """Return the PodIPs that the operator watches."""
        return self._values(PODIPS)

    def podip(self, key: str) -> PodIP | None:
        found: PodIP | None = self._value(PODIPS, key)
        return found

    def podips_naming(self, pool: str, address: str) -> tuple[PodIP, ...]:
        """Return the watched PodIPs of the pool with this address."""
        with self._lock:
            return self._index.addresses.podips_naming(pool, address)

    def podips_on(self, eni: str) -> tuple[PodIP, ...]:
        """Return the watched PodIPs with this ENI; "": those without one."""
        with self._lock:
            return self._index.addresses.podips_on(eni)

    def clouds(self) -> set[str]:
        """Return the names of all clouds that pools or ENIs are in."""
        return {p.spec.cloud for p in self.pools()} | {e.spec.cloud for e in self.enis()}

    def nodes(self) -> list[Node]:
        return self._values(NODES)

    def node(self, name: str) -> Node | None:
        found: Node | None = self._value(NODES, name)
        return found

    def node_arrivals(self, name: str) -> int:
        """Return how often the node has appeared: it may have been back for a moment."""
        with self._lock:
            return self._node_arrivals[name]

    def waiting_pods(self) -> list[WaitingPod]:
        return [pod for pod in self._values(PODS) if pod.waits_for_address]

    def waiting_pod(self, key: str) -> WaitingPod | None:
        """Return the pod of that namespace and name if it waits for an address."""
        pod: WaitingPod | None = self._value(PODS, key)
        return pod if pod is not None and pod.waits_for_address else None

    def waiting_pods_on(self, node: str) -> tuple[WaitingPod, ...]:
        with self._lock:
            return self._index.waiting_by_node.of(node)

    def namespace_labels(self, name: str) -> dict[str, str]:
        return self._value(NAMESPACES, name) or {}

    def _values(self, kind: Kind) -> list[Any]:
        with self._lock:
            return [entry.value for entry in self._kinds[kind].values()]

    def _value(self, kind: Kind, key: str) -> Any:
        with self._lock:
            entry = self._kinds[kind].get(key)
            return entry.value if entry else None


def version_of(body: Json) -> int:
    return int(body["metadata"].get("resourceVersion") or 0)
