"""The operator as a whole, against a cloud and an API server that keep state: it gets there."""

import pytest

from openeni_crds.conditions import Type, find, is_true
from openeni_crds.names import ENI, ENIPOOL, NODE, POD
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    CredentialsInvalidError,
    QuotaExceededError,
    ResourceConflictError,
    SubnetExhaustedError,
    ThrottledError,
)
from openeni_testing.cloud.memory import Fault
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    assert_all_removed,
    assert_converged,
    simulate_ready_pool,
)
from openeni_testing.controller.simulation import Simulation


def test_a_pool_gives_each_node_one_attached_port() -> None:
    sim = simulate_ready_pool()
    assert_converged(sim, 2)
    assert sim.cloud.calls["create port"] == sim.cloud.calls["attach"] == 2
    pool = sim.pool()
    assert is_true(pool.status.conditions, Type.READY)
    assert (pool.status.nodes, pool.status.enis, pool.status.addresses.total) == (2, 2, 6)
    assert (pool.status.mode, pool.status.growth) == ("Veth", "Static")


def test_a_second_look_at_the_same_world_writes_nothing_and_orders_nothing() -> None:
    sim = simulate_ready_pool()
    sim.settle(TWO_RESYNCS)
    written, called = len(sim.store.writes), sim.cloud.calls.copy()
    sim.settle(100)
    sim.restart()
    sim.settle(100)
    assert sim.store.writes[written:] == []
    orders = {"create port", "tag port", "delete port", "attach", "detach"}
    assert {k: v for k, v in (sim.cloud.calls - called).items() if k in orders} == {}


def test_waiting_pods_bring_more_enis_one_after_the_other() -> None:
    sim = simulate_ready_pool()
    for i in range(5):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(60)
    on_node = [e for e in sim.enis() if e.spec.node_name == "n1"]
    assert sorted(e.name[-1] for e in on_node) == ["0", "1"]
    assert_converged(sim, 3)


def test_a_pod_that_is_granted_but_still_pending_is_not_counted_twice() -> None:
    """Its grant stands in the ENI's count before its PodIP is published: Terway's bug."""
    sim = simulate_ready_pool()
    eni = next(e for e in sim.enis() if e.spec.node_name == "n1")
    assert eni.status.port is not None
    sim.granted[eni.name] = set(eni.status.port.addresses[:2])
    sim.settle(60)
    for name in ("p0", "p1"):
        sim.add_pod(name, "n1")
    sim.settle(60)
    assert [e.name for e in sim.enis() if e.spec.node_name == "n1"] == [eni.name]


def test_a_deleted_pool_takes_everything_with_it() -> None:
    sim = simulate_ready_pool()
    sim.api.delete(ENIPOOL, "pods")
    sim.settle()
    assert_all_removed(sim)
    assert sim.cloud.calls["detach"] == 2


def test_a_deleted_pool_waits_for_the_last_pod() -> None:
    sim = simulate_ready_pool()
    held = sim.enis()[0]
    assert held.status.port is not None
    sim.granted[held.name] = {held.status.port.addresses[1]}
    sim.api.delete(ENIPOOL, "pods")
    sim.settle(TWO_RESYNCS)
    assert [e.name for e in sim.enis()] == [held.name]
    assert [p.device_id for p in sim.cloud.ports.values()] == [held.spec.server_id]
    sim.granted.clear()
    sim.settle()
    assert_all_removed(sim)


def test_an_eni_that_a_person_deletes_goes_in_order_and_comes_back() -> None:
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[0]}
    sim.api.delete(ENI, eni.name)
    sim.settle(200)
    old = next(p for p in sim.cloud.ports.values() if p.id == eni.status.port.id)
    assert old.device_id == eni.spec.server_id
    sim.granted.clear()
    sim.settle(200)
    assert eni.status.port.id not in sim.cloud.ports
    assert_converged(sim, 2)


def test_an_idle_eni_goes_when_the_rest_is_enough() -> None:
    sim = simulate_ready_pool()
    for i in range(4):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(60)
    assert_converged(sim, 3)
    for i in range(4):
        sim.api.delete(POD, f"p{i}", "default")
    sim.settle(2000)
    assert_converged(sim, 2)


def test_a_node_that_is_gone_takes_its_enis_with_it_without_its_agent() -> None:
    sim = simulate_ready_pool()
    server = next(e.spec.server_id for e in sim.enis() if e.spec.node_name == "n2")
    sim.api.delete(NODE, "n2")
    sim.cloud.remove_server(server)
    sim.settle()
    assert_converged(sim, 1)


def test_a_node_object_that_is_gone_while_its_server_lives_still_gets_its_port_detached() -> None:
    sim = simulate_ready_pool()
    sim.api.delete(NODE, "n2")
    sim.settle()
    assert_converged(sim, 1)
    assert sim.cloud.calls["detach"] == 1


def test_a_lost_port_is_noticed_and_made_anew() -> None:
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    del sim.cloud.ports[eni.status.port.id]
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 2)
    again = sim.eni(eni.name).status.port
    assert again is not None
    assert again.id != eni.status.port.id


def test_a_cloud_without_answers_takes_nothing_from_what_is_ready() -> None:
    sim = simulate_ready_pool()
    sim.cloud.down = CloudUnreachableError("no answer")
    sim.settle(TWO_RESYNCS)
    assert len(sim.ready()) == 2
    cloud = find(sim.pool().status.conditions, Type.CLOUD_REACHABLE)
    assert cloud is not None
    assert cloud.status == "False"
    sim.cloud.down = None
    sim.settle()
    assert_converged(sim, 2)
    assert is_true(sim.pool().status.conditions, Type.CLOUD_REACHABLE)


@pytest.mark.parametrize("operation", ["create port", "attach", "get server", "find port"])
@pytest.mark.parametrize(
    "error",
    [
        CloudUnreachableError("no answer"),
        ThrottledError("slower", 20),
        QuotaExceededError("quota"),
        SubnetExhaustedError("exhausted"),
        CredentialsInvalidError("401"),
        ResourceConflictError("busy"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_error_that_passes_is_got_over(operation: str, error: CloudError) -> None:
    sim = Simulation(nodes=2)
    sim.cloud.fail(operation, *[Fault(error)] * 4)
    sim.add_pool()
    sim.settle()
    assert_converged(sim, 2)


def test_a_node_that_is_another_server_by_now_gets_a_new_eni() -> None:
    sim = simulate_ready_pool()
    old = next(e for e in sim.enis() if e.spec.node_name == "n2")
    sim.api.delete(NODE, "n2")
    sim.cloud.remove_server(old.spec.server_id)
    sim.add_node("n2")
    sim.settle()
    assert_converged(sim, 2)
    new = next(e for e in sim.enis() if e.spec.node_name == "n2")
    assert new.spec.server_id != old.spec.server_id


def test_a_node_is_not_gone_because_the_mirror_lacks_it() -> None:
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[0]}
    sim.api.delete(ENI, eni.name)
    sim.settle(30)
    mirror = sim.process.mirror
    mirror.prune(NODE, eni.spec.node_name, mirror.versions(NODE)[eni.spec.node_name])
    for _ in range(9):
        sim.process.reconcilers["ENI"](eni.name)
        sim.cloud.clock.advance(60)
    assert sim.cloud.ports[eni.status.port.id].device_id == eni.spec.server_id


def test_a_node_that_has_lost_its_provider_id_keeps_its_enis() -> None:
    """A Node that was made anew has none until the cloud's controller comes by."""
    sim = simulate_ready_pool()
    sim.api.patch(NODE, "n2", [{"op": "remove", "path": "/spec/providerID"}])
    sim.settle()
    assert_converged(sim, 2)


def test_slow_attach_and_detach_are_waited_for() -> None:
    sim = Simulation(nodes=2)
    sim.cloud.attach_seconds = sim.cloud.detach_seconds = 90
    sim.add_pool()
    sim.settle()
    assert_converged(sim, 2)
    assert sim.cloud.calls["attach"] == 2
    sim.api.delete(ENIPOOL, "pods")
    sim.settle()
    assert_all_removed(sim)
    assert sim.cloud.calls["detach"] == 2
