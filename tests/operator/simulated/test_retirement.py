"""What is taken back from a node can be given back until it is gone."""

from typing import Any

import pytest

from openeni_crds.conditions import Reason, Type, find, is_true
from openeni_crds.names import ENIPOOLS, ENIS, NODES
from openeni_operator.eni.timing import DETACH_TIMEOUT, MAX_DETACHES
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    assert_all_removed,
    assert_converged,
    simulate_ready_pool,
)
from openeni_testing.controller.simulation import Simulation

ONE = {"addressesPerENI": 3, "minAvailable": 1, "maxENIsPerNode": 1}


def set_label(sim: Simulation, node: str, value: str | None) -> None:
    path = "/metadata/labels/role"
    change = {"op": "add", "path": path, "value": value}
    sim.api.patch(NODES, node, operations=[change if value else {"op": "remove", "path": path}])


def simulate_selected(nodes: int = 1, **capacity: Any) -> Simulation:
    """Return a pool that selects nodes by a label; one pod runs on each node."""
    sim = Simulation(nodes=nodes)
    for node in sim.nodes:
        set_label(sim, node, "pods")
    sim.add_pool(nodeSelector={"matchLabels": {"role": "pods"}}, capacity=ONE | capacity)
    sim.settle(100)
    for eni in sim.enis():
        assert eni.status.port is not None
        sim.granted[eni.name] = {eni.status.port.addresses[0]}
    sim.settle(100)
    return sim


@pytest.mark.parametrize("seconds", [1, 30, 400])
def test_a_node_that_leaves_the_pool_for_a_moment_serves_pods_again(seconds: float) -> None:
    sim = simulate_selected()
    (eni,) = sim.enis()
    set_label(sim, "n1", None)
    sim.settle(seconds)
    assert sim.eni(eni.name).spec.retiring
    set_label(sim, "n1", "pods")
    sim.settle(60)
    (after,) = sim.enis()
    assert after.metadata.uid == eni.metadata.uid
    assert after.spec.retiring == ()
    assert after.status.node is not None
    assert (after.status.node.granted, after.status.node.available) == (1, 2)
    assert is_true(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)


def test_an_idle_eni_that_is_being_taken_back_is_kept_for_pods_that_come() -> None:
    sim = Simulation(nodes=1)
    sim.add_pool(
        capacity={"addressesPerENI": 3, "minAvailable": 1, "maxENIsPerNode": 2},
        reclaim={"policy": "After", "after": "1m"},
    )
    sim.settle(50)
    (first,) = sim.enis()
    assert first.status.port is not None
    sim.granted[first.name] = set(first.status.port.addresses)
    sim.settle(50)
    (idle,) = (e for e in sim.enis() if e.name != first.name)
    sim.granted[first.name] = set()
    sim.settle(5)
    sim.settle(200, agents=False)
    assert sim.eni(idle.name).spec.retiring
    for n in range(5):
        sim.add_pod(f"p{n}", "n1")
    sim.settle(200)
    assert {e.metadata.uid for e in sim.enis()} == {first.metadata.uid, idle.metadata.uid}
    assert sim.eni(idle.name).spec.retiring == ()
    assert_converged(sim, 2)


def test_an_eni_that_a_pod_uses_again_while_it_is_asked_for_stays() -> None:
    """The agent has granted an address before it saw the request, and refuses."""
    sim = Simulation(nodes=1)
    sim.add_pool(
        capacity={"addressesPerENI": 3, "minAvailable": 1},
        reclaim={"policy": "After", "after": "1m"},
    )
    sim.settle(50)
    (first,) = sim.enis()
    assert first.status.port is not None
    sim.granted[first.name] = set(first.status.port.addresses)
    sim.settle(50)
    (idle,) = (e for e in sim.enis() if e.name != first.name)
    assert idle.status.port is not None
    sim.granted[first.name] = set()
    sim.settle(5)
    sim.settle(200, agents=False)
    assert sim.eni(idle.name).spec.retiring
    sim.granted[idle.name] = {idle.status.port.addresses[0]}
    sim.settle(200)
    assert sim.eni(idle.name).spec.retiring == ()
    assert idle.name in sim.ready()


def test_a_node_that_is_gone_for_less_than_its_grace_period_loses_nothing() -> None:
    sim = simulate_ready_pool()
    node = sim.api.get(NODES, "n2")
    before = {e.name: (e.metadata.uid, e.spec.retiring) for e in sim.enis()}
    sim.api.delete(NODES, "n2")
    sim.settle(55)
    sim.api.create(
        NODES, {**node, "metadata": {"name": "n2", "labels": node["metadata"]["labels"]}}
    )
    sim.settle(TWO_RESYNCS)
    assert {e.name: (e.metadata.uid, e.spec.retiring) for e in sim.enis()} == before
    assert sim.cloud.calls["detach port"] == 0


def test_a_node_that_stays_away_loses_its_eni() -> None:
    sim = simulate_ready_pool()
    sim.api.delete(NODES, "n2")
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 1)


def test_a_node_whose_server_was_replaced_loses_the_old_servers_eni() -> None:
    sim = simulate_ready_pool()
    old = next(e for e in sim.enis() if e.spec.node_name == "n2")
    server = sim.cloud.add_server()
    sim.cloud.remove_server(old.spec.server_id)
    body = sim.api.get(NODES, "n2")
    change = {"op": "replace", "path": "/spec/providerID", "value": f"openstack:///{server}"}
    sim.api.patch(NODES, body["metadata"]["name"], operations=[change])
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 2)
    assert {e.spec.server_id for e in sim.enis() if e.spec.node_name == "n2"} == {server}


def test_an_address_that_is_added_while_an_eni_retires_is_asked_for_too() -> None:
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[0]}
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(30)
    sim.cloud.add_address(eni.status.port.id)
    sim.settle(TWO_RESYNCS)
    sim.granted.clear()
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def test_a_new_pool_serves_pods_while_the_old_one_waits_for_its_last() -> None:
    sim = simulate_ready_pool()
    for eni in sim.enis():
        assert eni.status.port is not None
        sim.granted[eni.name] = {eni.status.port.addresses[0]}
    sim.settle(30)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(30)
    sim.add_pool("new", capacity={"addressesPerENI": 3, "minAvailable": 0})
    sim.add_pod("p", "n1")  # the older pool selects it, too
    sim.settle(100)
    new = [e for e in sim.enis() if e.spec.pool_name == "new"]
    assert {e.spec.node_name for e in new} == {"n1"}
    assert all(is_true(e.status.conditions, Type.READY) for e in new)
    found = find(sim.pool("new").status.conditions, Type.READY)
    assert found is not None
    assert found.reason == Reason.READY


def test_a_port_whose_creation_was_answered_is_not_waited_for_once_it_is_deleted() -> None:
    sim = Simulation(nodes=1)
    sim.add_pool()
    sim.settle(1, agents=False)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    sim.api.delete(ENIS, eni.name)
    sim.settle(5)
    assert eni.metadata.uid not in {other.metadata.uid for other in sim.enis()}
    assert eni.status.port.id not in sim.cloud.ports
    assert sim.cloud.calls["attach port"] <= 1, "it was not attached, only its successor is"


def test_a_port_that_nova_never_detaches_is_deleted_in_the_end() -> None:
    """Nova accepts the request also for a NIC that it does not know."""
    sim = simulate_ready_pool()
    sim.cloud.detach_seconds = 1e9
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(DETACH_TIMEOUT)
    assert len(sim.cloud.ports) == 2, "it may take as long as that"
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)
    assert sim.cloud.calls["detach port"] == 2 * MAX_DETACHES
