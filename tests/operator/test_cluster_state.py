"""What comes in: only news counts, echoes wake nobody, and the slow look finds what was missed."""

from typing import Any

import pytest
from kopf._cogs.structs.references import Resource

from openeni_crds.meta import Json
from openeni_crds.names import ENI, ENIPOOL, NAMESPACE, NODE, POD, Kind
from openeni_operator import resync
from openeni_operator.cluster_state import KINDS, PENDING, Change, ClusterState
from openeni_operator.core_objects import parse_node, parse_pod, server_id_from
from openeni_operator.handlers import kopf_settings
from openeni_operator.resync import Resync
from openeni_operator.watch_mapping import keys_for
from openeni_testing.objects import condition, eni_body, pool_body, status_of
from openeni_testing.store.memory import MemoryStore


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.plural)
def test_kopf_asks_the_server_for_pending_bound_pods_and_for_all_of_the_rest(kind: Kind) -> None:
    resource = Resource(kind.group, kind.version, kind.plural, kind=kind.name)
    asked = kopf_settings().watching.field_selectors.collect(resource)
    assert asked == ([PENDING] if kind == POD else [])


class Eyes:
    """A mirror over a store, and the keys that its changes concern."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.keys: set[str] = set()
        self.mirror = ClusterState(self.changed)

    def changed(self, change: Change[Any]) -> None:
        self.keys |= {str(key) for key in keys_for(change, self.mirror)}

    def see(self, kind: Kind, body: Json) -> set[str]:
        self.keys.clear()
        self.mirror.put(kind, body)
        return set(self.keys)


def test_an_older_version_changes_nothing() -> None:
    eyes = Eyes()
    first = eyes.store.create(ENI, eni_body("e"))
    patch = [{"op": "add", "path": "/spec/retiring", "value": ["10.98.0.5"]}]
    second = eyes.store.patch(ENI, "e", patch)
    assert eyes.see(ENI, second) == {"ENI/e", "ENIPool/pods"}
    assert eyes.see(ENI, first) == set()
    eyes.mirror.drop(ENI, first)
    found = eyes.mirror.eni("e")
    assert found is not None
    assert found.spec.retiring == ("10.98.0.5",)


def test_a_late_answer_does_not_revive_what_is_gone() -> None:
    eyes = Eyes()
    body = eyes.store.create(ENI, eni_body("e"))
    eyes.mirror.put(ENI, body)
    eyes.mirror.drop(ENI, body)
    eyes.mirror.put(ENI, body, known=True)
    assert eyes.mirror.eni("e") is None


def test_what_the_operator_wrote_wakes_only_who_counts() -> None:
    eyes = Eyes()
    eyes.see(ENI, eyes.store.create(ENI, eni_body("e")))
    own = status_of("e", conditions=[condition("Attached", "False")])
    said = eyes.store.apply(ENI, own, manager="openeni-operator", subresource="status")
    assert eyes.see(ENI, said) == {"ENIPool/pods"}
    agents = status_of("e", conditions=[condition("GuestPrepared")])
    told = eyes.store.apply(ENI, agents, manager="openeni-agent", subresource="status")
    assert eyes.see(ENI, told) == {"ENI/e", "ENIPool/pods"}


def test_a_pools_own_status_wakes_nobody() -> None:
    eyes = Eyes()
    eyes.see(ENIPOOL, eyes.store.create(ENIPOOL, pool_body("p")))
    said = eyes.store.apply(
        ENIPOOL, status_of("p", nodes=3), manager="openeni-operator", subresource="status"
    )
    assert eyes.see(ENIPOOL, said) == set()
    found = eyes.mirror.pool("p")
    assert found is not None
    assert found.status.nodes == 3


def node_body(name: str, **status: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"providerID": "openstack://RegionOne/abc"},
        "status": status,
    }


def test_a_heartbeat_of_a_node_wakes_nobody() -> None:
    eyes = Eyes()
    eyes.mirror.put(ENIPOOL, eyes.store.create(ENIPOOL, pool_body("p")))
    eyes.mirror.put(ENI, eyes.store.create(ENI, eni_body("e", node="n1")))
    created = eyes.store.create(NODE, node_body("n1", allocatable={"pods": "110"}))
    assert eyes.see(NODE, created) == {"ENIPool/p", "ENI/e"}
    beat = [{"op": "add", "path": "/status/conditions", "value": [condition("Ready")]}]
    assert eyes.see(NODE, eyes.store.patch(NODE, "n1", beat, subresource="status")) == set()
    eyes.keys.clear()
    eyes.mirror.drop(NODE, eyes.store.get(NODE, "n1"))
    assert eyes.keys == {"ENIPool/p", "ENI/e", "PodIPs/n1"}


def test_a_pod_wakes_its_pool_only() -> None:
    eyes = Eyes()
    for name, selection in (("a", "OnRequest"), ("b", "Default")):
        body = pool_body(name)
        body["spec"]["selection"] = selection
        eyes.mirror.put(ENIPOOL, eyes.store.create(ENIPOOL, body))
    eyes.mirror.put(NAMESPACE, eyes.store.create(NAMESPACE, {"metadata": {"name": "default"}}))
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": "n1"}}
    assert eyes.see(POD, eyes.store.create(POD, pod)) == {"ENIPool/b"}


@pytest.mark.parametrize(
    ("provider_id", "server"),
    [
        ("openstack:///6a2c", "6a2c"),
        ("openstack://RegionOne/6a2c", "6a2c"),
        ("aws:///eu/i-1", ""),
        ("", ""),
    ],
)
def test_a_nodes_server_is_in_its_provider_id(provider_id: str, server: str) -> None:
    assert server_id_from(provider_id) == server


@pytest.mark.parametrize(
    ("spec", "status", "wants"),
    [
        ({}, {"phase": "Pending"}, True),
        ({"hostNetwork": True}, {"phase": "Pending"}, False),
        ({}, {"phase": "Pending", "podIP": "10.98.0.5"}, False),
        ({}, {"phase": "Running"}, False),
    ],
)
def test_who_waits_for_an_address(spec: Json, status: Json, wants: object) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1", **spec}, "status": status}
    assert parse_pod(pod).wants is wants


@pytest.mark.parametrize(("said", "pods"), [("110", 110), ("1k", 1000), ("oops", 0)])
def test_how_many_pods_a_node_may_run(said: str, pods: int) -> None:
    assert parse_node(node_body("n1", allocatable={"pods": said})).pods == pods


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync, "GRACE", 0.01)


@pytest.mark.usefixtures("impatient")
def test_the_slow_look_repairs_what_watches_missed_and_tells_of_dead_ones() -> None:
    eyes, looked = Eyes(), list[str]()
    slow = Resync(eyes.store, eyes.mirror, 300, lambda: looked.append("all_keys"))
    eyes.store.create(ENI, eni_body("stays"))
    eyes.store.create(ENI, eni_body("goes"))
    slow.fill()
    slow.start()
    slow.round()
    assert slow.healthy()
    eyes.store.delete(ENI, "goes")
    eyes.store.create(ENI, eni_body("comes"))
    slow.round()
    assert sorted(e.name for e in eyes.mirror.enis()) == ["comes", "stays"]
    assert slow.healthy(), "once can be bad luck"
    eyes.store.create(ENI, eni_body("late"))
    slow.round()
    assert not slow.healthy()
    slow.round()
    assert slow.healthy(), "the watch is back"
    assert len(looked) == 4
    slow.stop()
