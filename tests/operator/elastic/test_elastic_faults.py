"""Changes of a port's addresses survive lost answers, crashes, stale reads and other writers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import pytest

from openeni_crds.conditions import Status, Type, find, is_true
from openeni_crds.names import ENIPOOLS, ENIS
from openeni_operator.cloud.errors import (
    DeniedError,
    InvalidRequestError,
    ResourceConflictError,
    RevisionConflictError,
    ThrottledError,
)
from openeni_testing.cloud.faults import Fault, no_response
from openeni_testing.controller.checks import TWO_RESYNCS, assert_all_removed, assert_converged
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.simulation import Simulation
from openeni_testing.store.hooked import CrashError

PUT = "set fixed IPs"
MIN_STEPS = 80  # calls and writes of the lifecycle below; fewer mean that the test lost some
PARTS = 4  # of the steps, each a test of its own
Inject: TypeAlias = Callable[[Simulation], None]


def start_simulation() -> PodRunner:
    sim = Simulation()
    sim.add_pool(
        capacity={"growth": "Elastic", "addressesPerENI": 8, "minAvailable": 1},
        reclaim={"policy": "After", "after": "1m"},
    )
    return PodRunner(sim)


def live(runner: PodRunner, between: Callable[[int], None] = lambda _: None) -> Iterator[None]:
    """Grow, shrink, grow again and go; yield after each of them."""
    for phase, (start, end) in enumerate([(0, 0), (5, 0), (0, 4), (5, 0)]):
        between(phase)
        runner.start(start)
        runner.end(end)
        runner.settle(200, step=20)
        yield
    runner.sim.api.delete(ENIPOOLS, "pods")
    runner.sim.settle(100)
    runner.end(100)
    runner.sim.settle(TWO_RESYNCS)
    yield


def assert_served(runner: PodRunner, addresses: int) -> None:
    """Assert that no pod waits or has lost its address, and that one port has so many."""
    assert runner.run() == 0
    assert runner.lost == []
    assert_converged(runner.sim, 1)
    (eni,) = runner.sim.enis()
    assert eni.status.port is not None
    assert (eni.status.port.releasing, eni.spec.retiring) == ((), ())
    assert len(eni.status.port.addresses) == eni.spec.address_count == addresses
    found = find(eni.status.conditions, Type.SIZED)
    assert found is not None
    assert found.status == Status.TRUE


def run(runner: PodRunner, between: Callable[[int], None] = lambda _: None) -> None:
    sizes = iter((2, 7, 3, 8))
    for _ in live(runner, between):
        size = next(sizes, None)
        if size is None:
            assert runner.lost == []
            assert_all_removed(runner.sim)
        else:
            assert_served(runner, size)


def test_a_life_without_faults_costs_one_put_for_each_change() -> None:
    runner = start_simulation()
    run(runner)
    assert runner.sim.cloud.calls[PUT] == 3
    assert runner.sim.cloud.calls["create port"] == 1
    assert runner.sim.countdown.seen >= MIN_STEPS


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_after_any_call_or_write_takes_no_address_from_a_pod(
    part: int, subtests: pytest.Subtests
) -> None:
    counted = start_simulation()
    run(counted)
    for step in range(part, counted.sim.countdown.seen, PARTS):
        with subtests.test(step=step):
            runner = start_simulation()
            runner.sim.countdown.left = step
            run(runner)
            assert runner.sim.countdown.left is None


def fail(sim: Simulation, *, error: BaseException, worked: bool = False, late: float = 0) -> None:
    sim.cloud.fail(PUT, Fault(error, worked=worked, late=late))


def before_the_put(sim: Simulation, do: Callable[[], None]) -> None:
    """Do something before the next change of addresses."""
    pending = [True]

    def before(called: str) -> None:
        if called == PUT and pending:
            pending.clear()
            do()

    sim.cloud.before_call = before


def stale(sim: Simulation, seconds: float) -> None:
    """All reads show the port as it was before the change."""
    before_the_put(sim, lambda: sim.cloud.freeze(seconds))


def touched(sim: Simulation) -> None:
    """Somebody else changes the port at the same time."""

    def touch() -> None:
        for port in list(sim.cloud.ports.values()):
            sim.cloud.ports[port.id] = replace(port, revision=port.revision + 1)

    before_the_put(sim, touch)


FAULTS: dict[str, Inject] = {
    "no answer, not done": partial(fail, error=no_response()),
    "no answer, done": partial(fail, error=no_response(), worked=True),
    "no answer, done late": partial(fail, error=no_response(), worked=True, late=20),
    "no answer, done very late": partial(fail, error=no_response(), worked=True, late=90),
    "412": partial(fail, error=RevisionConflictError("changed")),
    "409": partial(fail, error=ResourceConflictError("busy")),
    "400": partial(fail, error=InvalidRequestError("no")),
    "429": partial(fail, error=ThrottledError("slow down", 20)),
    "403 once": partial(fail, error=DeniedError("no")),
    "crash before": partial(fail, error=CrashError()),
    "crash after": partial(fail, error=CrashError(), worked=True),
    "crash, done late": partial(fail, error=CrashError(), worked=True, late=20),
    "stale": partial(stale, seconds=15),
    "stale for long": partial(stale, seconds=100),
    "touched": touched,
}

# Phases of `live`: shrinking, and (with all faults) both times of growing.
PHASES = [2, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (1, 3))]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_any_change_is_healed(fault: str, phase: int) -> None:
    runner = start_simulation()

    def inject(now: int) -> None:
        if now == phase:
            FAULTS[fault](runner.sim)

    run(runner, inject)


def test_a_change_without_an_answer_is_looked_for_before_it_is_repeated() -> None:
    runner = start_simulation()
    runner.settle(100)
    fail(runner.sim, error=no_response(), worked=True, late=10)
    runner.start(5)
    runner.settle(100)
    assert_served(runner, 7)
    assert runner.sim.cloud.calls[PUT] == 1


def test_a_read_that_is_behind_is_no_loss_of_addresses() -> None:
    runner = start_simulation()
    runner.settle(100)
    stale(runner.sim, 200)
    runner.start(5)
    for _ in range(60):
        runner.settle(5)
        assert all(e.status.port and not e.status.port.lost for e in runner.sim.enis())
    assert_served(runner, 7)


def test_a_read_that_is_behind_gives_no_pod_an_address_that_is_gone() -> None:
    runner = start_simulation()
    runner.start(5)
    runner.settle(100)
    runner.end(4)
    stale(runner.sim, 400)
    runner.settle(200)
    assert runner.sim.cloud.calls[PUT] == 1
    runner.start(6)  # more than the three addresses that are left
    runner.settle(60)
    assert runner.lost == []
    runner.settle(400)
    assert_served(runner, 8)


def test_a_database_that_was_restored_is_believed_in_the_end() -> None:
    runner = start_simulation()
    runner.start(3)
    runner.settle(100)
    (eni,) = runner.sim.enis()
    assert eni.status.port is not None
    port = runner.sim.cloud.ports[eni.status.port.id]
    runner.sim.cloud.ports[port.id] = replace(port, revision=1)
    runner.sim.settle(TWO_RESYNCS * 3)
    runner.start(3)
    runner.settle(100)
    assert_served(runner, 8)


@pytest.mark.parametrize("after", [5, 60])
def test_an_address_that_somebody_takes_away_is_replaced(after: float) -> None:
    runner = start_simulation()
    runner.start(3)
    runner.settle(100)
    (eni,) = runner.sim.enis()
    assert eni.status.port is not None
    port = runner.sim.cloud.ports[eni.status.port.id]
    taken = {address for _, address in runner.running.values()}
    free = next(f for f in port.fixed_ips if f.address in set(eni.status.port.addresses) - taken)
    left = tuple(f for f in port.fixed_ips if f != free)
    runner.sim.cloud.ports[port.id] = replace(port, fixed_ips=left, revision=port.revision + 1)
    runner.settle(after)
    runner.start(1)
    runner.settle(TWO_RESYNCS)
    (after_loss,) = runner.sim.enis()
    assert after_loss.status.port is not None
    assert len(after_loss.status.port.addresses) == after_loss.spec.address_count
    assert is_true(after_loss.status.conditions, Type.READY)
    assert runner.lost == []


def test_an_address_that_somebody_adds_is_given_back() -> None:
    runner = start_simulation()
    runner.settle(100)
    (eni,) = runner.sim.enis()
    assert eni.status.port is not None
    runner.sim.cloud.add_address(eni.status.port.id)
    runner.sim.settle(TWO_RESYNCS)
    assert_served(runner, 2)


def settle_until(runner: PodRunner, happened: Callable[[], bool]) -> None:
    for _ in range(200):
        if happened():
            return
        runner.sim.settle(1)
    raise AssertionError("it never happens")


def test_an_address_that_is_leaving_the_port_is_granted_to_nobody() -> None:
    """The change got no response, and is made after pods have come for the address."""
    runner = start_simulation()
    runner.start(5)
    runner.settle(100)
    runner.end(4)
    fail(runner.sim, error=no_response(), worked=True, late=25)
    settle_until(runner, lambda: runner.sim.cloud.calls[PUT] == 1)
    runner.start(6)
    runner.settle(15, step=1)
    (eni,) = runner.sim.enis()
    assert eni.status.port is not None
    assert len(eni.status.port.releasing) == 4
    runner.settle(200)
    assert_served(runner, 8)


def test_a_request_that_is_withdrawn_at_the_last_moment_takes_nothing() -> None:
    """While the operator looks at the port, another of its threads withdraws, and pods start."""
    runner = start_simulation()
    sim = runner.sim
    runner.start(5)
    runner.settle(100)
    runner.end(4)
    withdrawn: list[str] = []

    def withdraw(called: str) -> None:
        (eni,) = sim.enis()
        answered = eni.status.node is not None and eni.status.node.retired
        if called == "find port" and answered and not withdrawn:
            for field, value in (("retiring", ()), ("addressCount", 7)):
                add: dict[str, object] = {"op": "add", "path": f"/spec/{field}", "value": value}
                sim.api.patch(ENIS, eni.name, operations=[add])
            withdrawn.append(eni.name)
            runner.start(6)
            sim.run_agents()
            runner.run()
            sim.process.sync_state()

    sim.cloud.before_call = withdraw
    runner.settle(200)
    assert withdrawn
    assert_served(runner, 8)
