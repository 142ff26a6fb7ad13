"""An elastic pool in a simulation, and what its nodes hold."""

from typing import Any, Final

from openeni_crds.conditions import Condition, Type, find
from openeni_crds.eni import ENI
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.simulation import Simulation

SIZE: Final = 8
MIN: Final = 2
QUIET: Final = {"policy": "Never"}
SOON: Final = {"policy": "After", "after": "5m"}


def simulate_elastic(nodes: int = 1, *, reclaim: Any = QUIET, **capacity: Any) -> PodRunner:
    """Return the pods of a cluster with an elastic pool."""
    sim = Simulation(nodes=nodes)
    sizes = {"growth": "Elastic", "addressesPerENI": SIZE, "minAvailable": MIN, **capacity}
    sim.add_pool(capacity=sizes, reclaim=reclaim)
    runner = PodRunner(sim)
    runner.settle(60)
    return runner


def held(sim: Simulation, node: str = "n1") -> list[int]:
    """Return how many addresses each ENI of the node has for pods, by the port itself."""
    enis = sorted((e for e in sim.enis() if e.spec.node_name == node), key=lambda e: e.name)
    ports = (sim.cloud.ports[e.status.port.id] for e in enis if e.status.port)
    return [len(port.fixed_ips) - 1 for port in ports]


def sized(eni: ENI) -> Condition:
    found = find(eni.status.conditions, Type.SIZED)
    assert found is not None
    return found
