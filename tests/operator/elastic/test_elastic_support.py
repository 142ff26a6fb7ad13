"""A pool is elastic where the cloud allows it, as far as the cloud says so now."""

from dataclasses import replace

import pytest

from openeni_crds.capacity import Growth
from openeni_crds.conditions import Reason, Status, Type, find, is_true
from openeni_crds.names import ENIPOOLS
from openeni_operator.cloud.errors import DeniedError
from openeni_testing.controller.elastic_pool import MIN, SIZE, held, simulate_elastic
from openeni_testing.controller.simulation import Simulation


def test_a_pool_that_becomes_static_keeps_what_there_is() -> None:
    runner = simulate_elastic()
    runner.start(6)
    runner.settle(60)
    change = {"op": "replace", "path": "/spec/capacity/growth", "value": "Static"}
    runner.sim.api.patch(ENIPOOLS, "pods", operations=[change])
    runner.settle(60)
    assert held(runner.sim) == [8]
    runner.start(3)
    assert runner.settle(100) == 0
    assert held(runner.sim) == [8, 8]
    assert runner.sim.pool().status.growth is Growth.STATIC


def test_a_denied_change_makes_the_pool_static_until_it_is_allowed() -> None:
    runner = simulate_elastic()
    sim = runner.sim
    sim.cloud.resizable = False
    runner.start(6)
    assert runner.settle(200) == 0, "by another ENI"
    assert sim.pool().status.growth is Growth.STATIC
    found = find(sim.pool().status.conditions, Type.SUPPORTED)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, Reason.ELASTIC_UNSUPPORTED)
    assert "update_port:fixed_ips is disallowed by policy" in found.message
    assert is_true(sim.pool().status.conditions, Type.READY)
    sim.cloud.resizable = True
    sim.settle(2000)
    assert sim.pool().status.growth is Growth.ELASTIC
    assert is_true(sim.pool().status.conditions, Type.SUPPORTED)


def test_what_a_denied_change_was_to_bring_does_not_count_against_limits() -> None:
    runner = simulate_elastic(minAvailable=1)
    sim = runner.sim
    limits = {"op": "add", "path": "/spec/limits", "value": {"maxAddresses": 10}}
    sim.api.patch(ENIPOOLS, "pods", operations=[limits])
    sim.cloud.resizable = False
    runner.start(7)
    assert runner.settle(300) == 0
    assert sum(held(sim)) <= 10
    sim.cloud.resizable = True
    runner.settle(2000, step=60)
    assert sim.pool().status.growth is Growth.ELASTIC
    assert sum(held(sim)) <= 10


def test_a_static_eni_that_has_lost_an_address_shall_have_as_many_with_its_next_port() -> None:
    sim = Simulation()
    sim.add_pool()
    sim.settle(60)
    (port,) = sim.cloud.ports.values()
    sim.cloud.ports[port.id] = replace(
        port, fixed_ips=port.fixed_ips[:-1], revision=port.revision + 1
    )
    sim.settle(700)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    assert (len(eni.status.port.lost), eni.spec.address_count) == (1, 3)


@pytest.mark.parametrize("growth", ["Auto", "Elastic"])
def test_a_network_of_another_project_is_static(growth: str) -> None:
    sim = Simulation()
    sim.network = sim.cloud.add_network(project_id="another")
    sim.cloud.add_subnet(sim.network, "shared", "10.99.0.0/24")
    sim.cloud.resizable = False
    capacity = {"growth": growth, "addressesPerENI": SIZE, "minAvailable": MIN}
    sim.add_pool(capacity=capacity, subnets=[{"name": "shared"}])
    sim.settle(200)
    assert held(sim) == [SIZE]
    assert sim.pool().status.growth is Growth.STATIC
    supported = is_true(sim.pool().status.conditions, Type.SUPPORTED)
    assert supported is (growth == "Auto")
    assert sim.cloud.calls["set fixed IPs"] == 0


def test_an_outage_says_nothing_about_growth() -> None:
    runner = simulate_elastic()
    runner.sim.cloud.down = DeniedError("maintenance")
    runner.settle(4000, step=200)
    assert runner.sim.pool().status.growth is Growth.ELASTIC
