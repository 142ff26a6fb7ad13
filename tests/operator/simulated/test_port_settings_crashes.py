"""What a pool has put on its ports is taken off them, whatever happens in between."""

import pytest

from openeni_operator.cloud.errors import DeniedError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import TWO_RESYNCS, change_spec
from openeni_testing.controller.port_settings import (
    OTHERS,
    policies,
    pools_tags,
    simulate,
    tag_ports,
)
from openeni_testing.controller.simulation import Simulation


def replace_settings(sim: Simulation) -> None:
    """Give the ports a tag and a policy, then others, and at last none."""
    for ports in (
        {"tags": ["a"], "qosPolicy": {"name": "gold"}},
        {"tags": ["b"], "qosPolicy": {"name": "lead"}},
        {},
    ):
        change_spec(sim, ports=ports)
        sim.settle(4)
    sim.settle(TWO_RESYNCS)
    assert (pools_tags(sim), policies(sim)) == ([{OTHERS}], [""])


def tagged_by_others() -> Simulation:
    sim = simulate(nodes=1)
    tag_ports(sim, OTHERS)
    sim.countdown.seen = 0
    return sim


@pytest.mark.exhaustive
def test_a_crash_after_any_call_or_write_leaves_nothing_of_the_pool_on_a_port(
    subtests: pytest.Subtests,
) -> None:
    whole = tagged_by_others()
    replace_settings(whole)
    steps = whole.countdown.seen
    assert steps >= 12
    for step in range(steps):
        with subtests.test(step=step):
            sim = tagged_by_others()
            sim.countdown.left = step
            replace_settings(sim)
            assert sim.countdown.left is None


@pytest.mark.parametrize("operation", ["tag port", "untag port", "set QoS policy"])
@pytest.mark.parametrize("late", [0.0, 3.0, 20.0])
def test_lost_responses_leave_nothing_of_the_pool_on_a_port(operation: str, late: float) -> None:
    sim = tagged_by_others()
    error = DeniedError("a proxy's answer")
    sim.cloud.fail(operation, Fault(error, worked=True, late=late))
    replace_settings(sim)


@pytest.mark.parametrize("operation", ["tag port", "untag port", "set QoS policy"])
def test_reads_that_lag_leave_nothing_of_the_pool_on_a_port(operation: str) -> None:
    sim = tagged_by_others()

    def lag(called: str) -> None:
        if called == operation:
            sim.cloud.before_call = lambda _: None
            sim.cloud.freeze(10)

    sim.cloud.before_call = lag
    replace_settings(sim)
