"""Nodes of an elastic pool get what their pods need, one call for each ENI, and give it back."""

import pytest

from openeni_crds.capacity import Growth
from openeni_crds.conditions import Reason, Status, Type, find, is_true
from openeni_crds.names import ENIPOOLS, NODES
from openeni_operator.cloud.errors import SubnetExhaustedError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import TWO_RESYNCS, assert_all_removed, assert_converged
from openeni_testing.controller.elastic_pool import (
    MIN,
    QUIET,
    SIZE,
    SOON,
    held,
    simulate_elastic,
    sized,
)
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.simulation import Simulation


def test_an_idle_node_holds_little_and_a_pod_costs_no_call() -> None:
    runner = simulate_elastic()
    assert runner.sim.pool().status.growth is Growth.ELASTIC
    assert held(runner.sim) == [2 * MIN]
    runner.start(MIN)
    assert runner.settle(60) == 0
    assert runner.sim.cloud.calls["set fixed IPs"] == 0
    assert sized(runner.sim.enis()[0]).status == Status.TRUE


@pytest.mark.parametrize(
    ("pods", "addresses", "puts"),
    [
        pytest.param(3, [7], 1, id="one more than there are to spare"),
        pytest.param(6, [8], 1, id="as many as fit the ENI"),
        pytest.param(10, [8, 6], 1, id="more than that"),
    ],
)
def test_a_burst_costs_one_put_for_each_eni_that_it_touches(
    pods: int, addresses: list[int], puts: int
) -> None:
    runner = simulate_elastic()
    runner.start(pods)
    assert runner.settle(60) == 0
    assert held(runner.sim) == addresses
    assert runner.sim.cloud.calls["set fixed IPs"] == puts
    assert runner.sim.cloud.calls["create port"] == len(addresses)
    assert_converged(runner.sim, len(addresses))


def test_addresses_that_are_not_needed_are_given_back_in_one_put() -> None:
    runner = simulate_elastic(reclaim=SOON)
    runner.start(6)
    runner.settle(60)
    runner.end(5)
    runner.settle(280)
    assert held(runner.sim) == [8], "it has not been so long enough"
    runner.settle(120)
    assert held(runner.sim) == [1 + 2 * MIN]
    assert runner.sim.cloud.calls["set fixed IPs"] == 2
    (eni,) = runner.sim.enis()
    assert (eni.spec.address_count, eni.spec.retiring) == (1 + 2 * MIN, ())
    assert eni.status.port is not None
    assert (eni.status.port.releasing, eni.status.port.lost) == ((), ())


def test_a_node_without_pods_keeps_its_minimum() -> None:
    runner = simulate_elastic(reclaim=SOON)
    runner.start(12)
    assert runner.settle(60) == 0
    runner.end()
    runner.settle(1200)
    assert sum(held(runner.sim)) == 2 * MIN
    assert len(runner.sim.enis()) == 1


def test_without_a_minimum_the_last_eni_goes_and_comes_back() -> None:
    runner = simulate_elastic(reclaim=SOON, minAvailable=0)
    assert runner.sim.enis() == []
    runner.start(3)
    assert runner.settle(60) == 0
    assert held(runner.sim) == [3]
    runner.end()
    runner.settle(900)
    assert runner.sim.enis() == []
    runner.start(1)
    assert runner.settle(60) == 0


def test_more_to_spare_than_the_maximum_goes_at_once() -> None:
    runner = simulate_elastic(reclaim=QUIET, maxAvailable=3)
    runner.start(5)
    runner.settle(60)
    runner.end(4)
    runner.settle(60)
    assert held(runner.sim) == [1 + 3]


def test_pods_that_come_while_addresses_are_asked_for_get_them_without_a_call() -> None:
    runner = simulate_elastic(reclaim=SOON)
    runner.start(6)
    runner.settle(60)
    runner.end(5)
    runner.settle(10)
    (eni,) = runner.sim.enis()
    runner.sim.agents.clear()  # it does not answer
    runner.settle(500)
    assert runner.sim.enis()[0].spec.retiring
    runner.start(4)
    runner.settle(30)
    runner.sim.agents.add("n1")
    assert runner.settle(60) == 0
    (after,) = runner.sim.enis()
    assert after.metadata.uid == eni.metadata.uid
    assert after.spec.retiring == ()
    assert runner.sim.cloud.calls["set fixed IPs"] == 1
    assert runner.lost == []


def test_an_address_that_a_pod_has_is_not_asked_for_again() -> None:
    """Its PodIP was not published yet, and the agent has refused it."""
    runner = simulate_elastic(reclaim=SOON)
    runner.start(6)
    runner.settle(60)
    kept = dict(list(runner.running.items())[-1:])
    runner.end(5)
    runner.hide_podips()
    runner.settle(700)
    assert held(runner.sim) == [1 + 2 * MIN]
    assert runner.running == kept
    assert runner.lost == []


def test_constant_demand_writes_nothing() -> None:
    runner = simulate_elastic(nodes=2, reclaim=SOON)
    runner.start(5)
    runner.settle(1200)
    before = len(runner.sim.store.writes), runner.sim.cloud.calls["set fixed IPs"]
    runner.settle(4000, step=100)
    assert (len(runner.sim.store.writes), runner.sim.cloud.calls["set fixed IPs"]) == before


@pytest.mark.parametrize(("limit", "most"), [(6, 6), (20, 20)])
def test_a_node_never_holds_more_than_the_pool_allows(limit: int, most: int) -> None:
    runner = simulate_elastic(maxAddressesPerNode=limit, maxENIsPerNode=3)
    runner.start(30)
    assert runner.settle(200) == 30 - most
    assert sum(held(runner.sim)) == most
    found = find(runner.sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    assert found.reason == Reason.NODE_LIMIT


def test_a_pool_never_holds_more_than_its_limits() -> None:
    sim = Simulation(nodes=3)
    capacity = {"growth": "Elastic", "addressesPerENI": SIZE, "minAvailable": MIN}
    sim.add_pool(capacity=capacity, limits={"maxAddresses": 14})
    runner = PodRunner(sim)
    runner.settle(60)
    runner.start(8, "n1")
    runner.settle(100)
    assert sum(sum(held(sim, node)) for node in sim.nodes) == 14
    found = find(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    assert (found.reason, "spec.limits.maxAddresses" in found.message) == (Reason.POOL_LIMIT, True)


def test_a_cordoned_node_gets_no_more_than_its_waiting_pods_need() -> None:
    runner = simulate_elastic()
    runner.start(4)
    runner.settle(60)
    before = held(runner.sim)
    cordon = {"op": "add", "path": "/spec/unschedulable", "value": True}
    runner.sim.api.patch(NODES, "n1", operations=[cordon])
    runner.end(2)
    runner.settle(60)
    assert held(runner.sim) == before
    runner.start(8)
    assert runner.settle(60) == 0
    assert sum(held(runner.sim)) == 2 + 8
    assert runner.lost == []


def test_a_cordoned_node_without_an_eni_gets_none_before_a_pod_waits() -> None:
    runner = simulate_elastic()
    runner.sim.add_node("late")
    cordon = {"op": "add", "path": "/spec/unschedulable", "value": True}
    runner.sim.api.patch(NODES, "late", operations=[cordon])
    runner.sim.agents.add("late")
    runner.settle(60)
    assert held(runner.sim, "late") == []
    runner.start(1, "late")
    assert runner.settle(60) == 0
    assert held(runner.sim, "late") == [1]


def test_a_subnet_without_addresses_is_left_for_another() -> None:
    sim = Simulation()
    sim.cloud.add_subnet(sim.network, "more", "10.99.0.0/24")
    capacity = {"growth": "Elastic", "addressesPerENI": SIZE, "minAvailable": MIN}
    sim.add_pool(capacity=capacity, subnets=[{"name": "pods"}, {"name": "more"}])
    runner = PodRunner(sim)
    runner.settle(60)
    sim.cloud.filled.add(sim.subnet.id)
    runner.start(6)
    assert runner.settle(120) == 0
    assert {len(e.spec.subnet_ids) for e in sim.enis()} == {1}
    assert len({e.spec.subnet_ids for e in sim.enis()}) == 2
    assert sim.cloud.calls["set fixed IPs"] == 1
    assert all(sized(e).status == Status.TRUE for e in sim.enis())
    assert is_true(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)


def test_without_any_address_the_eni_says_so_and_asks_seldom() -> None:
    runner = simulate_elastic()
    sim = runner.sim
    sim.cloud.fail("set fixed IPs", *[Fault(SubnetExhaustedError("no more"))] * 1000)
    runner.start(6)
    assert runner.settle(3600, step=100) == 2
    (eni,) = sim.enis()
    assert (sized(eni).status, sized(eni).reason) == (Status.FALSE, Reason.SUBNET_EXHAUSTED)
    assert is_true(eni.status.conditions, Type.READY), "its addresses serve pods"
    found = find(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, Reason.SUBNET_EXHAUSTED)
    assert sim.cloud.calls["set fixed IPs"] <= 3600 / 300 + 5
    assert sim.cloud.calls["create port"] == 1, "another ENI would find none either"
    sim.cloud.faults.clear()
    assert runner.settle(400) == 0
    assert is_true(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)


def test_a_pool_that_is_deleted_removes_elastic_enis_after_their_last_pod() -> None:
    runner = simulate_elastic()
    runner.start(6)
    runner.settle(60)
    runner.sim.api.delete(ENIPOOLS, "pods")
    runner.sim.settle(TWO_RESYNCS)
    assert runner.lost == []
    runner.end()
    runner.sim.settle(TWO_RESYNCS)
    assert_all_removed(runner.sim)
