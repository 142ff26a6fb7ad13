"""A server without a slot for another NIC is found out by two refusals, and for every pool."""

from openeni_crds.conditions import Reason, Status, Type, find
from openeni_crds.names import ENIPOOLS, ENIS
from openeni_operator.cloud.errors import OutcomeUnknownError
from openeni_operator.sizing.plan import FAILURE_MEMORY_SECONDS
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.simulation import Simulation

FULL = OutcomeUnknownError("Failed to attach network adapter device to server-1")
CAPACITY = {"addressesPerENI": 2, "minAvailable": 0, "maxENIsPerNode": 4}
SOON = {"policy": "After", "after": "1m"}


def simulate_full_server() -> PodRunner:
    """Return a node whose one ENI is full, and whose server has no slot for another NIC."""
    sim = Simulation()
    sim.add_pool(capacity=CAPACITY, reclaim=SOON)
    runner = PodRunner(sim)
    runner.start(2)
    assert runner.settle(60) == 0
    sim.cloud.fail("attach port", *[Fault(FULL)] * 1000)
    runner.start(1)
    return runner


def attached(sim: Simulation, eni: str) -> tuple[Status, str]:
    found = find(sim.eni(eni).status.conditions, Type.ATTACHED)
    assert found is not None
    return found.status, found.reason


def newest(sim: Simulation) -> str:
    return max(e.name for e in sim.enis())


def test_one_refusal_may_have_another_cause() -> None:
    runner = simulate_full_server()
    runner.settle(30)
    assert attached(runner.sim, newest(runner.sim)) == (Status.FALSE, Reason.OUTCOME_UNKNOWN)
    runner.sim.cloud.faults.clear()
    assert runner.settle(120) == 0


def test_a_second_one_means_that_there_is_no_slot() -> None:
    runner = simulate_full_server()
    runner.settle(100)
    slotless = newest(runner.sim)
    assert attached(runner.sim, slotless) == (Status.FALSE, Reason.NO_HOTPLUG_SLOT)
    found = find(runner.sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, Reason.NO_HOTPLUG_SLOT)
    runner.start(9)
    runner.settle(600)
    assert len(runner.sim.enis()) == 2, "another one would find none either"
    attaches = runner.sim.cloud.calls["attach port"]
    runner.sim.restart()
    runner.settle(30)
    assert attached(runner.sim, slotless) == (Status.FALSE, Reason.NO_HOTPLUG_SLOT)
    assert runner.sim.cloud.calls["attach port"] <= attaches + 1


def test_a_slot_that_becomes_free_is_used() -> None:
    runner = simulate_full_server()
    runner.settle(400)
    runner.sim.cloud.faults.clear()
    assert runner.settle(3700, step=60) == 0
    assert len(runner.sim.ready()) == 2
    assert find(runner.sim.pool().status.conditions, Type.CAPACITY_AVAILABLE) is not None


def test_the_lack_is_remembered_while_no_pod_needs_the_eni() -> None:
    """So that each wave of pods does not create a port, to find out again."""
    runner = simulate_full_server()
    runner.settle(100)
    slotless = newest(runner.sim)
    runner.sim.remove_pods()
    for _ in range(4):
        runner.settle(300, step=60)
        runner.start(1)
        runner.settle(100)
        runner.sim.remove_pods()
    assert slotless in {e.name for e in runner.sim.enis()}
    assert runner.sim.cloud.calls["create port"] == 2
    runner.settle(FAILURE_MEMORY_SECONDS, step=120)
    assert slotless not in {e.name for e in runner.sim.enis()}
    assert len(runner.sim.cloud.ports) == len(runner.sim.enis())


def test_other_pools_are_woken_by_a_slot_that_is_missed_no_more() -> None:
    runner = simulate_full_server()
    sim = runner.sim
    runner.settle(100)
    sim.add_pool("other", podSelector=None, capacity=CAPACITY)
    sim.add_pod("needs-other", "n1", pool="other")
    sim.settle(60)
    sim.cloud.faults.clear()
    slotless = newest(sim)
    sim.api.delete(ENIS, slotless)
    sim.run_events(20)
    assert slotless not in {e.name for e in sim.enis() if e.spec.pool_name == "pods"}
    assert [e.spec.pool_name for e in sim.enis()].count("other") == 1


def test_other_pools_of_the_node_do_not_try_either() -> None:
    runner = simulate_full_server()
    sim = runner.sim
    runner.settle(100)
    sim.add_pool("other", podSelector=None, capacity=CAPACITY)
    sim.add_pod("needs-other", "n1", pool="other")
    sim.settle(300)
    assert [e for e in sim.enis() if e.spec.pool_name == "other"] == []
    found = find(sim.pool("other").status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, Reason.NO_HOTPLUG_SLOT)
    assert "pods wait on node n1, where an ENI of another pool has found no slot" in found.message
    sim.api.delete(ENIPOOLS, "pods")
    runner.end(100)
    sim.remove_pods()
    sim.add_pod("needs-other-2", "n1", pool="other")
    sim.cloud.faults.clear()
    sim.settle(900)
    assert [e.spec.pool_name for e in sim.enis()] == ["other"]
    assert len(sim.ready()) == 1
