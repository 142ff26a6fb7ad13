"""Finalizers, put on and taken off by JSON patches that fail if somebody wrote in between."""

from openeni_crds.meta import Json, ObjectMeta
from openeni_crds.names import Kind
from openeni_kube.store import NotFoundError, Store


def without_finalizer(store: Store, kind: Kind, metadata: ObjectMeta, finalizer: str) -> None:
    """Take the finalizer off; an object that is gone is no error."""
    if finalizer not in metadata.finalizers:
        return
    path = f"/metadata/finalizers/{metadata.finalizers.index(finalizer)}"
    patch: list[Json] = [
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "test", "path": path, "value": finalizer},
        {"op": "remove", "path": path},
    ]
    try:
        store.patch(kind, metadata.name, patch, metadata.namespace)
    except NotFoundError:
        return


def with_finalizer(store: Store, kind: Kind, metadata: ObjectMeta, finalizer: str) -> Json:
    """Put the finalizer on; return the object."""
    version = {
        "op": "test",
        "path": "/metadata/resourceVersion",
        "value": metadata.resource_version,
    }
    wanted = [*metadata.finalizers, finalizer]
    change = {"op": "add", "path": "/metadata/finalizers", "value": wanted}
    return store.patch(kind, metadata.name, [version, change], metadata.namespace)
