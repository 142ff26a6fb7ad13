"""Lost answers and crashes at any point: one port for each ENI in the end, and none left over."""

import pytest

from openeni_crds.names import ENIPOOL
from openeni_testing.cloud.memory import Fault, lost
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    assert_all_removed,
    assert_converged,
    simulate_ready_pool,
)
from openeni_testing.controller.simulation import Simulation
from openeni_testing.store.watched import CrashError

FEWEST_STEPS = 60  # calls and writes of the life below; with fewer, something is not looked at


@pytest.mark.parametrize("late", [0.0, 5.0, 45.0, 200.0])
@pytest.mark.parametrize("operation", ["create port", "tag port", "attach"])
def test_lost_answers_leave_one_port_for_each_eni(operation: str, late: float) -> None:
    sim = Simulation(nodes=2)
    sim.cloud.drops_tags = True
    sim.cloud.fail(operation, *[Fault(lost(), worked=True, late=late)] * 3)
    sim.add_pool()
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 2)


@pytest.mark.parametrize("operation", ["detach", "delete port"])
def test_lost_answers_while_deleting_leave_nothing(operation: str) -> None:
    sim = simulate_ready_pool()
    sim.cloud.fail(operation, Fault(lost(), worked=True, late=20), Fault(lost()))
    sim.api.delete(ENIPOOL, "pods")
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def test_a_creation_without_an_answer_is_looked_for_and_not_repeated() -> None:
    sim = Simulation(nodes=1)
    sim.cloud.fail("create port", Fault(lost(), worked=True, late=20))
    sim.add_pool()
    sim.settle()
    assert_converged(sim, 1)
    assert sim.cloud.calls["create port"] == 1


def lives(sim: Simulation) -> None:
    """A pool is made, grows, and goes."""
    sim.add_pool()
    sim.settle(100)
    for i in range(3):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(100)
    assert_converged(sim, 2)
    sim.api.delete(ENIPOOL, "pods")
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def steps_of_a_life() -> int:
    sim = Simulation(nodes=1)
    lives(sim)
    return sim.countdown.seen


def test_a_crash_after_any_call_or_write_doubles_and_leaks_nothing(
    subtests: pytest.Subtests,
) -> None:
    steps = steps_of_a_life()
    assert steps >= FEWEST_STEPS
    for step in range(steps):
        with subtests.test(step=step):
            sim = Simulation(nodes=1)
            sim.countdown.left = step
            lives(sim)
            assert sim.countdown.left is None


def die_once_in(sim: Simulation, operation: str) -> None:
    """End the process in its next call of this operation, before it can write anything."""

    def dying(called: str) -> None:
        if called == operation:
            sim.cloud.after_call = sim.countdown
            raise CrashError

    sim.cloud.after_call = dying


@pytest.mark.parametrize("late", [0.0, 3.0, 20.0])
def test_a_crash_while_the_creation_is_under_way_doubles_nothing(late: float) -> None:
    sim = Simulation(nodes=1)
    sim.cloud.fail("create port", Fault(lost(), worked=True, late=late))
    die_once_in(sim, "create port")
    sim.add_pool()
    sim.settle()
    assert_converged(sim, 1)
    assert sim.cloud.calls["create port"] == 1


@pytest.mark.parametrize("operation", ["tag port", "attach", "detach", "delete port"])
def test_a_crash_in_the_middle_of_an_order_leaks_nothing(operation: str) -> None:
    sim = Simulation(nodes=1)
    sim.cloud.drops_tags = True
    sim.cloud.fail(operation, Fault(lost(), worked=True, late=3))
    die_once_in(sim, operation)
    sim.add_pool()
    sim.settle(100)
    assert_converged(sim, 1)
    sim.api.delete(ENIPOOL, "pods")
    sim.settle()
    assert_all_removed(sim)


def test_an_eni_deleted_while_its_creation_is_under_way_leaks_no_port() -> None:
    sim = Simulation(nodes=1)
    sim.cloud.fail("create port", Fault(lost(), worked=True, late=20))
    die_once_in(sim, "create port")
    sim.add_pool()
    sim.settle(0, agents=False)
    assert sim.cloud.calls["create port"] == 1
    sim.api.delete(ENIPOOL, "pods")
    sim.settle()
    assert_all_removed(sim)
