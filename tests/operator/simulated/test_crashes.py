"""Lost responses and crashes at any point end with one port for each ENI, and no other."""

import pytest

from openeni_crds.names import ENIPOOLS
from openeni_testing.cloud.faults import Fault, no_response
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    assert_all_removed,
    assert_converged,
    simulate_ready_pool,
)
from openeni_testing.controller.simulation import Simulation
from openeni_testing.store.hooked import CrashError

MIN_STEPS = 50  # calls and writes of the lifecycle below; fewer mean that the test lost some


@pytest.mark.parametrize("late", [0.0, 5.0, 45.0, 200.0])
@pytest.mark.parametrize("operation", ["create port", "tag port", "attach port"])
def test_lost_responses_leave_one_port_for_each_eni(operation: str, late: float) -> None:
    sim = Simulation(nodes=2)
    sim.cloud.drops_tags = True
    sim.cloud.fail(operation, *[Fault(no_response(), worked=True, late=late)] * 3)
    sim.add_pool()
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 2)


@pytest.mark.parametrize("operation", ["detach port", "delete port"])
def test_lost_responses_while_deleting_leave_nothing(operation: str) -> None:
    sim = simulate_ready_pool()
    sim.cloud.fail(operation, Fault(no_response(), worked=True, late=20), Fault(no_response()))
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def test_a_creation_without_a_response_is_not_repeated() -> None:
    sim = Simulation(nodes=1)
    sim.cloud.fail("create port", Fault(no_response(), worked=True, late=20))
    sim.add_pool()
    sim.settle()
    assert_converged(sim, 1)
    assert sim.cloud.calls["create port"] == 1


def run_lifecycle(sim: Simulation) -> None:
    """Create a pool, let it grow, delete it."""
    sim.add_pool()
    sim.settle(100)
    for i in range(3):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(100)
    assert_converged(sim, 2)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def count_steps() -> int:
    sim = Simulation(nodes=1)
    run_lifecycle(sim)
    return sim.countdown.seen


@pytest.mark.exhaustive
def test_a_crash_after_any_call_or_write_neither_duplicates_nor_leaks_a_port(
    subtests: pytest.Subtests,
) -> None:
    steps = count_steps()
    assert steps >= MIN_STEPS
    for step in range(steps):
        with subtests.test(step=step):
            sim = Simulation(nodes=1)
            sim.countdown.left = step
            run_lifecycle(sim)
            assert sim.countdown.left is None


def crash_once_in(sim: Simulation, operation: str) -> None:
    """Crash in the next call of this operation, before anything can be written."""

    def crash(called: str) -> None:
        if called == operation:
            sim.cloud.after_call = sim.countdown
            raise CrashError

    sim.cloud.after_call = crash


@pytest.mark.parametrize("late", [0.0, 3.0, 20.0])
def test_a_crash_during_a_creation_duplicates_no_port(late: float) -> None:
    sim = Simulation(nodes=1)
    sim.cloud.fail("create port", Fault(no_response(), worked=True, late=late))
    crash_once_in(sim, "create port")
    sim.add_pool()
    sim.settle()
    assert_converged(sim, 1)
    assert sim.cloud.calls["create port"] == 1


@pytest.mark.parametrize("operation", ["tag port", "attach port", "detach port", "delete port"])
def test_a_crash_during_a_cloud_call_leaks_no_port(operation: str) -> None:
    sim = Simulation(nodes=1)
    sim.cloud.drops_tags = True
    sim.cloud.fail(operation, Fault(no_response(), worked=True, late=3))
    crash_once_in(sim, operation)
    sim.add_pool()
    sim.settle(100)
    assert_converged(sim, 1)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle()
    assert_all_removed(sim)


def test_an_eni_deleted_during_its_creation_leaks_no_port() -> None:
    sim = Simulation(nodes=1)
    sim.cloud.fail("create port", Fault(no_response(), worked=True, late=20))
    crash_once_in(sim, "create port")
    sim.add_pool()
    sim.settle(0, agents=False)
    assert sim.cloud.calls["create port"] == 1
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle()
    assert_all_removed(sim)


def test_a_new_port_that_is_tagged_before_lists_show_it_is_not_requested_again() -> None:
    """The answer to the POST is no look at Neutron, which may show the port up to 30 s later."""
    sim = Simulation(nodes=1)
    sim.cloud.drops_tags = True

    def lag(operation: str) -> None:
        if operation == "create port" and not sim.cloud.calls["create port"]:
            sim.cloud.freeze(20)

    sim.cloud.before_call = lag
    sim.add_pool()
    sim.settle()
    assert_converged(sim, 1)
    assert sim.cloud.calls["create port"] == 1
