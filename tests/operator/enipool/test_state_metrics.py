"""The metrics that are computed from the cluster state."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, NODES, PODS, TAINT_AGENT_NOT_READY, Kind
from openeni_kube.metrics import Metric, Sample
from openeni_operator.cluster_state import ClusterState
from openeni_operator.enipool.state_metrics import state_samples
from openeni_operator.process.metric_catalogue import (
    CATALOGUE,
    ENI_DELETING_SECONDS,
    ENI_NOT_READY_SECONDS,
    ENI_STATE,
    NODES_AGENT_NOT_READY,
    NODES_AGENT_NOT_READY_SECONDS,
    PODS_WAITING,
    POOL_ADDRESSES,
    POOL_CONDITION,
    POOL_NODES,
    POOL_SUBNET_FREE,
    POOL_SUBNET_SIZE,
    POOL_SUBNET_USED,
)
from openeni_testing.objects import eni_body, pool_body, port_status

NOW: Final = "2026-11-24T02:00:00Z"
V4, V6 = "5b1f7c1a-4", "5b1f7c1a-6"
SUBNET: Final[Json] = {
    "id": V4,
    "name": "pods",
    "networkID": "0d9c2a52",
    "cidr": "10.98.0.0/22",
    "freeCount": 90,
    "addressCount": 1000,
}


class State:
    """A cluster state that is filled with bodies as a test needs them."""

    def __init__(self) -> None:
        self.state = ClusterState(lambda _: None)
        self._version = 0

    def put(self, kind: Kind, body: Json) -> None:
        self._version += 1
        meta = {"resourceVersion": str(self._version), "uid": str(self._version)}
        self.state.put(kind, body | {"metadata": meta | body["metadata"]})

    def pool(self, name: str = "pods", **status: Any) -> None:
        body = pool_body(name) | {"status": status}
        body["spec"]["podSelector"] = {}
        self.put(ENIPOOLS, body)

    def eni(self, name: str, *, pool: str = "pods", **status: Any) -> None:
        body = eni_body(name, pool=pool) | {"status": status}
        body["metadata"]["creationTimestamp"] = "2026-11-24T01:00:00Z"
        self.put(ENIS, body)

    def node(self, name: str, *taint: str) -> None:
        """Put a node; `taint` is the time of its taint, "" if it has none."""
        taints = [
            {"key": TAINT_AGENT_NOT_READY, "effect": "NoSchedule"}
            | ({"timeAdded": since} if since else {})
            for since in taint
        ]
        spec = {"providerID": f"openstack:///{name}", "taints": taints}
        meta = {"name": name, "creationTimestamp": "2026-11-24T01:50:00Z"}
        self.put(NODES, {"metadata": meta, "spec": spec})

    def pod(self, name: str, node: str = "n1", **metadata: Any) -> None:
        meta = {"name": name, "namespace": "shop", **metadata}
        self.put(PODS, {"metadata": meta, "spec": {"nodeName": node}})

    def samples(self, now: str = NOW) -> list[Sample]:
        return list(state_samples(self.state, now))

    def values(self, metric: Metric) -> dict[tuple[str, ...], float]:
        return {s.labels: s.value for s in self.samples() if s.metric == metric}


def ready(
    status: str, reason: str, since: str = "2026-11-24T01:30:00Z", type_: str = Type.READY
) -> Json:
    return {"type": type_, "status": status, "reason": reason, "lastTransitionTime": since}


def port(*addresses: str) -> Json:
    """Return a port with these addresses, and a subnet and a primary address of each family."""
    subnets = [{"id": V4, "cidr": "10.98.0.0/22"}, {"id": V6, "cidr": "fd00::/64"}]
    families = 1 + any(":" in address for address in addresses)
    return port_status("p") | {
        "subnets": subnets[:families],
        "primary": ["10.98.0.10", "fd00::10"][:families],
        "addresses": list(addresses),
    }


@pytest.fixture
def state() -> State:
    return State()


def test_a_pools_conditions_and_nodes(state: State) -> None:
    bad = ready("False", "QuotaExceeded", type_="CapacityAvailable")
    counts = {"served": 5, "withoutAgent": 2, "atLimit": 1}
    state.pool(conditions=[ready("True", "Ready"), bad], nodeCounts=counts)
    assert state.values(POOL_CONDITION) == {
        ("pods", "Ready", "True", "Ready"): 1,
        ("pods", "CapacityAvailable", "False", "QuotaExceeded"): 1,
    }
    nodes = state.values(POOL_NODES)
    assert nodes["pods", "served"] == 5
    assert nodes["pods", "without_agent"] == 2
    assert nodes["pods", "at_limit"] == 1
    assert nodes["pods", "without_subnet"] == 0


def test_addresses_by_state_add_up_to_those_on_ports(state: State) -> None:
    state.pool()
    addresses = port(*(f"10.98.0.{n}" for n in range(20, 30)))
    state.eni("reports", port=addresses, node={"granted": 3, "cooling": 2, "available": 4})
    state.eni("silent", port=addresses)
    state.eni("lies", port=addresses, node={"granted": 31})
    state.eni("new")
    assert state.values(POOL_ADDRESSES) == {
        ("pods", "granted"): 3,
        ("pods", "cooling"): 2,
        ("pods", "available"): 4,
        ("pods", "unavailable"): 1 + 10 + 10,
    }


def test_the_use_of_each_subnet_counts_its_family(state: State) -> None:
    six = SUBNET | {"id": V6, "cidr": "fd00::/64", "freeCount": 2**31 - 1, "addressCount": 0}
    state.pool(subnets=[SUBNET, six])
    state.eni("e", port=port("10.98.0.11", "10.98.0.12", "fd00::11"))
    state.eni("f", port=port("10.98.0.21", "fd00::21"))
    assert state.values(POOL_SUBNET_SIZE) == {("pods", V4): 1000}
    assert state.values(POOL_SUBNET_FREE) == {("pods", V4): 90, ("pods", V6): 2**31 - 1}
    assert state.values(POOL_SUBNET_USED) == {("pods", V4): 3 + 2, ("pods", V6): 2 + 2}


def test_enis_by_reason_and_how_long_the_oldest_is_not_ready(state: State) -> None:
    state.pool()
    state.eni("good", conditions=[ready("True", "Ready")])
    state.eni("stuck", conditions=[ready("False", "WaitingForAttach")])
    state.eni("other", conditions=[ready("False", "WaitingForAttach", "2026-11-24T01:59:00Z")])
    state.eni("new")
    state.eni("agents", conditions=[ready("False", "AnythingAtAll", "2026-11-24t01:59:00z")])
    assert state.values(ENI_STATE) == {
        ("pods", "Ready"): 1,
        ("pods", "WaitingForAttach"): 2,
        ("pods", "None"): 1,
        ("pods", "Other"): 1,
    }
    assert state.values(ENI_NOT_READY_SECONDS) == {
        ("pods", "WaitingForAttach"): 1800,
        ("pods", "None"): 3600,
        ("pods", "Other"): 0,
    }


def test_an_eni_that_is_deleted_is_not_stuck(state: State) -> None:
    state.pool()
    body = eni_body("e")
    status: Json = {"conditions": [ready("False", "Deleting")]}
    body["status"] = status
    body["metadata"]["deletionTimestamp"] = "2026-11-24T01:00:00Z"
    state.put(ENIS, body)
    assert state.values(ENI_STATE) == {("pods", "Deleting"): 1}
    assert state.values(ENI_NOT_READY_SECONDS) == {}
    assert state.values(ENI_DELETING_SECONDS) == {("pods", "Deleting"): 3600}
    status |= {"port": port_status("e"), "node": {"granted": 1}}
    state.put(ENIS, body)
    assert state.values(ENI_DELETING_SECONDS) == {}, "a pod may use it for as long as it likes"
    status["node"] |= {"granted": 0, "idleSince": "2026-11-24T01:50:00Z"}
    state.put(ENIS, body)
    assert state.values(ENI_DELETING_SECONDS) == {("pods", "Deleting"): 470}, "since its cool-down"
    retired = [{"address": "10.98.0.11", "generation": 1}]
    status["node"] |= {"granted": 1, "idleSince": "2026-11-24T00:50:00Z", "retired": retired}
    state.put(ENIS, body)
    assert state.values(ENI_DELETING_SECONDS) == {("pods", "Deleting"): 3600}, "it is only kept"


def test_waiting_pods_count_for_the_pool_that_is_to_serve_them(state: State) -> None:
    state.pool("first")
    state.pool("second")
    state.node("n1")
    state.put(NAMESPACES, {"metadata": {"name": "shop"}})
    state.pod("a")
    state.pod("b", annotations={"openeni.io/pool": "second"})
    state.pod("c", annotations={"openeni.io/pool": "nowhere"})
    state.pod("d", node="unknown")
    assert state.values(PODS_WAITING) == {("first",): 1, ("second",): 1}


def test_nodes_with_the_taint(state: State) -> None:
    state.node("n1")
    assert state.values(NODES_AGENT_NOT_READY) == {(): 0}
    assert state.values(NODES_AGENT_NOT_READY_SECONDS) == {}
    state.node("n2", "2026-11-24T01:59:00Z")
    assert state.values(NODES_AGENT_NOT_READY_SECONDS) == {(): 60}
    state.node("n3", "")  # its kubelet has registered it so
    assert state.values(NODES_AGENT_NOT_READY) == {(): 2}
    assert state.values(NODES_AGENT_NOT_READY_SECONDS) == {(): 600}


def test_enis_of_a_pool_that_is_gone_make_no_series(state: State) -> None:
    state.eni("e", pool="gone")
    assert {s.metric for s in state.samples()} == {NODES_AGENT_NOT_READY}


def everything() -> Iterator[Sample]:
    state = State()
    for name in ("a", "b"):
        conditions = [ready("False", reason, type_=Type.READY) for reason in Reason]
        state.pool(name, conditions=conditions[:1], subnets=[SUBNET, SUBNET])
        for reason, condition in zip(Reason, conditions, strict=True):
            state.eni(f"{name}-{reason.lower()}", pool=name, conditions=[condition])
    yield from state.samples()


def test_each_series_is_there_once_and_has_the_labels_of_the_catalogue() -> None:
    found = list(everything())
    series = [(s.metric.name, s.labels) for s in found]
    assert len(set(series)) == len(series)
    assert all(len(s.labels) == len(s.metric.labels) for s in found)
    assert {s.metric for s in found} <= set(CATALOGUE)
