"""Invariants of a simulation that has converged; what tests of pools do and look at."""

from typing import Any

import pytest

from openeni_crds.conditions import Condition, Type, find, is_true
from openeni_crds.names import ENIPOOLS, port_name
from openeni_kube.store import NotFoundError
from openeni_operator.cloud.api import ACTIVE
from openeni_testing.controller.process import CLUSTER_ID
from openeni_testing.controller.simulation import Simulation

TWO_RESYNCS = 700.0  # seconds


def assert_converged(sim: Simulation, enis: int) -> None:
    """Assert that every ENI is Ready, with exactly one port: attached, ACTIVE and tagged."""
    found = sim.enis()
    assert len(found) == enis
    by_name = {p.name: p for p in sim.cloud.ports.values()}
    assert len(by_name) == len(sim.cloud.ports) == enis
    for eni in found:
        port = by_name[port_name(CLUSTER_ID, eni.metadata.uid)]
        assert (port.device_id, port.status) == (eni.spec.server_id, ACTIVE)
        assert len(port.tags) == 2
        assert eni.status.port is not None
        recorded = {*eni.status.port.primary, *eni.status.port.addresses}
        assert recorded == {f.address for f in port.fixed_ips}
        assert is_true(eni.status.conditions, Type.READY), eni.status


def assert_all_removed(sim: Simulation) -> None:
    assert sim.enis() == []
    assert sim.cloud.ports == {}
    with pytest.raises(NotFoundError):
        sim.pool()


def simulate_ready_pool() -> Simulation:
    """Return a simulation of two nodes with a Ready ENI each."""
    sim = Simulation(nodes=2)
    sim.add_pool()
    sim.settle()
    return sim


def change_spec(sim: Simulation, **fields: Any) -> None:
    """Replace fields of the pool's spec."""
    operations = [
        {"op": "add", "path": f"/spec/{name}", "value": value} for name, value in fields.items()
    ]
    sim.api.patch(ENIPOOLS, "pods", operations=operations)


def pool_condition(sim: Simulation, type_: Type, pool: str = "pods") -> Condition:
    found = find(sim.pool(pool).status.conditions, type_)
    assert found is not None
    return found
