"""List what a question needs of the cluster: an operator of its own that answers has no watches."""

from dataclasses import dataclass

import msgspec

from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, NODES, PODIPS, Kind
from openeni_crds.podip import PodIP
from openeni_kube.store import Store, object_key
from openeni_operator.cluster_state import ClusterState
from openeni_operator.objects.invalid_objects import put_valid


@dataclass(frozen=True)
class Listed:
    """The cluster as it was listed; `ignored` are objects that do not match their schema."""

    state: ClusterState
    nodes: tuple[Json, ...]
    ignored: tuple[str, ...] = ()


def cluster_id(store: Store) -> str:
    """Return what the cluster's ports are tagged with. Raises StoreError."""
    return str(store.get(NAMESPACES, "kube-system")["metadata"]["uid"])


def list_cluster(store: Store) -> Listed:
    """List pools, ENIs and Nodes. Raises StoreError."""
    state = ClusterState(lambda _: None)
    nodes: list[Json] = []
    ignored: list[str] = []
    for kind in (ENIPOOLS, ENIS, NODES):
        for page in store.pages(kind):
            for body in page:
                if not put_valid(state, kind, body):
                    ignored += [_ignored(kind, body)]
            nodes += page if kind == NODES else ()
    return Listed(state, tuple(nodes), tuple(ignored))


def list_podips(store: Store) -> tuple[tuple[PodIP, ...], tuple[str, ...]]:
    """Return all PodIPs, and those that do not match their schema. Raises StoreError."""
    found: list[PodIP] = []
    ignored: list[str] = []
    for page in store.pages(PODIPS):
        for body in page:
            try:
                found.append(decode(body, PodIP))
            except msgspec.ValidationError:
                ignored.append(_ignored(PODIPS, body))
    return tuple(found), tuple(ignored)


def _ignored(kind: Kind, body: Json) -> str:
    return (
        f"{kind.name} {object_key(body)} does not match its schema: delete it or upgrade the CRDs"
    )
