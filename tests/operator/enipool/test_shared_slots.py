"""Several pools share the slots of a server: what one of them has learnt, all know."""

from collections import Counter

import pytest

from openeni_crds.conditions import Reason, Status, Type, find
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.simulation import Simulation

CAPACITY = {"addressesPerENI": 3, "minAvailable": 0, "maxENIsPerNode": 4}
HOUR = 3600.0


def two_pools(slots: int) -> PodRunner:
    """Return two pools with two pods each on one server with so many slots."""
    sim = Simulation()
    sim.cloud.slots = slots
    for pool in ("a", "b"):
        sim.add_pool(pool, podSelector=None, capacity=CAPACITY)
    runner = PodRunner(sim)
    for pool in ("a", "b"):
        runner.start(2, pool=pool)
    return runner


def capacity_of(sim: Simulation, pool: str) -> tuple[Status, str, str]:
    found = find(sim.pool(pool).status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    return found.status, found.reason, found.message


@pytest.mark.parametrize("restarts", [False, True])
def test_once_there_is_no_slot_no_pool_makes_another_eni_and_each_says_why(
    *, restarts: bool
) -> None:
    runner = two_pools(slots=2)
    sim = runner.sim
    assert runner.settle(60) == 0
    assert Counter(e.spec.pool_name for e in sim.enis()) == {"a": 1, "b": 1}
    runner.start(2, pool="a")
    assert runner.settle(120) == 1, "the first has an address, the second needs another NIC"
    assert Counter(e.spec.pool_name for e in sim.enis()) == {"a": 2, "b": 1}
    if restarts:
        sim.restart()
    runner.start(2, pool="b")
    assert runner.settle(HOUR, step=60) == 2, "the pool that has an address left serves with it"
    assert Counter(e.spec.pool_name for e in sim.enis()) == {"a": 2, "b": 1}
    assert sim.cloud.calls["create port"] == 3
    status, reason, message = capacity_of(sim, "a")
    assert (status, reason) == (Status.FALSE, Reason.NO_HOTPLUG_SLOT)
    assert "lower spec.capacity.maxENIsPerNode" in message
    status, reason, message = capacity_of(sim, "b")
    assert (status, reason) == (Status.FALSE, Reason.NO_HOTPLUG_SLOT)
    assert "pods wait on node n1, where an ENI of another pool has found no slot" in message
    assert runner.lost == []


def test_pods_that_end_make_room_for_others_of_their_pool_all_the_while() -> None:
    runner = two_pools(slots=2)
    runner.settle(60)
    runner.start(2, pool="a")
    runner.start(1, pool="b")
    assert runner.settle(120) == 1
    runner.end(1)  # of a
    assert runner.settle(60) == 0
    assert runner.sim.cloud.calls["create port"] == 3


def test_two_pools_may_find_out_about_the_slots_at_once() -> None:
    """Neither knows of the other's attempt: one ENI more for each pool is the most it costs."""
    runner = two_pools(slots=2)
    runner.settle(60)
    for pool in ("a", "b"):
        runner.start(4, pool=pool)
    assert runner.settle(HOUR, step=60) == 6
    assert runner.sim.cloud.calls["create port"] <= 4
    for pool in ("a", "b"):
        assert capacity_of(runner.sim, pool)[1] == Reason.NO_HOTPLUG_SLOT


def test_with_slots_for_all_nobody_waits() -> None:
    runner = two_pools(slots=4)
    for pool in ("a", "b"):
        runner.start(4, pool=pool)
    assert runner.settle(300) == 0
    assert Counter(e.spec.pool_name for e in runner.sim.enis()) == {"a": 2, "b": 2}
