"""A status is applied with the operator's fields only, and the cluster state follows at once."""

from openeni_crds import eni as models
from openeni_crds.conditions import Type, find
from openeni_crds.meta import decode
from openeni_crds.names import ENIS
from openeni_operator.cluster_state import ClusterState
from openeni_operator.status_writer import write_status
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
    metadata = decode(store.create(ENIS, eni_body("e")), models.ENI).metadata
    agents = status_of("e", conditions=[condition("GuestPrepared")])
    store.apply(ENIS, agents, manager="openeni-agent", subresource="status")
    write_status(store, state, ENIS, metadata, {"conditions": [condition("Attached")]})
    types = {c["type"] for c in store.get(ENIS, "e")["status"]["conditions"]}
    assert types == {"GuestPrepared", "Attached"}
