"""The operator's cache of the cluster, updated by watches, its own writes and the resync.

An object is replaced only by a newer version of itself, so that a late watch event cannot undo a
write. Resource versions of one API server are ordered integers: guaranteed since Kubernetes 1.35,
true before.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, NODES, PODS, Kind
from openeni_kube.store import object_key
from openeni_operator.core_objects import Node, WaitingPod, parse_node, parse_pod

T = TypeVar("T")
PENDING_BOUND: Final = "spec.nodeName!=,status.phase=Pending"
FIELD_SELECTORS: Final[dict[Kind, str]] = {PODS: PENDING_BOUND}  # other kinds are watched whole


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

    def put(self, kind: Kind, body: Json, *, only_update: bool = False) -> None:
        """Add an object or replace an older version of it.

        With `only_update`, ignore an object that is not cached: a late response to a write must
        not bring back a deleted object. Raises msgspec.ValidationError if the body does not fit
        its kind.
        """
        entry = _Entry(version_of(body), _DECODE[kind](body))
        key = object_key(body)
        with self._lock:
            old = self._kinds[kind].get(key)
            ignored = only_update if old is None else entry.version <= old.version
            if ignored:
                return
            self._kinds[kind][key] = entry
        self._notify(Change(kind, old.value if old else None, entry.value))

    def delete(self, kind: Kind, body: Json) -> None:
        """Remove an object that was deleted or no longer matches its field selector."""
        with self._lock:
            old = self._kinds[kind].get(object_key(body))
            if old is None or old.version > version_of(body):
                return
            del self._kinds[kind][object_key(body)]
        self._notify(Change(kind, old.value, None))

    def delete_version(self, kind: Kind, key: str, version: int) -> None:
        """Remove an object that a list did not contain, unless it has changed since `version`."""
        with self._lock:
            old = self._kinds[kind].get(key)
            if old is None or old.version != version:
                return
            del self._kinds[kind][key]
        self._notify(Change(kind, old.value, None))

    def _notify(self, change: Change[Any]) -> None:
        if change.before != change.after:
            self._on_change(change)

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

    def enis_of(self, pool: str) -> list[ENI]:
        return [eni for eni in self.enis() if eni.spec.pool_name == pool]

    def nodes(self) -> list[Node]:
        return self._values(NODES)

    def node(self, name: str) -> Node | None:
        found: Node | None = self._value(NODES, name)
        return found

    def waiting_pods(self) -> list[WaitingPod]:
        return [pod for pod in self._values(PODS) if pod.waits_for_address]

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


def by_key(bodies: Iterable[Json]) -> dict[str, Json]:
    """Return the objects of a list by `object_key`."""
    return {object_key(body): body for body in bodies}
