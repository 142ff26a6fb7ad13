"""The operator's own picture of the cluster, fed by watches, its own writes and the resync.

An object is replaced only by a newer version of itself, so that a late watch event cannot undo what
a write has already brought in. Versions of one API server are ordered whole numbers: promised since
Kubernetes 1.35, true before.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, NODES, PODS, Kind
from openeni_operator.cluster import Node, WaitingPod, node_of, pod_of

T = TypeVar("T")
PENDING: Final = "spec.nodeName!=,status.phase=Pending"
SELECTORS: Final[dict[Kind, str]] = {PODS: PENDING}  # of what is watched: the rest is not needed


@dataclass(frozen=True)
class Change(Generic[T]):
    """An object before and after; None where it was not, or is not, there."""

    kind: Kind
    before: T | None
    after: T | None


@dataclass(frozen=True)
class _Entry:
    version: int
    uid: str
    value: Any


def _labels(body: Json) -> dict[str, str]:
    return dict(body["metadata"].get("labels") or {})


_DECODE: Final[dict[Kind, Callable[[Json], Any]]] = {
    ENIPOOLS: lambda body: decode(body, ENIPool),
    ENIS: lambda body: decode(body, ENI),
    NODES: node_of,
    PODS: pod_of,
    NAMESPACES: _labels,
}
KINDS: Final = tuple(_DECODE)


class Mirror:
    """Safe for threads; what it hands out is never changed."""

    def __init__(self, changed: Callable[[Change[Any]], None]) -> None:
        """`changed` is told of each change that matters, by whomever it came in."""
        self._changed = changed
        self._lock = threading.Lock()
        self._kinds: dict[Kind, dict[str, _Entry]] = {kind: {} for kind in KINDS}

    def put(self, kind: Kind, body: Json, *, known: bool = False) -> None:
        """Take in an object; with `known` only if it is here, lest a late answer revive it.

        Raises msgspec.ValidationError where it does not fit its kind.
        """
        entry = _Entry(version_of(body), body["metadata"]["uid"], _DECODE[kind](body))
        key = key_of(body)
        with self._lock:
            old = self._kinds[kind].get(key)
            if known if old is None else entry.version <= old.version:
                return
            self._kinds[kind][key] = entry
        self._tell(Change(kind, old.value if old else None, entry.value))

    def drop(self, kind: Kind, body: Json) -> None:
        """The object is gone, or is none of those that are watched any more."""
        with self._lock:
            old = self._kinds[kind].get(key_of(body))
            if old is None or old.version > version_of(body):
                return
            del self._kinds[kind][key_of(body)]
        self._tell(Change(kind, old.value, None))

    def prune(self, kind: Kind, key: str, version: int) -> None:
        """A list did not have the object that was here in this version: it is gone."""
        with self._lock:
            old = self._kinds[kind].get(key)
            if old is None or old.version != version:
                return
            del self._kinds[kind][key]
        self._tell(Change(kind, old.value, None))

    def _tell(self, change: Change[Any]) -> None:
        if change.before != change.after:
            self._changed(change)

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
        return [pod for pod in self._values(PODS) if pod.wants]

    def namespace_labels(self, name: str) -> dict[str, str]:
        return self._value(NAMESPACES, name) or {}

    def _values(self, kind: Kind) -> list[Any]:
        with self._lock:
            return [entry.value for entry in self._kinds[kind].values()]

    def _value(self, kind: Kind, key: str) -> Any:
        with self._lock:
            entry = self._kinds[kind].get(key)
            return entry.value if entry else None


def key_of(body: Json) -> str:
    """`name`, or `namespace/name`."""
    metadata: Json = body["metadata"]
    namespace = metadata.get("namespace", "")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def version_of(body: Json) -> int:
    return int(body["metadata"].get("resourceVersion") or 0)


def listed(bodies: Iterable[Json]) -> dict[str, Json]:
    """Objects of a list by key."""
    return {key_of(body): body for body in bodies}
