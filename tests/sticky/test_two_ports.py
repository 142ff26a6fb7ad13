"""Neutron hides an ENI's port for minutes, so that the ENI gets another one, and shows both then.

The operator puts another ENI in its place, and removes both ports after the last pod of each.
"""

from collections.abc import Callable

import pytest

from openeni_testing.sticky.world import StickyWorld

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
