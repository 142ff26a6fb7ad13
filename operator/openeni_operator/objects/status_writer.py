"""Write the operator's part of an object's status by server-side apply."""

from typing import Final

from openeni_crds.meta import Json, ObjectMeta
from openeni_crds.names import API_VERSION, ENIPOOLS, ENIS, MANAGER_OPERATOR, PODIPS, Kind
from openeni_kube.store import ConflictError, Store
from openeni_operator.cluster_state import ClusterState

CHANGED_SECONDS: Final = 0.2  # until an object that changed is looked at again: its event is near


def write_status(
    store: Store,
    state: ClusterState,
    kind: Kind,
    metadata: ObjectMeta,
    status: Json,
    *,
    exactly: bool = False,
) -> None:
    """Apply `status`, which holds only fields the operator owns, and update the cluster state.

    With `exactly`, only the version in `metadata` is replaced; else the newest known one.
    Raises StoreError; ConflictError if the object has changed, or is another one of the same name:
    the API server heeds a UID in the object, and not in its status.
    """
    identity = {
        "name": metadata.name,
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version
        if exactly
        else _latest_version(state, kind, metadata),
    }
    if metadata.namespace:
        identity["namespace"] = metadata.namespace
    body: Json = {
        "apiVersion": API_VERSION,
        "kind": kind.name,
        "metadata": identity,
        "status": status,
    }
    try:
        written = store.apply(kind, body, manager=MANAGER_OPERATOR, subresource="status")
    except ConflictError:
        if kind != PODIPS:  # the watch may be late, or dead
            state.put(kind, store.get(kind, metadata.name), only_update=True)
        raise
    state.put(kind, written, only_update=True)


def _latest_version(state: ClusterState, kind: Kind, metadata: ObjectMeta) -> str:
    """Return the newest known version of the object: the operator may have written it since."""
    eni = state.eni(metadata.name) if kind == ENIS else None
    pool = state.pool(metadata.name) if kind == ENIPOOLS else None
    podip = state.podip(f"{metadata.namespace}/{metadata.name}") if kind == PODIPS else None
    for found in (eni, pool, podip):
        if found is not None and found.metadata.uid == metadata.uid:
            return found.metadata.resource_version
    return metadata.resource_version
