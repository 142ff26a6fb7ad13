"""What only time or another pool changes is looked at then, and not at the next resync."""

import math
from dataclasses import replace

from openeni_crds.capacity import Growth
from openeni_testing.controller.simulation import Simulation

HOUR = 3700.0  # seconds, and a bit
AUTO = {"addressesPerENI": 3, "minAvailable": 1, "growth": "Auto"}


def without_resync(nodes: int = 1, subnets: int = 1) -> Simulation:
    """Return a simulation with a pool of several subnets; nothing but events wakes a key."""
    sim = Simulation(nodes=nodes)
    sim.resync_at = math.inf
    names = [f"subnet-{n}" for n in range(subnets)]
    for n, name in enumerate(names):
        sim.cloud.add_subnet(sim.network, name, f"10.{n}.0.0/24")
    sim.add_pool(subnets=[{"name": name} for name in names], capacity=AUTO)
    return sim


def subnet_id(sim: Simulation, name: str) -> str:
    return next(s.id for s in sim.cloud.subnets.values() if s.name == name)


def test_a_subnet_that_refused_is_tried_again_as_soon_as_its_pause_is_over() -> None:
    sim = without_resync(subnets=2)
    first, second = (subnet_id(sim, f"subnet-{n}") for n in (0, 1))
    sim.cloud.filled = {first}
    sim.run_events(60)
    sim.cloud.filled = {second}
    sim.add_node("n2")
    sim.run_events(60)
    assert [e.status.port for e in sim.enis() if e.spec.node_name == "n2"] == [None]
    sim.run_events(300)
    (eni,) = [e for e in sim.enis() if e.spec.node_name == "n2"]
    assert eni.spec.subnet_ids == (first,)
    assert eni.status.port is not None


def foreign_network(sim: Simulation) -> None:
    """Let the network belong to another project, which lets ours change addresses."""
    network = replace(sim.network, project_id="another")
    sim.cloud.networks[network.id] = network


def test_what_one_pool_learns_about_a_network_its_other_pools_know_at_once() -> None:
    sim = without_resync()
    foreign_network(sim)
    nowhere = {"matchLabels": {"no": "node"}}
    sim.add_pool("idle", nodeSelector=nowhere, subnets=[{"name": "pods"}], capacity=AUTO)
    sim.run_events(60)
    assert [sim.pool(name).status.growth for name in ("pods", "idle")] == [Growth.ELASTIC] * 2
    assert sim.cloud.calls["probe fixed IPs"] == 1


def test_an_answer_about_growth_is_asked_for_again_when_it_is_old() -> None:
    sim = without_resync()
    sim.run_events(60)
    assert sim.pool().status.growth == Growth.ELASTIC
    sim.cloud.resizable = False
    sim.run_events(HOUR)
    assert sim.pool().status.growth == Growth.STATIC
    sim.cloud.resizable = True
    sim.run_events(HOUR / 6)
    assert sim.pool().status.growth == Growth.ELASTIC
