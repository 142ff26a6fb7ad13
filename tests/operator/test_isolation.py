"""One cloud's trouble is that cloud's alone: the product's own wiring, its threads, two clouds."""

import math
from pathlib import Path

import pytest

from openeni_crds.conditions import Reason, Type, condition
from openeni_crds.meta import Json, encode
from openeni_crds.names import (
    ENIPOOLS,
    ENIS,
    FINALIZER_ENI,
    LABEL_VETH,
    MANAGER_AGENT,
    NODES,
    TAINT_AGENT_NOT_READY,
)
from openeni_operator.cloud.admission import CallLimits
from openeni_testing.controller.running import running_operator
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorBefore, Slow
from openeni_testing.fake_openstack.messages import Response
from openeni_testing.objects import eni_body, pool_body, status_of
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

MANY = 60
FAST = CallLimits(reads=1000, writes=1000, attaches=1000)
PREPARED = condition(Type.GUEST_PREPARED, Reason.PREPARED, status=True)


def add_resources(cloud: FakeOpenStack) -> None:
    cloud.state.add_subnet(cloud.state.add_network(), "pods", "10.98.0.0/20")
    cloud.state.add_group("pods")


def add_node(store: MemoryStore, name: str, server_id: str, **labels: str) -> None:
    taint = {"key": TAINT_AGENT_NOT_READY, "effect": "NoSchedule"}
    body: Json = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {LABEL_VETH: "true", **labels}},
        "spec": {"providerID": f"openstack:///{server_id}", "taints": [taint]},
        "status": {"allocatable": {"pods": "110"}},
    }
    store.create(NODES, body)


def add_pool(store: MemoryStore, name: str, cloud: str) -> None:
    """Add a pool for the nodes with the label `pool`."""
    body = pool_body(name)
    body["spec"] |= {"cloud": cloud, "nodeSelector": {"matchLabels": {"pool": name}}}
    store.create(ENIPOOLS, body)


def add_eni(store: MemoryStore, name: str, cloud: str, server: str, node: str) -> None:
    body = eni_body(name, node=node, pool="slow")
    body["metadata"]["finalizers"] = [FINALIZER_ENI]
    body["spec"] |= {"cloud": cloud, "serverID": server}
    store.create(ENIS, body)


def has_taint(store: MemoryStore, node: str) -> bool:
    return bool(store.get(NODES, node)["spec"].get("taints"))


def test_a_cloud_whose_keystone_does_not_answer_holds_up_no_other_work(tmp_path: Path) -> None:
    store, file = MemoryStore(), tmp_path / "clouds.yaml"
    with FakeOpenStack() as slow, FakeOpenStack() as good:
        slow.faults.add("", Slow(3600), times=math.inf)
        for name, cloud in (("slow", slow), ("good", good)):
            cloud.write_clouds_yaml(file, name)
            add_resources(cloud)
        add_pool(store, "slow", "slow")
        for n in range(MANY):
            add_eni(store, f"slow-{n}", "slow", "server", f"slow-{n}")
        with running_operator(store, file, limits=FAST) as operator:
            wait_for(lambda: slow.audit.counts["connect"] or slow.audit.calls, "it has called")
            add_pool(store, "good", "good")
            add_node(store, "n1", good.state.add_server().id, pool="good")
            add_node(store, "outside", "no-server")
            wait_for(lambda: good.audit.counts["create port"], "the other cloud serves its node")
            wait_for(lambda: not has_taint(store, "outside"), "work without a cloud is done")
            assert operator.workers.alive()


@pytest.mark.exhaustive
def test_attachments_that_wait_for_their_turn_hold_up_nothing(tmp_path: Path) -> None:
    """Not even other work in the same cloud: no thread sleeps for a budget."""
    store, file = MemoryStore(), tmp_path / "clouds.yaml"
    limits = CallLimits(reads=1000, writes=1000, attaches=0.01, attaches_in_flight=1)
    with FakeOpenStack() as cloud:
        cloud.write_clouds_yaml(file)
        add_resources(cloud)
        add_pool(store, "pods", "default")
        for n in range(MANY):
            add_node(store, f"n{n}", cloud.state.add_server().id, pool="pods")
        with running_operator(store, file, limits=limits):
            wait_for(lambda: cloud.audit.counts["create port"] == MANY, "each node has a port")
            for body in store.list(ENIS).items:
                prepared = {**encode(PREPARED), "lastTransitionTime": "2026-01-01T00:00:00Z"}
                report = status_of(body["metadata"]["name"], conditions=[prepared], node={})
                store.apply(ENIS, report, manager=MANAGER_AGENT, subresource="status")
            wait_for(lambda: waiting_for_turn(store) == MANY - 1, "all but one wait")
            add_node(store, "late", cloud.state.add_server().id, pool="pods")
            wait_for(lambda: cloud.audit.counts["create port"] == MANY + 1, "a node that joins")
            assert cloud.audit.counts["attach port"] == 1


def waiting_for_turn(store: MemoryStore) -> int:
    return sum(
        any(
            c["reason"] == Reason.THROTTLED and "0.01 attachments per second" in c["message"]
            for c in body["status"].get("conditions", ())
        )
        for body in store.list(ENIS).items
    )


def test_a_refused_credential_costs_one_log_in_for_all_its_enis(tmp_path: Path) -> None:
    store, file = MemoryStore(), tmp_path / "clouds.yaml"
    with FakeOpenStack() as cloud:
        cloud.write_clouds_yaml(file, "refused")
        refused = Response(401, {"error": {"code": 401, "message": "The request is refused"}})
        cloud.faults.add("connect", ErrorBefore(refused), times=math.inf)
        for n in range(MANY):
            add_eni(store, f"e{n}", "refused", "server", f"n{n}")
        with running_operator(store, file, limits=FAST):
            wait_for(lambda: told(store, Reason.CREDENTIALS_INVALID) == MANY, "each says so")
            assert sum(call.operation == "connect" for call in cloud.audit.calls) <= 2


def told(store: MemoryStore, reason: Reason) -> int:
    return sum(
        any(c["reason"] == reason for c in body.get("status", {}).get("conditions", ()))
        for body in store.list(ENIS).items
    )
