"""The whole operator converges, against a stateful cloud and API server in memory."""

import pytest

from openeni_crds.conditions import Type, find, is_true
from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODS, node_hash
from openeni_crds.status.enipool import NodeCounts
from openeni_operator.cloud.api import Place
from openeni_operator.cloud.call_limiter import NotLeadingError
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    CredentialsInvalidError,
    QuotaExceededError,
    ResourceConflictError,
    SubnetExhaustedError,
    ThrottledError,
)
from openeni_testing.cloud.faults import Fault
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
    assert sim.cloud.calls["create port"] == sim.cloud.calls["attach port"] == 2
    pool = sim.pool()
    assert is_true(pool.status.conditions, Type.READY)
    counts = pool.status.node_counts, pool.status.eni_count, pool.status.address_counts.total
    assert counts == (NodeCounts(selected=2, served=2), 2, 6)
    assert pool.status.datapath_mode == "Veth"
    assert [s.name for s in pool.status.subnets] == ["pods"]
    assert pool.status.free_count == pool.status.subnets[0].free_count > 0
    assert [g.name for g in pool.status.security_groups] == ["pods"]


def test_an_eni_is_linked_to_its_pool_and_found_by_its_node() -> None:
    sim = simulate_ready_pool()
    pool = sim.pool()
    for eni in sim.enis():
        (owner,) = eni.metadata.owner_references
        assert (owner.kind, owner.name, owner.uid) == ("ENIPool", "pods", pool.metadata.uid)
        assert owner.controller
        assert not owner.block_owner_deletion
        assert eni.metadata.labels == {
            "openeni.io/pool": "pods",
            "openeni.io/node-hash": node_hash(eni.spec.node_name),
        }


def test_a_converged_operator_writes_nothing_and_changes_nothing_in_the_cloud() -> None:
    sim = simulate_ready_pool()
    sim.settle(TWO_RESYNCS)
    written, called = len(sim.store.writes), sim.cloud.calls.copy()
    sim.settle(100)
    sim.restart()
    sim.settle(100)
    assert sim.store.writes[written:] == []
    changes = {"create port", "tag port", "delete port", "attach port", "detach port"}
    assert {k: v for k, v in (sim.cloud.calls - called).items() if k in changes} == {}


@pytest.mark.parametrize("operation", ["create port", "attach port"])
def test_a_write_that_was_not_sent_since_another_may_lead_is_not_waited_for(operation: str) -> None:
    sim = Simulation(nodes=1)
    sim.cloud.fail(operation, Fault(NotLeadingError("another operator may lead")))
    sim.add_pool()
    sim.settle(20)
    assert sim.cloud.calls[operation] == 2
    assert_converged(sim, 1)


def test_waiting_pods_lead_to_another_eni() -> None:
    sim = simulate_ready_pool()
    for i in range(5):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(60)
    on_node = [e for e in sim.enis() if e.spec.node_name == "n1"]
    assert sorted(e.name[-1] for e in on_node) == ["0", "1"]
    assert_converged(sim, 3)


def test_a_granted_pod_that_is_still_pending_is_not_counted_twice() -> None:
    """The ENI counts the grant before the PodIP is published. Terway had this bug."""
    sim = simulate_ready_pool()
    eni = next(e for e in sim.enis() if e.spec.node_name == "n1")
    assert eni.status.port is not None
    sim.granted[eni.name] = set(eni.status.port.addresses[:2])
    sim.settle(60)
    for name in ("p0", "p1"):
        sim.add_pod(name, "n1")
    sim.settle(60)
    assert [e.name for e in sim.enis() if e.spec.node_name == "n1"] == [eni.name]


def test_a_deleted_pool_removes_its_enis_and_ports() -> None:
    sim = simulate_ready_pool()
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle()
    assert_all_removed(sim)
    assert sim.cloud.calls["detach port"] == 2


def test_a_deleted_pool_waits_for_the_last_pod() -> None:
    sim = simulate_ready_pool()
    held = sim.enis()[0]
    assert held.status.port is not None
    sim.granted[held.name] = {held.status.port.addresses[1]}
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert [e.name for e in sim.enis()] == [held.name]
    assert [p.device_id for p in sim.cloud.ports.values()] == [held.spec.server_id]
    sim.granted.clear()
    sim.settle()
    assert_all_removed(sim)


def test_an_eni_that_a_person_deletes_is_drained_and_replaced() -> None:
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[0]}
    sim.api.delete(ENIS, eni.name)
    sim.settle(200)
    old = next(p for p in sim.cloud.ports.values() if p.id == eni.status.port.id)
    assert old.device_id == eni.spec.server_id
    sim.granted.clear()
    sim.settle(200)
    assert eni.status.port.id not in sim.cloud.ports
    assert_converged(sim, 2)


def test_an_idle_eni_is_removed_when_the_others_hold_enough() -> None:
    sim = simulate_ready_pool()
    for i in range(4):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(60)
    assert_converged(sim, 3)
    for i in range(4):
        sim.api.delete(PODS, f"p{i}", "default")
    sim.settle(2000)
    assert_converged(sim, 2)


def test_the_enis_of_a_deleted_node_are_removed_without_its_agent() -> None:
    sim = simulate_ready_pool()
    server = next(e.spec.server_id for e in sim.enis() if e.spec.node_name == "n2")
    sim.api.delete(NODES, "n2")
    sim.cloud.remove_server(server)
    sim.settle()
    assert_converged(sim, 1)


def test_the_port_of_a_deleted_node_is_detached_while_its_server_lives() -> None:
    sim = simulate_ready_pool()
    sim.api.delete(NODES, "n2")
    sim.settle()
    assert_converged(sim, 1)
    assert sim.cloud.calls["detach port"] == 1


def test_a_lost_port_is_detected_and_replaced() -> None:
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    del sim.cloud.ports[eni.status.port.id]
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 2)
    again = sim.eni(eni.name).status.port
    assert again is not None
    assert again.id != eni.status.port.id


@pytest.mark.parametrize("other", [Place("project-2", "here"), Place("project-1", "elsewhere")])
def test_a_credential_of_another_place_forgets_no_port_and_ends_no_eni(other: Place) -> None:
    sim = simulate_ready_pool()
    before, own, servers = sim.enis(), sim.cloud.place, set(sim.cloud.servers)
    ports = dict(sim.cloud.ports)
    sim.api.delete(ENIS, before[0].name)
    sim.cloud.ports.clear()  # as that credential sees it
    sim.cloud.servers.clear()
    sim.cloud.place = other
    sim.settle(TWO_RESYNCS)
    for eni in before:
        assert sim.eni(eni.name).status.port == eni.status.port
    assert sim.cloud.ports == {}
    ready = find(sim.eni(before[0].name).status.conditions, Type.READY)
    assert ready is not None
    assert "correct this entry of clouds.yaml" in ready.message
    sim.cloud.ports.update(ports)
    sim.cloud.servers.update(servers)
    sim.cloud.place = own
    sim.settle()
    assert_converged(sim, 2)
    deleted = before[0].status.port
    assert deleted is not None
    assert deleted.id not in sim.cloud.ports


def test_ready_enis_stay_ready_while_the_cloud_is_unreachable() -> None:
    sim = simulate_ready_pool()
    sim.cloud.down = CloudUnreachableError("no response")
    sim.settle(TWO_RESYNCS)
    assert len(sim.ready()) == 2
    cloud = find(sim.pool().status.conditions, Type.CLOUD_REACHABLE)
    assert cloud is not None
    assert cloud.status == "False"
    sim.cloud.down = None
    sim.settle()
    assert_converged(sim, 2)
    assert is_true(sim.pool().status.conditions, Type.CLOUD_REACHABLE)


@pytest.mark.parametrize("operation", ["create port", "attach port", "get server", "find port"])
@pytest.mark.parametrize(
    "error",
    [
        CloudUnreachableError("no response"),
        ThrottledError("slower", 20),
        QuotaExceededError("quota"),
        SubnetExhaustedError("exhausted"),
        CredentialsInvalidError("401"),
        ResourceConflictError("busy"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_temporary_errors_are_recovered_from(operation: str, error: CloudError) -> None:
    sim = Simulation(nodes=2)
    sim.cloud.fail(operation, *[Fault(error)] * 4)
    sim.add_pool()
    sim.settle()
    assert_converged(sim, 2)


def test_a_node_with_a_new_server_gets_a_new_eni() -> None:
    sim = simulate_ready_pool()
    old = next(e for e in sim.enis() if e.spec.node_name == "n2")
    sim.api.delete(NODES, "n2")
    sim.cloud.remove_server(old.spec.server_id)
    sim.add_node("n2")
    sim.settle()
    assert_converged(sim, 2)
    new = next(e for e in sim.enis() if e.spec.node_name == "n2")
    assert new.spec.server_id != old.spec.server_id


def test_a_node_is_not_gone_because_the_cache_lacks_it() -> None:
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[0]}
    sim.api.delete(ENIS, eni.name)
    sim.settle(30)
    state = sim.process.state
    state.delete_version(NODES, eni.spec.node_name, state.versions(NODES)[eni.spec.node_name])
    for _ in range(9):
        sim.process.reconcilers[ENIS](eni.name)
        sim.cloud.clock.advance(60)
    assert sim.cloud.ports[eni.status.port.id].device_id == eni.spec.server_id


def test_a_node_without_its_provider_id_keeps_its_enis() -> None:
    """A recreated Node has none until the cloud controller manager sets it."""
    sim = simulate_ready_pool()
    sim.api.patch(NODES, "n2", operations=[{"op": "remove", "path": "/spec/providerID"}])
    sim.settle()
    assert_converged(sim, 2)


def test_slow_attaches_and_detaches_are_not_repeated() -> None:
    sim = Simulation(nodes=2)
    sim.cloud.attach_seconds = sim.cloud.detach_seconds = 90
    sim.add_pool()
    sim.settle()
    assert_converged(sim, 2)
    assert sim.cloud.calls["attach port"] == 2
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle()
    assert_all_removed(sim)
    assert sim.cloud.calls["detach port"] == 2
