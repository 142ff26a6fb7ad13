"""A preflight's port is gone in every case, or the sweep finds it."""

from collections.abc import Callable
from itertools import count

import pytest

from openeni_crds.conditions import Reason
from openeni_crds.names import ENIPOOLS
from openeni_kube.answers import FAILED, PASSED, WARNED
from openeni_operator.cloud import errors
from openeni_operator.sweep.plan import MIN_AGE
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.asked import ask_preflight, ask_sweep, checks
from openeni_testing.controller.simulation import Simulation
from openeni_testing.store.hooked import CrashError


@pytest.fixture
def sim() -> Simulation:
    """Return a pool whose ENIs were made; of its two nodes one is to be tried."""
    made = Simulation(nodes=2)
    made.add_pool()
    made.settle()
    made.cloud.calls.clear()
    return made


def test_one_port_is_created_attached_and_taken_off(sim: Simulation) -> None:
    before = dict(sim.cloud.ports)
    answer = ask_preflight(sim, "n1")
    assert [check.verdict for check in checks(answer, "canary")] == [PASSED] * 5
    text = " ".join(check.message for check in checks(answer, "canary"))
    assert "with 4 addresses" in text  # addressesPerENI is 3
    calls = sim.cloud.calls
    assert {calls[c] for c in ("create port", "attach port", "detach port", "delete port")} == {1}
    assert sim.cloud.ports == before


def test_without_a_node_nothing_is_changed(sim: Simulation) -> None:
    before = dict(sim.cloud.ports)
    assert checks(ask_preflight(sim), "canary") == []
    assert not sim.cloud.calls.keys() & {"create port", "attach port", "probe fixed IPs"}
    assert sim.cloud.ports == before


LOST = errors.OutcomeUnknownError("no response")
FAULTS = [
    ("create port", Fault(errors.QuotaExceededError("Quota exceeded")), Reason.QUOTA_EXCEEDED),
    ("create port", Fault(LOST), Reason.OUTCOME_UNKNOWN),
    ("create port", Fault(LOST, worked=True), Reason.OUTCOME_UNKNOWN),
    ("create port", Fault(LOST, worked=True, late=20), Reason.OUTCOME_UNKNOWN),
    ("attach port", Fault(errors.DeniedError("os-attach is disallowed")), Reason.DENIED),
    ("attach port", Fault(LOST, worked=True), Reason.OUTCOME_UNKNOWN),
    ("get port", Fault(errors.CloudUnreachableError("timed out")), Reason.CLOUD_UNREACHABLE),
]


@pytest.mark.parametrize(("call", "fault", "reason"), FAULTS)
def test_whatever_fails_the_port_is_gone(
    sim: Simulation, call: str, fault: Fault, reason: Reason
) -> None:
    before = dict(sim.cloud.ports)
    sim.cloud.fail(call, fault)
    found = checks(ask_preflight(sim, "n1"), "canary")
    assert [(c.verdict, c.reason) for c in found if c.verdict == FAILED] == [(FAILED, reason)]
    assert sim.cloud.ports == before
    sim.cloud.clock.now += 600
    sim.cloud.settle()
    assert sim.cloud.ports == before


@pytest.mark.parametrize("call", ["detach port", "delete port", "find port"])
def test_its_removal_is_tried_again(sim: Simulation, call: str) -> None:
    before = dict(sim.cloud.ports)
    sim.cloud.fail(call, Fault(errors.CloudUnreachableError("timed out")))
    assert checks(ask_preflight(sim, "n1"), "canary")[-1].verdict == PASSED
    assert sim.cloud.ports == before


def test_a_port_that_does_not_go_is_reported(sim: Simulation) -> None:
    sim.cloud.detach_seconds = 1e6
    last = checks(ask_preflight(sim, "n1"), "canary")[-1]
    assert (last.verdict, last.reason) == (FAILED, Reason.ORPHANED_PORTS)
    assert sim.cloud.calls["detach port"] <= 4


def test_a_port_that_does_not_come_up_is_reported_and_removed(sim: Simulation) -> None:
    before = dict(sim.cloud.ports)
    sim.cloud.attach_seconds = 1e6
    reasons = [c.reason for c in checks(ask_preflight(sim, "n1"), "canary") if c.reason]
    assert reasons == [Reason.PORT_NOT_ACTIVE]
    assert sim.cloud.ports == before


def test_addresses_that_may_not_be_changed_are_a_warning(sim: Simulation) -> None:
    sim.cloud.resizable = False
    (warned,) = (c for c in checks(ask_preflight(sim, "n1"), "canary") if c.verdict != PASSED)
    assert (warned.verdict, warned.reason) == (WARNED, Reason.ELASTIC_UNSUPPORTED)


def test_a_cloud_that_drops_tags_gets_them_in_a_second_call(sim: Simulation) -> None:
    sim.cloud.drops_tags = True
    assert checks(ask_preflight(sim, "n1"), "canary")[-1].verdict == PASSED
    assert sim.cloud.calls["tag port"] == 2


def test_a_node_that_is_not_there_is_named(sim: Simulation) -> None:
    (only,) = checks(ask_preflight(sim, "n9"), "canary")
    assert (only.verdict, only.reason) == (FAILED, Reason.NOT_FOUND)
    assert "n9" in only.message
    assert sim.cloud.calls["create port"] == 0


def test_a_node_that_no_pool_serves_is_not_tried(sim: Simulation) -> None:
    change = [{"op": "add", "path": "/spec/nodeSelector", "value": {"matchLabels": {"a": "b"}}}]
    sim.api.patch(ENIPOOLS, "pods", operations=change)
    (only,) = checks(ask_preflight(sim, "n1"), "canary")
    assert "no ENIPool that selects the node" in only.message
    assert sim.cloud.calls["create port"] == 0


def crashes() -> int:
    """Return after how many calls a preflight has ended."""
    made = Simulation(nodes=2)
    made.add_pool()
    made.settle()
    made.cloud.after_call = made.countdown
    made.countdown.seen = 0
    ask_preflight(made, "n1")
    return made.countdown.seen


@pytest.mark.parametrize("call", range(crashes()))
def test_a_crash_after_any_call_leaves_it_to_the_sweep(sim: Simulation, call: int) -> None:
    """Whatever is left has the cluster's tag, once it has its tags: `sweep` lists it."""
    ours = set(sim.cloud.ports)
    sim.cloud.after_call = _dead_after(call)
    with pytest.raises(CrashError):
        ask_preflight(sim, "n1")
    sim.cloud.after_call = lambda _: None
    left = sim.cloud.ports.keys() - ours
    sim.cloud.clock.now += MIN_AGE + 60
    (cloud,) = ask_sweep(sim).clouds
    assert set(cloud.left) == left
    attached = {p for p in left if sim.cloud.ports[p].device_id}
    assert not attached & set(cloud.deletions), "the sweep takes no NIC from a server"


def _dead_after(call: int) -> Callable[[str], None]:
    """Return a hook that ends the process after so many calls, and at each later one."""
    seen = count()

    def after(_: str) -> None:
        if next(seen) >= call:
            raise CrashError

    return after
