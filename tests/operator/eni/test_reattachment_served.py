"""A port that its host has missed, on services that speak HTTP, with the product's own wiring."""

from pathlib import Path

import pytest

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIPOOLS, ENIS, LABEL_VETH, MANAGER_AGENT, NODES
from openeni_operator.cloud.admission import CallLimits
from openeni_operator.eni import safeguards
from openeni_testing.controller.agent_report import new_report
from openeni_testing.controller.running import running_operator
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.objects import pool_body
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow

FAST = CallLimits(reads=1000, writes=1000, attaches=1000)
SECONDS = 0.3  # in the place of minutes


def pause(_: int) -> float:
    return SECONDS


def add_node(store: MemoryStore, server_id: str) -> None:
    body: Json = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1", "labels": {LABEL_VETH: "true"}},
        "spec": {"providerID": f"openstack:///{server_id}"},
        "status": {"allocatable": {"pods": "110"}},
    }
    store.create(NODES, body)


def report(store: MemoryStore, cloud: FakeOpenStack) -> list[ENI]:
    """Report on the ENIs as their node's agent would; return them."""
    cloud.state.settle()
    enis = [decode(body, ENI) for body in store.list(ENIS).items]
    for eni in enis:
        port = cloud.state.ports.get(eni.status.port.id) if eni.status.port else None
        attached = port is not None and port.device_id == eni.spec.server_id
        body = new_report(eni, (), "2026-01-01T00:00:00Z", attached=attached)
        if body is not None:
            store.apply(ENIS, body, manager=MANAGER_AGENT, subresource="status")
    return enis


def is_ready(store: MemoryStore, cloud: FakeOpenStack) -> bool:
    enis = report(store, cloud)
    return bool(enis) and all(is_true(eni.status.conditions, Type.READY) for eni in enis)


def test_it_is_active_after_another_attachment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACTIVE_TIMEOUT", "SLOW_POLL"):
        monkeypatch.setattr(safeguards, name, SECONDS)
    monkeypatch.setattr(safeguards, "reattach_pause", pause)
    store = MemoryStore()
    with FakeOpenStack() as cloud:
        cloud.write_clouds_yaml(tmp_path / "clouds.yaml")
        cloud.state.add_subnet(cloud.state.add_network(), "pods", "10.98.0.0/20")
        cloud.state.add_group("pods")
        server = cloud.state.add_server()
        server.agent = False
        add_node(store, server.id)
        store.create(ENIPOOLS, pool_body("pods"))
        with running_operator(store, tmp_path / "clouds.yaml", limits=FAST):
            counts = cloud.audit.counts
            wait_for(lambda: report(store, cloud) and counts["attach port"], "it is attached")
            server.agent = True
            wait_for(lambda: is_ready(store, cloud), "it is ACTIVE, and the ENI Ready")
            assert counts["detach port"] >= 1
            assert counts["create port"] == 1
            assert counts["delete port"] == 0
