"""A change of a pool reaches its ports; a change in the cloud alone opens nothing."""

from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason, Status, Type, is_true
from openeni_crds.names import ENIPOOLS, ENIS
from openeni_kube.store import UnreachableError
from openeni_operator.cloud.errors import DeniedError, QuotaExceededError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    assert_converged,
    change_spec,
    pool_condition,
    simulate_ready_pool,
)
from openeni_testing.controller.simulation import Simulation


def groups_on_ports(sim: Simulation) -> set[frozenset[str]]:
    return {port.security_group_ids for port in sim.cloud.ports.values()}


BEHIND = (
    "ports do not yet have what spec.securityGroups and spec.ports ask for, or their network's MTU"
)


def simulate_tagged(nodes: int = 2) -> Simulation:
    """Return a pool whose security groups are two, selected by a tag."""
    sim = Simulation(nodes=nodes)
    for name in ("a", "b"):
        sim.cloud.tags_of[sim.cloud.add_group(name).id] = ("pods",)
    sim.add_pool(securityGroups=[{"tags": ["pods"]}])
    sim.settle(100)
    return sim


def test_new_security_groups_cost_one_put_for_each_port_and_no_eni() -> None:
    sim = simulate_ready_pool()
    before = {e.metadata.uid for e in sim.enis()}
    other = sim.cloud.add_group("other")
    change_spec(sim, securityGroups=[{"name": "pods"}, {"name": "other"}])
    sim.settle(60)
    assert groups_on_ports(sim) == {frozenset({sim.group.id, other.id})}
    assert sim.cloud.calls["set security groups"] == 2
    assert {e.metadata.uid for e in sim.enis()} == before
    assert is_true(sim.pool().status.conditions, Type.UP_TO_DATE)
    assert_converged(sim, 2)


def test_ports_that_cannot_be_changed_are_counted_and_serve_pods_all_the_same() -> None:
    sim = simulate_ready_pool()
    sim.cloud.add_group("other")
    sim.cloud.fail("set security groups", *[Fault(DeniedError("not allowed"))] * 1000)
    change_spec(sim, securityGroups=[{"name": "other"}])
    sim.settle(60)
    found = pool_condition(sim, Type.UP_TO_DATE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.DENIED)
    assert found.message.startswith(f"2 of 2 {BEHIND}; pods-")
    assert found.message.endswith(": security groups: not allowed")
    assert len(sim.ready()) == 2
    sim.cloud.faults.clear()
    sim.settle(TWO_RESYNCS)
    assert is_true(sim.pool().status.conditions, Type.UP_TO_DATE)


def test_enis_whose_spec_cannot_be_written_are_counted() -> None:
    sim = simulate_ready_pool()
    sim.cloud.add_group("other")

    def refuse(kind: str) -> None:
        if kind == ENIS.name:
            raise UnreachableError(0, "no response")

    sim.store.before_patch = refuse
    change_spec(sim, securityGroups=[{"name": "other"}])
    sim.settle(10)
    found = pool_condition(sim, Type.UP_TO_DATE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.UPDATING)
    assert found.message == f"2 of 2 {BEHIND}"
    sim.store.before_patch = lambda _: None
    sim.settle(TWO_RESYNCS)
    assert is_true(sim.pool().status.conditions, Type.UP_TO_DATE)


def test_a_port_whose_groups_somebody_changed_gets_them_back() -> None:
    sim = simulate_ready_pool()
    port = min(sim.cloud.ports.values(), key=lambda p: p.id)
    sim.cloud.ports[port.id] = replace(
        port, security_group_ids=frozenset[str](), revision=port.revision + 1
    )
    sim.settle(TWO_RESYNCS)
    assert groups_on_ports(sim) == {frozenset({sim.group.id})}
    assert sim.cloud.calls["set security groups"] == 1


def test_a_group_that_a_tag_no_longer_selects_stays_and_is_reported() -> None:
    sim = simulate_tagged()
    a, b = sorted(g.id for g in sim.cloud.groups.values() if sim.cloud.tags_of.get(g.id))
    assert groups_on_ports(sim) == {frozenset({a, b})}
    sim.cloud.tags_of[b] = ()
    sim.settle(TWO_RESYNCS)
    assert groups_on_ports(sim) == {frozenset({a, b})}
    found = pool_condition(sim, Type.UP_TO_DATE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.SELECTION_CHANGED)
    assert "no longer selects b" in found.message
    sim.add_node("late")
    sim.agents.add("late")
    sim.settle(60)
    assert groups_on_ports(sim) == {frozenset({a, b})}, "a new port gets what the others have"
    change_spec(sim, capacity={"addressesPerENI": 3, "minAvailable": 2})
    sim.settle(60)
    assert groups_on_ports(sim) == {frozenset({a, b})}, "another field says nothing about groups"
    change_spec(sim, securityGroups=[{"tags": ["pods"]}, {"name": "a"}])
    sim.settle(60)
    assert groups_on_ports(sim) == {frozenset({a})}
    assert is_true(sim.pool().status.conditions, Type.UP_TO_DATE)


def test_a_group_that_a_tag_selects_in_addition_is_applied() -> None:
    sim = simulate_tagged()
    more = sim.cloud.add_group("c")
    sim.cloud.tags_of[more.id] = ("pods",)
    sim.settle(TWO_RESYNCS)
    assert all(more.id in groups for groups in groups_on_ports(sim))


def test_no_group_at_all_by_accident_changes_no_port() -> None:
    sim = simulate_tagged()
    before = groups_on_ports(sim)
    for group in sim.cloud.groups:
        sim.cloud.tags_of[group] = ()
    sim.settle(TWO_RESYNCS)
    assert groups_on_ports(sim) == before
    assert pool_condition(sim, Type.READY).reason == Reason.NOT_FOUND


def test_a_paused_pool_changes_nothing_in_the_cloud_and_goes_on_later() -> None:
    sim = simulate_ready_pool()
    sim.cloud.add_group("other")
    change_spec(sim, paused=True)
    sim.settle(10)
    changes = {
        "create port",
        "tag port",
        "attach port",
        "detach port",
        "delete port",
        "set security groups",
    }
    before = {call: sim.cloud.calls[call] for call in changes}
    change_spec(sim, securityGroups=[{"name": "other"}])
    sim.add_node("late")
    sim.agents.add("late")
    sim.settle(TWO_RESYNCS)
    assert {call: sim.cloud.calls[call] for call in changes} == before
    assert len(sim.ready()) == 2
    found = pool_condition(sim, Type.UP_TO_DATE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.PAUSED)
    assert is_true(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    sim.add_pod("waits", "late")
    sim.settle(60)
    found = pool_condition(sim, Type.CAPACITY_AVAILABLE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.PAUSED)
    assert "on node late" in found.message
    sim.remove_pods()
    sim.api.patch(ENIPOOLS, "pods", operations=[{"op": "remove", "path": "/spec/paused"}])
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 3)
    assert is_true(sim.pool().status.conditions, Type.UP_TO_DATE)


@pytest.mark.parametrize(
    ("limits", "enis", "addresses"), [({"maxENIs": 3}, 3, 9), ({"maxAddresses": 7}, 3, 7)]
)
def test_a_roll_out_stops_at_the_limits_of_the_pool(
    limits: dict[str, int], enis: int, addresses: int
) -> None:
    sim = Simulation(nodes=5)
    sim.add_pool(limits=limits)
    sim.settle(200)
    assert is_true(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE), "no pod waits"
    without = set(sim.nodes) - {e.spec.node_name for e in sim.enis()}
    sim.add_pod("waits", max(without))
    sim.settle(60)
    assert len(sim.enis()) == enis
    assert sum(len(e.status.port.addresses) for e in sim.enis() if e.status.port) == addresses
    found = pool_condition(sim, Type.CAPACITY_AVAILABLE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.POOL_LIMIT)
    assert f"spec.limits.{next(iter(limits))}" in found.message
    assert f"pods wait on node {max(without)}" in found.message
    change_spec(sim, limits={})
    sim.remove_pods()
    sim.settle(200)
    assert len(sim.enis()) == 5
    assert is_true(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)


def test_a_limit_serves_the_node_where_pods_wait_first() -> None:
    sim = Simulation(nodes=5)
    sim.add_pod("waits", "n5")
    sim.add_pool(limits={"maxENIs": 1}, capacity={"addressesPerENI": 3, "minAvailable": 1})
    sim.settle(100)
    assert [e.spec.node_name for e in sim.enis()] == ["n5"]


def test_a_quota_that_is_used_up_releases_all_the_same() -> None:
    sim = simulate_ready_pool()
    sim.add_node("late")
    sim.agents.add("late")
    sim.cloud.fail("create port", *[Fault(QuotaExceededError("full"))] * 1000)
    sim.settle(100)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert sim.cloud.ports == {}


def test_a_pool_that_is_deleted_while_it_is_paused_says_what_it_waits_for() -> None:
    sim = simulate_ready_pool()
    change_spec(sim, paused=True)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    found = pool_condition(sim, Type.READY)
    assert (found.status, found.reason) == (Status.FALSE, Reason.PAUSED)
    assert len(sim.enis()) == 2
    sim.api.patch(ENIPOOLS, "pods", operations=[{"op": "remove", "path": "/spec/paused"}])
    sim.settle(TWO_RESYNCS)
    assert sim.enis() == []


def test_enis_that_a_pause_held_up_go_on_when_it_ends() -> None:
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    change_spec(sim, paused=True)
    sim.settle(10)
    sim.api.delete(ENIS, eni.name)
    sim.settle(10)
    sim.api.patch(ENIPOOLS, "pods", operations=[{"op": "remove", "path": "/spec/paused"}])
    sim.process.sync_state()
    for _ in range(200):
        sim.run_agents()
        sim.process.sync_state()
        if not sim.process.reconcile_next():
            sim.cloud.clock.advance(1)
    assert eni.metadata.uid not in {e.metadata.uid for e in sim.enis()}


def test_the_groups_of_another_cloud_are_not_kept() -> None:
    sim = simulate_ready_pool()
    before = sim.pool().status.security_group_terms
    sim.clouds["another"] = sim.cloud
    change_spec(sim, cloud="another")
    sim.settle(60)
    assert sim.pool().status.security_group_terms != before


def test_a_group_that_is_gone_is_not_kept() -> None:
    """Only a group that no port has can be deleted."""
    sim = Simulation(nodes=0)
    old = sim.cloud.add_group("own")
    sim.add_pool(securityGroups=[{"name": "own"}])
    sim.settle(60)
    del sim.cloud.groups[old.id]
    new = sim.cloud.add_group("own")
    sim.settle(TWO_RESYNCS)
    assert [g.id for g in sim.pool().status.security_groups] == [new.id]
    assert is_true(sim.pool().status.conditions, Type.UP_TO_DATE)
