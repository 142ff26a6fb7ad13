"""Write the operator's part of an object's status by server-side apply."""

from openeni_crds.meta import Json, ObjectMeta
from openeni_crds.names import API_VERSION, MANAGER_OPERATOR, Kind
from openeni_kube.store import Store
from openeni_operator.cluster_state import WATCHED_KINDS, ClusterState


def write_status(
    store: Store, state: ClusterState, kind: Kind, metadata: ObjectMeta, status: Json
) -> None:
    """Apply `status`, which holds only fields the operator owns, and update the cluster state.

    Raises StoreError.
    """
    identity = {"name": metadata.name, "uid": metadata.uid}
    if metadata.namespace:
        identity["namespace"] = metadata.namespace
    body: Json = {
        "apiVersion": API_VERSION,
        "kind": kind.name,
        "metadata": identity,
        "status": status,
    }
    written = store.apply(kind, body, manager=MANAGER_OPERATOR, subresource="status")
    if kind in WATCHED_KINDS:
        state.put(kind, written, only_update=True)
