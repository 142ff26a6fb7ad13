"""The operator as a whole, against a cloud and an API server that keep state: it gets there."""

import pytest

from openeni_crds.conditions import Type, find, is_true
from openeni_crds.enipool_status import NodeCounts
from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODS, node_hash
from openeni_operator.cloud.errors import (
    CloudError,
    ConflictError,
    CredentialsInvalidError,
    ExhaustedError,
    QuotaExceededError,
    ThrottledError,
    UnreachableError,
)
from openeni_testing.cloud.memory import Fault
from openeni_testing.controller.checks import (
    RESYNCS,
    assert_in_order,
    assert_nothing_is_left,
    grown,
)
from openeni_testing.controller.world import OperatorWorld


def test_a_pool_gives_each_node_one_attached_port() -> None:
    world = grown()
    assert_in_order(world, 2)
    assert world.cloud.calls["create port"] == world.cloud.calls["attach"] == 2
    pool = world.pool()
    assert is_true(pool.status.conditions, Type.READY)
    counts = pool.status.node_counts, pool.status.eni_count, pool.status.address_counts.total
    assert counts == (NodeCounts(selected=2, served=2), 2, 6)
    assert pool.status.datapath_mode == "Veth"
    assert [s.name for s in pool.status.subnets] == ["pods"]
    assert pool.status.free_count == pool.status.subnets[0].free_count > 0
    assert [g.name for g in pool.status.security_groups] == ["pods"]


def test_an_eni_is_linked_to_its_pool_and_found_by_its_node() -> None:
    world = grown()
    pool = world.pool()
    for eni in world.enis():
        (owner,) = eni.metadata.owner_references
        assert (owner.kind, owner.name, owner.uid) == ("ENIPool", "pods", pool.metadata.uid)
        assert owner.controller
        assert not owner.block_owner_deletion
        assert eni.metadata.labels == {
            "openeni.io/pool": "pods",
            "openeni.io/node-hash": node_hash(eni.spec.node_name),
        }


def test_a_second_look_at_the_same_world_writes_nothing_and_orders_nothing() -> None:
    world = grown()
    world.settle(RESYNCS)
    written, called = len(world.store.writes), world.cloud.calls.copy()
    world.settle(100)
    world.restart()
    world.settle(100)
    assert world.store.writes[written:] == []
    orders = {"create port", "tag port", "delete port", "attach", "detach"}
    assert {k: v for k, v in (world.cloud.calls - called).items() if k in orders} == {}


def test_waiting_pods_bring_more_enis_one_after_the_other() -> None:
    world = grown()
    for i in range(5):
        world.add_pod(f"p{i}", "n1")
    world.settle(60)
    on_node = [e for e in world.enis() if e.spec.node_name == "n1"]
    assert sorted(e.name[-1] for e in on_node) == ["0", "1"]
    assert_in_order(world, 3)


def test_a_pod_that_is_granted_but_still_pending_is_not_counted_twice() -> None:
    """Its grant stands in the ENI's count before its PodIP is published: Terway's bug."""
    world = grown()
    eni = next(e for e in world.enis() if e.spec.node_name == "n1")
    assert eni.status.port is not None
    world.held[eni.name] = set(eni.status.port.addresses[:2])
    world.settle(60)
    for name in ("p0", "p1"):
        world.add_pod(name, "n1")
    world.settle(60)
    assert [e.name for e in world.enis() if e.spec.node_name == "n1"] == [eni.name]


def test_a_deleted_pool_takes_everything_with_it() -> None:
    world = grown()
    world.api.delete(ENIPOOLS, "pods")
    world.settle()
    assert_nothing_is_left(world)
    assert world.cloud.calls["detach"] == 2


def test_a_deleted_pool_waits_for_the_last_pod() -> None:
    world = grown()
    held = world.enis()[0]
    assert held.status.port is not None
    world.held[held.name] = {held.status.port.addresses[1]}
    world.api.delete(ENIPOOLS, "pods")
    world.settle(RESYNCS)
    assert [e.name for e in world.enis()] == [held.name]
    assert [p.device_id for p in world.cloud.ports.values()] == [held.spec.server_id]
    world.held.clear()
    world.settle()
    assert_nothing_is_left(world)


def test_an_eni_that_a_person_deletes_goes_in_order_and_comes_back() -> None:
    world = grown()
    eni = world.enis()[0]
    assert eni.status.port is not None
    world.held[eni.name] = {eni.status.port.addresses[0]}
    world.api.delete(ENIS, eni.name)
    world.settle(200)
    old = next(p for p in world.cloud.ports.values() if p.id == eni.status.port.id)
    assert old.device_id == eni.spec.server_id
    world.held.clear()
    world.settle(200)
    assert eni.status.port.id not in world.cloud.ports
    assert_in_order(world, 2)


def test_an_idle_eni_goes_when_the_rest_is_enough() -> None:
    world = grown()
    for i in range(4):
        world.add_pod(f"p{i}", "n1")
    world.settle(60)
    assert_in_order(world, 3)
    for i in range(4):
        world.api.delete(PODS, f"p{i}", "default")
    world.settle(2000)
    assert_in_order(world, 2)


def test_a_node_that_is_gone_takes_its_enis_with_it_without_its_agent() -> None:
    world = grown()
    server = next(e.spec.server_id for e in world.enis() if e.spec.node_name == "n2")
    world.api.delete(NODES, "n2")
    world.cloud.remove_server(server)
    world.settle()
    assert_in_order(world, 1)


def test_a_node_object_that_is_gone_while_its_server_lives_still_gets_its_port_detached() -> None:
    world = grown()
    world.api.delete(NODES, "n2")
    world.settle()
    assert_in_order(world, 1)
    assert world.cloud.calls["detach"] == 1


def test_a_lost_port_is_noticed_and_made_anew() -> None:
    world = grown()
    eni = world.enis()[0]
    assert eni.status.port is not None
    del world.cloud.ports[eni.status.port.id]
    world.settle(RESYNCS)
    assert_in_order(world, 2)
    again = world.eni(eni.name).status.port
    assert again is not None
    assert again.id != eni.status.port.id


def test_a_cloud_without_answers_takes_nothing_from_what_is_ready() -> None:
    world = grown()
    world.cloud.down = UnreachableError("no answer")
    world.settle(RESYNCS)
    assert len(world.ready()) == 2
    cloud = find(world.pool().status.conditions, Type.CLOUD_REACHABLE)
    assert cloud is not None
    assert cloud.status == "False"
    world.cloud.down = None
    world.settle()
    assert_in_order(world, 2)
    assert is_true(world.pool().status.conditions, Type.CLOUD_REACHABLE)


@pytest.mark.parametrize("operation", ["create port", "attach", "get server", "find port"])
@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("no answer"),
        ThrottledError("slower", 20),
        QuotaExceededError("quota"),
        ExhaustedError("exhausted"),
        CredentialsInvalidError("401"),
        ConflictError("busy"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_error_that_passes_is_got_over(operation: str, error: CloudError) -> None:
    world = OperatorWorld(nodes=2)
    world.cloud.fail(operation, *[Fault(error)] * 4)
    world.add_pool()
    world.settle()
    assert_in_order(world, 2)


def test_a_node_that_is_another_server_by_now_gets_a_new_eni() -> None:
    world = grown()
    old = next(e for e in world.enis() if e.spec.node_name == "n2")
    world.api.delete(NODES, "n2")
    world.cloud.remove_server(old.spec.server_id)
    world.add_node("n2")
    world.settle()
    assert_in_order(world, 2)
    new = next(e for e in world.enis() if e.spec.node_name == "n2")
    assert new.spec.server_id != old.spec.server_id


def test_a_node_is_not_gone_because_the_mirror_lacks_it() -> None:
    world = grown()
    eni = world.enis()[0]
    assert eni.status.port is not None
    world.held[eni.name] = {eni.status.port.addresses[0]}
    world.api.delete(ENIS, eni.name)
    world.settle(30)
    mirror = world.process.mirror
    mirror.prune(NODES, eni.spec.node_name, mirror.versions(NODES)[eni.spec.node_name])
    for _ in range(9):
        world.process.reconcilers[ENIS](eni.name)
        world.cloud.clock.advance(60)
    assert world.cloud.ports[eni.status.port.id].device_id == eni.spec.server_id


def test_a_node_that_has_lost_its_provider_id_keeps_its_enis() -> None:
    """A Node that was made anew has none until the cloud's controller comes by."""
    world = grown()
    world.api.patch(NODES, "n2", [{"op": "remove", "path": "/spec/providerID"}])
    world.settle()
    assert_in_order(world, 2)


def test_slow_attach_and_detach_are_waited_for() -> None:
    world = OperatorWorld(nodes=2)
    world.cloud.attach_seconds = world.cloud.detach_seconds = 90
    world.add_pool()
    world.settle()
    assert_in_order(world, 2)
    assert world.cloud.calls["attach"] == 2
    world.api.delete(ENIPOOLS, "pods")
    world.settle()
    assert_nothing_is_left(world)
    assert world.cloud.calls["detach"] == 2
