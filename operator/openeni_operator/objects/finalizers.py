"""Add and remove finalizers by JSON patches that fail if the object has changed in between."""

from collections.abc import Iterable

from openeni_crds.meta import Json, ObjectMeta
from openeni_crds.names import Kind
from openeni_kube.store import NotFoundError, Store, same_version


def add_finalizer(store: Store, kind: Kind, metadata: ObjectMeta, finalizer: str) -> Json:
    """Add the finalizer and return the object."""
    version = same_version(metadata.resource_version)
    wanted = [*metadata.finalizers, finalizer]
    change = {"op": "add", "path": "/metadata/finalizers", "value": wanted}
    return store.patch(kind, metadata.name, metadata.namespace, operations=[version, change])


def remove_finalizer(
    store: Store, kind: Kind, metadata: ObjectMeta, finalizer: str, tests: Iterable[Json] = ()
) -> None:
    """Remove the finalizer; do nothing if the object is already gone.

    `tests` are operations that fail the patch if what was decided on has changed.
    """
    if finalizer not in metadata.finalizers:
        return
    path = f"/metadata/finalizers/{metadata.finalizers.index(finalizer)}"
    patch: list[Json] = [
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        *tests,
        {"op": "test", "path": path, "value": finalizer},
        {"op": "remove", "path": path},
    ]
    try:
        store.patch(kind, metadata.name, metadata.namespace, operations=patch)
    except NotFoundError:
        return
