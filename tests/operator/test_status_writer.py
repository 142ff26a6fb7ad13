"""A status is applied with the operator's fields only, and the cluster state follows at once."""

import pytest

from openeni_crds import eni as models
from openeni_crds.conditions import Type, find
from openeni_crds.meta import decode
from openeni_crds.names import ENIS
from openeni_kube.store import ConflictError
from openeni_operator.cluster_state import ClusterState
from openeni_operator.objects.status_writer import write_status
from openeni_testing.objects import condition, eni_body, status_of
from openeni_testing.store.memory import MemoryStore


def test_a_written_status_is_in_the_cluster_state_before_any_watch_event() -> None:
    store, state = MemoryStore(), ClusterState(lambda _: None)
    body = store.create(ENIS, eni_body("e"))
    state.put(ENIS, body)
    metadata = decode(body, models.ENI).metadata
    write_status(store, state, ENIS, metadata, {"conditions": [condition("Attached")]})
    found = state.eni("e")
    assert found is not None
    assert find(found.status.conditions, Type.ATTACHED) is not None


def test_a_status_of_a_deleted_object_does_not_bring_it_back() -> None:
    store, state = MemoryStore(), ClusterState(lambda _: None)
    metadata = decode(store.create(ENIS, eni_body("e")), models.ENI).metadata
    write_status(store, state, ENIS, metadata, {"conditions": [condition("Attached")]})
    assert state.eni("e") is None


def test_the_agents_part_of_the_status_stays() -> None:
    store, state = MemoryStore(), ClusterState(lambda _: None)
    store.create(ENIS, eni_body("e"))
    agents = status_of("e", conditions=[condition("GuestPrepared")])
    body = store.apply(ENIS, agents, manager="openeni-agent", subresource="status")
    metadata = decode(body, models.ENI).metadata
    write_status(store, state, ENIS, metadata, {"conditions": [condition("Attached")]})
    types = {c["type"] for c in store.get(ENIS, "e")["status"]["conditions"]}
    assert types == {"GuestPrepared", "Attached"}


def test_a_status_of_an_object_reaches_no_other_of_the_same_name() -> None:
    store, state = MemoryStore(), ClusterState(lambda _: None)
    metadata = decode(store.create(ENIS, eni_body("e")), models.ENI).metadata
    store.delete(ENIS, "e")
    state.put(ENIS, store.create(ENIS, eni_body("e")))
    with pytest.raises(ConflictError):
        write_status(store, state, ENIS, metadata, {"conditions": [condition("Attached")]})
    assert not store.get(ENIS, "e").get("status", {}).get("conditions")


def test_a_second_write_in_one_reconcile_is_no_conflict() -> None:
    store, state = MemoryStore(), ClusterState(lambda _: None)
    body = store.create(ENIS, eni_body("e"))
    state.put(ENIS, body)
    metadata = decode(body, models.ENI).metadata
    for reason in ("Attached", "PortReady"):
        write_status(store, state, ENIS, metadata, {"conditions": [condition(reason)]})
    assert [c["type"] for c in store.get(ENIS, "e")["status"]["conditions"]] == ["PortReady"]


def test_a_status_that_somebody_else_has_changed_is_looked_at_again() -> None:
    store, state = MemoryStore(), ClusterState(lambda _: None)
    body = store.create(ENIS, eni_body("e"))
    state.put(ENIS, body)
    agents = status_of("e", conditions=[condition("GuestPrepared")])
    store.apply(ENIS, agents, manager="openeni-agent", subresource="status")
    with pytest.raises(ConflictError):
        write_status(store, state, ENIS, decode(body, models.ENI).metadata, {"conditions": []})
