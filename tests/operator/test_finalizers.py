"""A finalizer comes off only if it is the one that is meant, of the object that is meant."""

import pytest

from openeni_crds import eni as models
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENI, FINALIZER_ENI
from openeni_kube.store import InvalidError, NotFoundError
from openeni_operator.finalizers import add_finalizer, remove_finalizer
from openeni_testing.objects import eni_body
from openeni_testing.store.memory import MemoryStore


def created(store: MemoryStore, *finalizers: str) -> models.ENI:
    body: Json = eni_body("e")
    body["metadata"]["finalizers"] = list(finalizers)
    return decode(store.create(ENI, body), models.ENI)


def finalizers(store: MemoryStore) -> list[str]:
    found: list[str] = store.get(ENI, "e")["metadata"].get("finalizers", [])
    return found


def test_the_others_stay() -> None:
    store = MemoryStore()
    eni = created(store, "example.com/a", FINALIZER_ENI, "example.com/b")
    remove_finalizer(store, ENI, eni.metadata, FINALIZER_ENI)
    assert finalizers(store) == ["example.com/a", "example.com/b"]


def test_a_list_that_has_changed_is_not_touched() -> None:
    store = MemoryStore()
    eni = created(store, FINALIZER_ENI)
    moved = {"op": "add", "path": "/metadata/finalizers/0", "value": "example.com/a"}
    store.patch(ENI, "e", [moved])
    with pytest.raises(InvalidError):
        remove_finalizer(store, ENI, eni.metadata, FINALIZER_ENI)
    assert finalizers(store) == ["example.com/a", FINALIZER_ENI]


def test_another_object_of_the_same_name_keeps_its_own() -> None:
    store = MemoryStore()
    eni = created(store, FINALIZER_ENI)
    remove_finalizer(store, ENI, eni.metadata, FINALIZER_ENI)
    store.delete(ENI, "e")
    created(store, FINALIZER_ENI)
    with pytest.raises(InvalidError):
        remove_finalizer(store, ENI, eni.metadata, FINALIZER_ENI)


def test_an_object_that_is_gone_is_no_error() -> None:
    store = MemoryStore()
    eni = created(store)
    store.delete(ENI, "e")
    remove_finalizer(store, ENI, eni.metadata, FINALIZER_ENI)
    with pytest.raises(NotFoundError):
        store.get(ENI, "e")


def test_one_is_put_on_beside_those_that_are_there() -> None:
    store = MemoryStore()
    eni = created(store, "example.com/a")
    add_finalizer(store, ENI, eni.metadata, FINALIZER_ENI)
    assert finalizers(store) == ["example.com/a", FINALIZER_ENI]
    with pytest.raises(InvalidError):
        add_finalizer(store, ENI, eni.metadata, "example.com/late")
