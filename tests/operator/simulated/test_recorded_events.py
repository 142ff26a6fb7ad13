"""What an administrator hears of, from the operator as a whole."""

from openeni_operator.cloud.errors import QuotaExceededError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import TWO_RESYNCS
from openeni_testing.controller.simulation import Simulation


def told(sim: Simulation) -> list[tuple[str, str, str]]:
    events = sim.process.recorded.events
    return [(e.regarding.kind.name, str(e.type), e.reason) for e in events]


def test_a_new_pool_and_its_eni_tell_that_they_are_ready() -> None:
    sim = Simulation()
    sim.add_pool()
    sim.settle(TWO_RESYNCS)
    assert sorted(told(sim)) == [
        ("ENI", "Normal", "Ready"),
        ("ENIPool", "Normal", "Ready"),
    ]


def test_a_used_up_quota_is_told_about_the_eni_and_its_pool_and_so_is_its_end() -> None:
    sim = Simulation()
    sim.cloud.fail("create port", Fault(QuotaExceededError("no port is left")))
    sim.add_pool()
    sim.settle(TWO_RESYNCS)
    found = told(sim)
    for kind in ("ENI", "ENIPool"):
        assert found.count((kind, "Warning", "QuotaExceeded")) == 1
        assert (kind, "Normal", "Ready") in found
    assert ("ENIPool", "Normal", "Available") in found
    (warning,) = (
        e
        for e in sim.process.recorded.events
        if e.regarding.kind.name == "ENIPool" and e.reason == "QuotaExceeded"
    )
    assert "no port is left" in warning.note
