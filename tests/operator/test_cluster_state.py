"""The cluster state, and the mapping of changes to keys."""

from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import (
    API_VERSION,
    ENIPOOLS,
    ENIS,
    NAMESPACES,
    NODES,
    PODIPS,
    PODS,
    Kind,
)
from openeni_kube.store import Page
from openeni_operator.cluster_state import Change, ClusterState
from openeni_operator.core_objects import parse_node, parse_pod
from openeni_operator.watch_mapping import keys_for
from openeni_testing.objects import (
    condition,
    eni_body,
    podip_body,
    pool_body,
    port_status,
    status_of,
)
from openeni_testing.store.memory import MemoryStore


class StateUnderTest:
    """A cluster state over a store, which records the keys of each change."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.keys: set[str] = set()
        self.state = ClusterState(self._on_change)

    def _on_change(self, change: Change[Any]) -> None:
        self.keys |= {str(key) for key in keys_for(change, self.state)}

    def put(self, kind: Kind, body: Json) -> set[str]:
        """Put the object and return the keys of that change."""
        self.keys.clear()
        self.state.put(kind, body)
        return set(self.keys)


def test_an_older_version_changes_nothing() -> None:
    tested = StateUnderTest()
    first = tested.store.create(ENIS, eni_body("e"))
    patch = [{"op": "add", "path": "/spec/retiring", "value": ["10.98.0.5"]}]
    second = tested.store.patch(ENIS, "e", operations=patch)
    assert tested.put(ENIS, second) == {"ENI/e", "ENIPool/pods", "Node/n1"}
    assert tested.put(ENIS, first) == set()
    tested.state.delete(ENIS, first)
    found = tested.state.eni("e")
    assert found is not None
    assert found.spec.retiring == ("10.98.0.5",)


def test_a_late_response_does_not_bring_back_a_deleted_object() -> None:
    tested = StateUnderTest()
    body = tested.store.create(ENIS, eni_body("e"))
    tested.state.put(ENIS, body)
    tested.state.delete(ENIS, body)
    tested.state.put(ENIS, body, only_update=True)
    assert tested.state.eni("e") is None


def test_an_eni_status_written_by_the_operator_wakes_only_the_pool() -> None:
    tested = StateUnderTest()
    tested.put(ENIS, tested.store.create(ENIS, eni_body("e")))
    own = status_of("e", conditions=[condition("Attached", "False")])
    written = tested.store.apply(ENIS, own, manager="openeni-operator", subresource="status")
    assert tested.put(ENIS, written) == {"ENIPool/pods"}
    agents = status_of("e", conditions=[condition("GuestPrepared")])
    reported = tested.store.apply(ENIS, agents, manager="openeni-agent", subresource="status")
    assert tested.put(ENIS, reported) == {"ENI/e", "ENIPool/pods"}


def test_what_the_operator_says_of_a_podip_wakes_the_pool_that_makes_room_for_it() -> None:
    tested = StateUnderTest()
    tested.put(PODIPS, tested.store.create(PODIPS, podip_body("web-0")))
    waits = {
        "apiVersion": API_VERSION,
        "kind": PODIPS.name,
        "metadata": {"name": "web-0", "namespace": "default"},
        "status": {"conditions": [condition("Placed", "False")]},
    }
    written = tested.store.apply(PODIPS, waits, manager="openeni-operator", subresource="status")
    assert tested.put(PODIPS, written) == {"ENIPool/pods"}


def test_an_eni_that_is_being_deleted_and_what_is_kept_on_it_wake_each_other() -> None:
    tested = StateUnderTest()
    eni = eni_body("e")
    eni["metadata"]["finalizers"] = ["openeni.io/test"]
    tested.put(ENIS, tested.store.create(ENIS, eni))
    port = status_of("e", port=port_status("e") | {"addresses": ["10.98.0.5"]})
    tested.put(
        ENIS, tested.store.apply(ENIS, port, manager="openeni-operator", subresource="status")
    )
    kept = podip_body("web-0")
    kept["spec"]["eniName"] = "e"
    woken_by_podip = {"WatchedPodIP/default/web-0", "ENIPool/pods"}
    assert tested.put(PODIPS, tested.store.create(PODIPS, kept)) == woken_by_podip
    tested.store.delete(ENIS, "e")
    woken = tested.put(ENIS, tested.store.get(ENIS, "e"))
    assert woken == {"ENI/e", "ENIPool/pods", "WatchedPodIP/default/web-0"}
    clear = [{"op": "remove", "path": "/spec/eniName"}]
    cleared = tested.store.patch(PODIPS, "web-0", "default", operations=clear)
    assert tested.put(PODIPS, cleared) == {*woken_by_podip, "ENI/e"}, "its port is to lose it"


def test_an_agents_changed_message_wakes_only_the_pool() -> None:
    """Each look at an ENI costs calls to the cloud; a message tells the operator nothing."""
    under_test = StateUnderTest()
    made = under_test.store.create(ENIS, eni_body("e"))
    under_test.put(ENIS, made)
    link = condition("LinkReady", "False")
    for words, woken in (("one", {"ENI/e", "ENIPool/pods"}), ("two", {"ENIPool/pods"})):
        body = status_of("e", conditions=[link | {"message": words}])
        applied = under_test.store.apply(ENIS, body, manager="openeni-agent", subresource="status")
        assert under_test.put(ENIS, applied) == woken


def test_an_agents_counts_wake_only_the_pool() -> None:
    """Each pod that starts or ends changes them."""
    under_test = StateUnderTest()
    under_test.put(ENIS, under_test.store.create(ENIS, eni_body("e")))
    first = {"observedGeneration": 1, "granted": 0, "cooling": 0}
    for counts, woken in ((first, None), (first | {"granted": 1, "cooling": 2}, {"ENIPool/pods"})):
        body = status_of("e", node=counts)
        applied = under_test.store.apply(ENIS, body, manager="openeni-agent", subresource="status")
        assert under_test.put(ENIS, applied) == (woken or {"ENI/e", "ENIPool/pods"})


def test_an_agents_word_on_the_container_runtime_wakes_the_node() -> None:
    tested = StateUnderTest()
    tested.put(ENIS, tested.store.create(ENIS, eni_body("e")))
    body = status_of("e", conditions=[condition("CNIConfigured")])
    applied = tested.store.apply(ENIS, body, manager="openeni-agent", subresource="status")
    assert tested.put(ENIS, applied) == {"ENI/e", "ENIPool/pods", "Node/n1"}


def test_a_pools_own_status_wakes_nothing() -> None:
    tested = StateUnderTest()
    tested.put(ENIPOOLS, tested.store.create(ENIPOOLS, pool_body("p")))
    written = tested.store.apply(
        ENIPOOLS, status_of("p", eniCount=3), manager="openeni-operator", subresource="status"
    )
    assert tested.put(ENIPOOLS, written) == set()
    found = tested.state.pool("p")
    assert found is not None
    assert found.status.eni_count == 3


def node_body(name: str, **status: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"providerID": "openstack://RegionOne/abc"},
        "status": status,
    }


def test_a_heartbeat_of_a_node_wakes_nothing() -> None:
    tested = StateUnderTest()
    tested.state.put(ENIPOOLS, tested.store.create(ENIPOOLS, pool_body("p")))
    tested.state.put(ENIS, tested.store.create(ENIS, eni_body("e", node="n1")))
    created = tested.store.create(NODES, node_body("n1", allocatable={"pods": "110"}))
    assert tested.put(NODES, created) == {"ENIPool/p", "ENI/e", "Node/n1"}
    patch = [{"op": "add", "path": "/status/conditions", "value": [condition("Ready")]}]
    heartbeat = tested.store.patch(NODES, "n1", operations=patch, subresource="status")
    assert tested.put(NODES, heartbeat) == set()


def test_a_deleted_node_wakes_its_enis_its_podips_and_every_pool() -> None:
    tested = StateUnderTest()
    tested.state.put(ENIPOOLS, tested.store.create(ENIPOOLS, pool_body("p")))
    tested.state.put(ENIS, tested.store.create(ENIS, eni_body("e", node="n1")))
    tested.put(NODES, tested.store.create(NODES, node_body("n1")))
    tested.keys.clear()
    tested.state.delete(NODES, tested.store.get(NODES, "n1"))
    assert tested.keys == {"ENIPool/p", "ENI/e", "PodIP/n1"}


def test_a_pod_wakes_only_its_pool() -> None:
    tested = StateUnderTest()
    for name, priority in (("a", 0), ("b", 1)):
        body = pool_body(name)
        body["spec"] |= {"podSelector": {}, "priority": priority}
        tested.state.put(ENIPOOLS, tested.store.create(ENIPOOLS, body))
    tested.state.put(NODES, tested.store.create(NODES, node_body("n1")))
    namespace = tested.store.create(NAMESPACES, {"metadata": {"name": "default"}})
    tested.state.put(NAMESPACES, namespace)
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": "n1"}}
    assert tested.put(PODS, tested.store.create(PODS, pod)) == {"ENIPool/b"}
    note = [{"op": "add", "path": "/metadata/annotations", "value": {"sidecar": "injected"}}]
    noted = tested.store.patch(PODS, "p", "default", operations=note)
    assert tested.put(PODS, noted) == set(), "another program's annotation is no change"


@pytest.mark.parametrize(
    ("spec", "status", "waits_for_address"),
    [
        ({}, {"phase": "Pending"}, True),
        ({"hostNetwork": True}, {"phase": "Pending"}, False),
        ({}, {"phase": "Pending", "podIP": "10.98.0.5"}, False),
        ({}, {"phase": "Running"}, False),
    ],
)
def test_which_pods_need_an_address(spec: Json, status: Json, waits_for_address: object) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1", **spec}, "status": status}
    assert parse_pod(pod).waits_for_address is waits_for_address


@pytest.mark.parametrize(("quantity", "max_pods"), [("110", 110), ("1k", 1000), ("oops", 0)])
def test_a_nodes_pod_capacity_is_a_quantity(quantity: str, max_pods: int) -> None:
    assert parse_node(node_body("n1", allocatable={"pods": quantity})).max_pods == max_pods


def test_an_own_write_that_a_list_shows_undone_is_forgotten() -> None:
    """No watch has shown it: it went with an etcd that was restored, or in a gap."""
    tested = StateUnderTest()
    store = tested.store
    before = store.create(ENIS, eni_body("undone"))
    for body in (label(store, "undone"), store.create(ENIS, eni_body("gone"))):
        tested.put(ENIS, body)
    later = Page((before,), store.version(ENIS))
    tested.put(ENIS, store.create(ENIS, eni_body("newer")))
    tested.state.settle(ENIS, later)
    assert {eni.name for eni in tested.state.enis()} == {"undone", "newer"}
    assert tested.put(ENIS, before), "an older version is a change now"
    assert tested.state.versions(ENIS)["undone"] == int(before["metadata"]["resourceVersion"])


def label(store: MemoryStore, name: str) -> Json:
    labels = {"op": "add", "path": "/metadata/labels", "value": {"new": "yes"}}
    return store.patch(ENIS, name, operations=[labels])
