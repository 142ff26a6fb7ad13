"""The age of a missing node: confirmed by few GETs, and gone with the node's return."""

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import NODES, Kind
from openeni_kube.store import UnreachableError
from openeni_operator.cluster_state import ClusterState
from openeni_operator.missing_nodes import CONFIRM_SECONDS, NODE_GRACE_PERIOD, MissingNodes
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.store.memory import MemoryStore


class CountingStore(MemoryStore):
    """A store that counts GETs."""

    gets = 0

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        self.gets += 1
        return super().get(kind, name, namespace)


def add_node(store: MemoryStore, server: str = "s1") -> None:
    store.create(
        NODES, {"metadata": {"name": "n1"}, "spec": {"providerID": f"openstack:///{server}"}}
    )


def nodes(store: MemoryStore) -> tuple[MissingNodes, ClusterState, FakeClock]:
    clock, state = FakeClock(), ClusterState(lambda _: None)
    return MissingNodes(state, store, clock), state, clock


def test_a_node_that_is_there_costs_no_call() -> None:
    store = CountingStore()
    add_node(store)
    missing, state, _ = nodes(store)
    state.put(NODES, store.list(NODES).items[0])
    assert missing.missing_for("n1") is None
    assert missing.missing_for("n1", "s1") is None
    assert store.gets == 0


def test_one_that_only_the_cache_lacks_is_not_missing() -> None:
    store = CountingStore()
    add_node(store)
    missing, _, _ = nodes(store)
    assert missing.missing_for("n1") is None
    assert store.gets == 1


def test_the_age_counts_from_the_first_look_and_is_confirmed_now_and_then() -> None:
    store = CountingStore()
    missing, _, clock = nodes(store)
    ages: list[float | None] = []
    for _ in range(120):
        ages.append(missing.missing_for("n1"))
        clock.advance(1)
    assert ages == [float(n) for n in range(120)]
    assert store.gets <= 120 / CONFIRM_SECONDS + 1


@pytest.mark.parametrize("looked", [0, 31, 59])
def test_a_node_counts_as_gone_by_a_look_after_the_grace_period_alone(looked: float) -> None:
    """Its watch may hang while the kubelet registers it again."""
    store = CountingStore()
    missing, _, clock = nodes(store)
    for at in (0, looked):
        clock.now = 1000 + at
        assert missing.missing_for("n1") == at
    add_node(store)
    clock.now = 1000 + NODE_GRACE_PERIOD
    assert missing.missing_for("n1") is None


def test_the_age_begins_anew_after_the_node_was_back() -> None:
    store = CountingStore()
    missing, _, clock = nodes(store)
    missing.missing_for("n1")
    clock.advance(CONFIRM_SECONDS)
    add_node(store)
    assert missing.missing_for("n1") is None
    store.delete(NODES, "n1")
    clock.advance(CONFIRM_SECONDS)
    assert missing.missing_for("n1") == 0


def test_a_return_that_nobody_asked_about_ends_the_absence() -> None:
    store = CountingStore()
    missing, state, clock = nodes(store)
    missing.missing_for("n1")
    clock.advance(20)
    add_node(store)
    (body,) = store.list(NODES).items
    state.put(NODES, body)
    clock.advance(20)
    store.delete(NODES, "n1")
    state.delete_version(NODES, "n1", int(body["metadata"]["resourceVersion"]))
    clock.advance(15)
    assert missing.missing_for("n1") == 0


def test_another_server_under_the_same_name_is_missing_and_the_node_is_not() -> None:
    store = CountingStore()
    add_node(store, "s2")
    missing, state, clock = nodes(store)
    state.put(NODES, store.list(NODES).items[0])
    assert missing.missing_for("n1") is None
    assert missing.missing_for("n1", "s1") == 0
    clock.advance(70)
    assert missing.missing_for("n1", "s1") == 70
    assert missing.missing_for("n1", "s2") is None


def test_an_api_server_that_does_not_answer_is_no_evidence() -> None:
    store = CountingStore()
    missing, _, _ = nodes(store)
    store.set_outage(True)
    with pytest.raises(UnreachableError):
        missing.missing_for("n1")
    store.set_outage(False)
    add_node(store)
    assert missing.missing_for("n1") is None
