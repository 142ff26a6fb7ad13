"""Reads of a database node that is behind neither double nor leak a port, nor give it addresses."""

import pytest

from openeni_crds.names import ENIPOOLS
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    assert_all_removed,
    assert_converged,
    simulate_ready_pool,
)
from openeni_testing.controller.elastic_pool import simulate_elastic
from openeni_testing.controller.simulation import Simulation

HOUR = 3600.0


@pytest.mark.parametrize("drops_tags", [False, True])
@pytest.mark.parametrize("lag", [0.4, 3, 20])
def test_a_port_that_neutron_shows_late_is_not_created_twice(lag: float, drops_tags: bool) -> None:
    sim = Simulation(nodes=1)
    sim.cloud.list_lag = lag
    sim.cloud.drops_tags = drops_tags
    sim.cloud.after_call = lambda _: sim.cloud.clock.advance(0.5)
    sim.add_pool()
    sim.settle(120)
    assert sim.cloud.calls["create port"] == 1
    assert_converged(sim, 1)


@pytest.mark.parametrize("drops_tags", [False, True])
def test_an_eni_that_is_deleted_while_lists_hide_its_port_leaks_nothing(drops_tags: bool) -> None:
    sim = Simulation(nodes=1)
    sim.cloud.list_lag = 20
    sim.cloud.drops_tags = drops_tags
    sim.add_pool()
    sim.settle(1)
    assert sim.cloud.calls["create port"] == 1
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def test_a_node_that_joins_while_reads_stand_still_gets_no_port_after_the_other() -> None:
    """A replica of Neutron's database that has stopped shows no new port, and the old ones."""
    sim = simulate_ready_pool()
    sim.cloud.freeze(3 * HOUR)
    sim.add_node("n3")
    sim.agents.add("n3")
    sim.settle(3 * HOUR - 1)
    assert sim.cloud.calls["create port"] <= 2 + 5
    sim.settle(TWO_RESYNCS)
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 3)


def test_a_port_that_is_deleted_before_it_was_shown_is_replaced() -> None:
    sim = Simulation()
    sim.add_pool()
    sim.settle(50)
    assert_converged(sim, 1)
    sim.cloud.ports.clear()
    sim.settle(3 * TWO_RESYNCS)
    assert_converged(sim, 1)


@pytest.mark.parametrize("seconds", [500, 700])
def test_reads_that_stand_still_give_no_pod_an_address_that_has_left_the_port(
    seconds: float,
) -> None:
    """They look like those of a restored database; what Neutron writes to tells them apart."""
    runner = simulate_elastic(reclaim={"policy": "After", "after": "1m"}, minAvailable=1)
    cloud, pending = runner.sim.cloud, [True]
    runner.start(5)
    runner.settle(100)

    def freeze(operation: str) -> None:
        if operation == "set fixed IPs" and pending:
            pending.clear()
            cloud.freeze(4000)

    cloud.before_call = freeze
    before = cloud.calls["set fixed IPs"]
    runner.end(4)
    runner.settle(seconds)
    assert not pending
    runner.start(6)
    runner.settle(300)
    assert runner.lost == []
    assert cloud.calls["set fixed IPs"] - before <= 2, "it is asked every ten minutes"
