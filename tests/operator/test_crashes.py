"""Lost answers and crashes at any point: one port for each ENI in the end, and none left over."""

import pytest

from openeni_crds.names import ENIPOOLS
from openeni_testing.cloud.memory import Fault, lost
from openeni_testing.controller.checks import (
    RESYNCS,
    assert_in_order,
    assert_nothing_is_left,
    grown,
)
from openeni_testing.controller.world import OperatorWorld
from openeni_testing.store.watched import CrashError

FEWEST_STEPS = 60  # calls and writes of the life below; with fewer, something is not looked at


@pytest.mark.parametrize("late", [0.0, 5.0, 45.0, 200.0])
@pytest.mark.parametrize("operation", ["create port", "tag port", "attach"])
def test_lost_answers_leave_one_port_for_each_eni(operation: str, late: float) -> None:
    world = OperatorWorld(nodes=2)
    world.cloud.drops_tags = True
    world.cloud.fail(operation, *[Fault(lost(), worked=True, late=late)] * 3)
    world.add_pool()
    world.settle(RESYNCS)
    assert_in_order(world, 2)


@pytest.mark.parametrize("operation", ["detach", "delete port"])
def test_lost_answers_while_deleting_leave_nothing(operation: str) -> None:
    world = grown()
    world.cloud.fail(operation, Fault(lost(), worked=True, late=20), Fault(lost()))
    world.api.delete(ENIPOOLS, "pods")
    world.settle(RESYNCS)
    assert_nothing_is_left(world)


def test_a_creation_without_an_answer_is_looked_for_and_not_repeated() -> None:
    world = OperatorWorld(nodes=1)
    world.cloud.fail("create port", Fault(lost(), worked=True, late=20))
    world.add_pool()
    world.settle()
    assert_in_order(world, 1)
    assert world.cloud.calls["create port"] == 1


def lives(world: OperatorWorld) -> None:
    """A pool is made, grows, and goes."""
    world.add_pool()
    world.settle(100)
    for i in range(3):
        world.add_pod(f"p{i}", "n1")
    world.settle(100)
    assert_in_order(world, 2)
    world.api.delete(ENIPOOLS, "pods")
    world.settle(RESYNCS)
    assert_nothing_is_left(world)


def steps_of_a_life() -> int:
    world = OperatorWorld(nodes=1)
    lives(world)
    return world.countdown.seen


def test_a_crash_after_any_call_or_write_doubles_and_leaks_nothing(
    subtests: pytest.Subtests,
) -> None:
    steps = steps_of_a_life()
    assert steps >= FEWEST_STEPS
    for step in range(steps):
        with subtests.test(step=step):
            world = OperatorWorld(nodes=1)
            world.countdown.left = step
            lives(world)
            assert world.countdown.left is None


def die_once_in(world: OperatorWorld, operation: str) -> None:
    """End the process in its next call of this operation, before it can write anything."""

    def dying(called: str) -> None:
        if called == operation:
            world.cloud.after_call = world.countdown
            raise CrashError

    world.cloud.after_call = dying


@pytest.mark.parametrize("late", [0.0, 3.0, 20.0])
def test_a_crash_while_the_creation_is_under_way_doubles_nothing(late: float) -> None:
    world = OperatorWorld(nodes=1)
    world.cloud.fail("create port", Fault(lost(), worked=True, late=late))
    die_once_in(world, "create port")
    world.add_pool()
    world.settle()
    assert_in_order(world, 1)
    assert world.cloud.calls["create port"] == 1


@pytest.mark.parametrize("operation", ["tag port", "attach", "detach", "delete port"])
def test_a_crash_in_the_middle_of_an_order_leaks_nothing(operation: str) -> None:
    world = OperatorWorld(nodes=1)
    world.cloud.drops_tags = True
    world.cloud.fail(operation, Fault(lost(), worked=True, late=3))
    die_once_in(world, operation)
    world.add_pool()
    world.settle(100)
    assert_in_order(world, 1)
    world.api.delete(ENIPOOLS, "pods")
    world.settle()
    assert_nothing_is_left(world)


def test_an_eni_deleted_while_its_creation_is_under_way_leaks_no_port() -> None:
    world = OperatorWorld(nodes=1)
    world.cloud.fail("create port", Fault(lost(), worked=True, late=20))
    die_once_in(world, "create port")
    world.add_pool()
    world.settle(0, agents=False)
    assert world.cloud.calls["create port"] == 1
    world.api.delete(ENIPOOLS, "pods")
    world.settle()
    assert_nothing_is_left(world)
