"""A finalizer is removed only by name, and only from the object that was read."""

import pytest

from openeni_crds import eni as models
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIS, FINALIZER_ENI
from openeni_kube.store import InvalidError, NotFoundError
from openeni_operator.objects.finalizers import add_finalizer, remove_finalizer
from openeni_testing.objects import eni_body
from openeni_testing.store.memory import MemoryStore


def created(store: MemoryStore, *finalizers: str) -> models.ENI:
    body: Json = eni_body("e")
    body["metadata"]["finalizers"] = list(finalizers)
    return decode(store.create(ENIS, body), models.ENI)


def finalizers(store: MemoryStore) -> list[str]:
    found: list[str] = store.get(ENIS, "e")["metadata"].get("finalizers", [])
    return found


def test_other_finalizers_stay() -> None:
    store = MemoryStore()
    eni = created(store, "example.com/a", FINALIZER_ENI, "example.com/b")
    remove_finalizer(store, ENIS, eni.metadata, FINALIZER_ENI)
    assert finalizers(store) == ["example.com/a", "example.com/b"]


def test_a_finalizer_list_that_has_changed_is_left_alone() -> None:
    store = MemoryStore()
    eni = created(store, FINALIZER_ENI)
    moved = {"op": "add", "path": "/metadata/finalizers/0", "value": "example.com/a"}
    store.patch(ENIS, "e", operations=[moved])
    with pytest.raises(InvalidError):
        remove_finalizer(store, ENIS, eni.metadata, FINALIZER_ENI)
    assert finalizers(store) == ["example.com/a", FINALIZER_ENI]


def test_a_new_object_of_the_same_name_keeps_its_finalizer() -> None:
    store = MemoryStore()
    eni = created(store, FINALIZER_ENI)
    remove_finalizer(store, ENIS, eni.metadata, FINALIZER_ENI)
    store.delete(ENIS, "e")
    created(store, FINALIZER_ENI)
    with pytest.raises(InvalidError):
        remove_finalizer(store, ENIS, eni.metadata, FINALIZER_ENI)


def test_removing_a_finalizer_of_a_deleted_object_succeeds() -> None:
    store = MemoryStore()
    eni = created(store)
    store.delete(ENIS, "e")
    remove_finalizer(store, ENIS, eni.metadata, FINALIZER_ENI)
    with pytest.raises(NotFoundError):
        store.get(ENIS, "e")


def test_a_finalizer_is_added_to_those_that_are_there() -> None:
    store = MemoryStore()
    eni = created(store, "example.com/a")
    add_finalizer(store, ENIS, eni.metadata, FINALIZER_ENI)
    assert finalizers(store) == ["example.com/a", FINALIZER_ENI]
    with pytest.raises(InvalidError):
        add_finalizer(store, ENIS, eni.metadata, "example.com/late")
