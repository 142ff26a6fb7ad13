"""Pods do not wait for an ENI whose port cannot be given addresses, as a step before them fails.

Somebody has switched the port's security off, or taken its tags, and the cloud refuses the repair.
"""

from typing import Any, Final

import pytest

from openeni_crds.conditions import Condition, Reason, Status, Type, find, is_true
from openeni_crds.names import ENIPOOLS
from openeni_operator.cloud.admission import NotYet
from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.cloud.errors import CloudError, DeniedError, SubnetExhaustedError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import TWO_RESYNCS
from openeni_testing.controller.elastic_pool import MIN, SIZE, held, simulate_elastic, sized
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.port_settings import change_ports
from openeni_testing.controller.simulation import Simulation

GROUPS, PUT = "set security groups", "set fixed IPs"
CHANGES: Final[dict[str, dict[str, Any]]] = {
    GROUPS: {"port_security": False, "security_group_ids": frozenset[str]()},
    "tag port": {"tags": frozenset[str]()},
}
PODS = 6  # the ENI has 2 * MIN = 4 addresses
DENIED = DeniedError("not allowed")


def hinder(step: str = GROUPS, error: CloudError = DENIED, **capacity: int) -> PodRunner:
    """Return a node whose ENI's port needs a step that the cloud refuses until `repair`."""
    runner = simulate_elastic(**capacity)
    change_ports(runner.sim, **CHANGES[step])
    runner.sim.cloud.fail(step, *[Fault(error)] * 10_000)
    runner.sim.settle(TWO_RESYNCS)
    return runner


def repair(runner: PodRunner) -> None:
    runner.sim.cloud.faults.clear()


def capacity_of(sim: Simulation) -> Condition:
    found = find(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    return found


@pytest.mark.parametrize("step", CHANGES)
def test_the_pods_get_another_eni_and_the_conditions_say_why(step: str) -> None:
    runner = hinder(step)
    runner.start(PODS)
    assert runner.settle(120) == 0
    first, second = sorted(runner.sim.enis(), key=lambda e: e.name)
    assert held(runner.sim) == [2 * MIN, PODS]
    assert (sized(first).status, sized(first).reason) == (Status.FALSE, Reason.DENIED)
    assert "to be added to port" in sized(first).message
    assert "not allowed" in sized(first).message
    assert sized(second).status == Status.TRUE
    assert is_true(first.status.conditions, Type.READY), "its addresses serve pods"
    found = capacity_of(runner.sim)
    assert (found.status, found.reason) == (Status.FALSE, Reason.DENIED)
    assert first.name in found.message


def test_a_single_refusal_costs_no_eni() -> None:
    runner = simulate_elastic()
    change_ports(runner.sim, **CHANGES[GROUPS])
    runner.sim.cloud.fail(GROUPS, Fault(DENIED))
    runner.start(PODS)
    assert runner.settle(120) == 0
    assert held(runner.sim) == [SIZE]


def test_as_long_as_it_lasts_nothing_comes_and_goes() -> None:
    runner = hinder(maxAvailable=MIN + 1)
    runner.start(PODS)
    runner.settle(300)
    sizes, writes = held(runner.sim), len(runner.sim.store.writes)
    assert runner.settle(1800, step=20) == 0
    runner.sim.restart()
    assert runner.settle(1800, step=20) == 0
    assert held(runner.sim) == sizes
    assert len(runner.sim.store.writes) == writes
    assert runner.sim.cloud.calls[PUT] == 0


def test_after_the_repair_the_eni_grows_and_the_node_gives_back_what_it_does_not_need() -> None:
    runner = hinder(maxAvailable=MIN + 1)
    runner.start(PODS)
    runner.settle(300)
    repair(runner)
    assert runner.settle(600) == 0
    assert all(sized(eni).status == Status.TRUE for eni in runner.sim.enis())
    assert capacity_of(runner.sim).status == Status.TRUE
    assert sum(held(runner.sim)) <= PODS + MIN + 1
    assert runner.lost == []
    runner.start(4)
    assert runner.settle(120) == 0
    assert runner.sim.cloud.calls["create port"] == 2, "they grow by the ordinary rules"


def test_after_the_repair_the_eni_no_longer_says_that_it_was_refused() -> None:
    runner = hinder(maxENIsPerNode=1)
    runner.start(PODS)
    runner.settle(300)
    repair(runner)
    reasons = list[str]()

    def look(called: str) -> None:
        if called == PUT:
            reasons.extend(sized(eni).reason for eni in runner.sim.enis())

    runner.sim.cloud.before_call = look
    assert runner.settle(120) == 0
    assert reasons == [Reason.UPDATING]


def test_a_node_that_may_have_no_other_eni_says_what_its_pods_wait_for() -> None:
    runner = hinder(maxENIsPerNode=1)
    runner.start(PODS)
    assert runner.settle(300) == PODS - 2 * MIN
    assert len(runner.sim.enis()) == 1
    found = capacity_of(runner.sim)
    assert (found.status, found.reason) == (Status.FALSE, Reason.DENIED)
    writes = len(runner.sim.store.writes)
    runner.settle(1200, step=20)
    assert len(runner.sim.store.writes) == writes
    repair(runner)
    assert runner.settle(120) == 0
    assert held(runner.sim) == [SIZE]


def test_after_the_repair_the_node_holds_no_more_than_it_may() -> None:
    limit = PODS + 1
    runner = hinder(maxAddressesPerNode=limit)
    most = 0

    def count(_: str) -> None:
        nonlocal most
        most = max(most, sum(held(runner.sim)))

    runner.sim.cloud.observe = count
    runner.start(PODS)
    assert runner.settle(300) == 0
    assert sum(held(runner.sim)) == limit
    repair(runner)
    assert runner.settle(600) == 0
    assert most == limit
    assert all(sized(eni).status == Status.TRUE for eni in runner.sim.enis())


def test_a_subnet_without_addresses_is_no_reason_for_another_eni_of_it() -> None:
    runner = hinder(error=SubnetExhaustedError("no more"))
    runner.start(PODS)
    assert runner.settle(300) == PODS - 2 * MIN
    assert runner.sim.cloud.calls["create port"] == 1


def test_a_setting_that_pods_do_not_need_hinders_no_growth() -> None:
    """Its step comes after the change of addresses, and is tried while that has a pause."""
    runner = simulate_elastic()
    sim = runner.sim
    tags = {"op": "add", "path": "/spec/ports", "value": {"tags": ["a=b"]}}
    sim.cloud.fail("tag port", *[Fault(DENIED)] * 10_000)
    sim.cloud.fail(PUT, *[Fault(SubnetExhaustedError("no more"))] * 3)
    sim.api.patch(ENIPOOLS, "pods", operations=[tags])
    runner.start(PODS)
    reasons = set[str]()
    for _ in range(200):
        runner.settle(5)
        reasons |= {sized(eni).reason for eni in sim.enis()}
    assert runner.run() == 0
    assert Reason.DENIED not in reasons
    assert held(sim) == [SIZE]


def test_a_repair_that_has_to_wait_for_its_turn_is_still_the_one_that_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = hinder(maxAvailable=MIN + 1)
    runner.start(PODS)
    runner.settle(300)
    before, sizes = [sized(eni) for eni in runner.sim.enis()], held(runner.sim)

    def wait(*_: object, **__: object) -> None:
        raise NotYetError(NotYet(20.0, "the budget of calls is used up"))

    monkeypatch.setattr(runner.sim.cloud, "set_security_groups", wait)
    runner.settle(300)
    assert [sized(eni) for eni in runner.sim.enis()] == before
    assert held(runner.sim) == sizes


def test_a_repair_that_is_accepted_and_does_not_show_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = simulate_elastic()
    change_ports(runner.sim, **CHANGES[GROUPS])

    def accept(*_: object, **__: object) -> None:
        runner.sim.cloud.call(GROUPS, lambda: None)

    monkeypatch.setattr(runner.sim.cloud, "set_security_groups", accept)
    runner.start(PODS)
    runner.settle(600)
    (eni,) = runner.sim.enis()
    assert sized(eni).reason == Reason.UNEXPECTED_RESPONSE
    assert "SetSecurityGroups" in sized(eni).message
    assert capacity_of(runner.sim).reason == Reason.UNEXPECTED_RESPONSE
