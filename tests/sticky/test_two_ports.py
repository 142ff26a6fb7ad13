"""Neutron hides an ENI's port for minutes, so that the ENI gets another one, and shows both then.

The operator puts another ENI in its place, and removes both ports after the last pod of each.
"""

from collections.abc import Callable

import pytest

from openeni_crds.names import ENIS
from openeni_testing.sticky.world import KEPT, StickyWorld

Make = Callable[..., StickyWorld]


@pytest.mark.parametrize("growth", ["Elastic", "Static"])
def test_a_pod_keeps_the_port_that_has_its_address(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth)
    (address,) = world.start("web", "n1")
    ports, server = world.sim.cloud.ports, world.server("n1")
    (first,) = (p for p in ports.values() if address in {f.address for f in p.fixed_ips})

    def attached() -> set[str]:
        return {p.id for p in ports.values() if p.device_id == server and p.status == "ACTIVE"}

    world.sim.cloud.hidden.add(first.id)
    world.until(lambda: len(attached()) == 2, "a second port is attached")
    (second,) = attached() - {first.id}
    world.sim.cloud.hidden.clear()
    for _ in range(60):
        world.step(20)
    assert attached() >= {first.id, second}, "a pod has an address of the first"
    assert world.broken == []
    world.end("web")
    world.until(lambda: not attached() & {first.id, second}, "both are removed")


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_what_a_pod_keeps_leaves_an_eni_with_two_ports(
    make_world: Make, node: str, *, delete: bool
) -> None:
    """While another pod runs with the first port, which goes together with the second."""
    world = make_world(capacity={"addressesPerENI": 4, "minAvailable": 1, "maxENIsPerNode": 3})
    (other,) = world.start("other", "n1")
    ports = world.sim.cloud.ports.values()
    (first,) = (p for p in ports if other in {f.address for f in p.fixed_ips})
    world.sim.cloud.hidden.add(first.id)
    world.until(lambda: not world.sim.process.state.enis_with(other), "its port counts as lost")
    (address,) = world.start("web", "n1", 100, **KEPT)
    world.sim.cloud.hidden.clear()
    for _ in range(60):
        world.step(10)
    (eni,) = world.sim.process.state.enis_with(address)
    assert eni.is_broken
    if delete:
        world.sim.api.delete(ENIS, eni.name)
        world.step(60)
    world.end("web")
    world.create_pod("web", node, **KEPT)
    assert world.retry("web", 100) == (address,)
    assert world.node_of(other) == "n1"
