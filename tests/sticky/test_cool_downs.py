"""No pod gets another one's address before its cool-down has ended: `StickyWorld.check` sees it."""

from collections.abc import Callable

import pytest

from openeni_crds.names import ENIS, PODIPS, PODS
from openeni_nodeagent.cni.protocol import CNIError
from openeni_testing.sticky.world import COOL_DOWN, KEPT, StickyWorld, Wish

Make = Callable[..., StickyWorld]


@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_nor_does_one_that_asked_for_it_and_was_created_again(
    make_world: Make, steps: int, node: str
) -> None:
    """As a pod of a StatefulSet is: nothing is kept for it that it has never had."""
    world = make_world(growth="Elastic" if node == "n2" else "Static")
    (address,) = world.start("web", "n1")
    world.end("web")
    wish = Wish(sticky="1h", address=address)
    world.create_pod("db-0", "n1", **wish)
    with pytest.raises(CNIError):
        world.add("db-0")
    world.step()
    world.step()
    world.sim.api.delete(PODS, "db-0", "default")
    for _ in range(steps):
        world.step()
    world.create_pod("db-0", node, **wish)
    assert world.retry("db-0", 4 * COOL_DOWN) == (address,)


def test_nor_after_an_add_that_failed(make_world: Make) -> None:
    """A pod has its own address of before at once, without which the cool-down goes on."""
    world = make_world(growth="Static")
    (address,) = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    world.agents["n1"].datapath.build_fails = "no buffer space"
    with pytest.raises(CNIError):
        world.add("web-0")
    world.agents["n1"].datapath.build_fails = ""
    for kind in (PODS, PODIPS):
        world.sim.api.delete(kind, "web-0", "default")
    world.create_pod("web", "n1", address=address)
    assert world.retry("web", 4 * COOL_DOWN) == (address,)


@pytest.mark.parametrize("growth", ["Static", "Elastic"])
def test_nor_on_another_node_once_its_eni_is_deleted(make_world: Make, growth: str) -> None:
    """The cloud hands out the lowest address, which is soon this one."""
    world = make_world(growth=growth, capacity={"addressesPerENI": 1})
    (address,) = world.start("web", "n1")
    world.end("web")
    (eni,) = world.sim.process.state.enis_with(address)
    world.sim.api.delete(ENIS, eni.name)
    for name in ("p0", "p1", "p2"):
        world.start(name, "n2")
    world.until(lambda: not world.is_on_a_port(address), "its port has gone")
    assert world.start("p3", "n2")
