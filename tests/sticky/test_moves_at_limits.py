"""An address leaves its ENI although nothing more may be held, and other pods wait.

It takes up what it has left: on no port, without room on another one, it would be lost.
"""

from collections.abc import Callable
from contextlib import suppress

import pytest

from openeni_crds.names import ENIPOOLS, ENIS
from openeni_nodeagent.cni.protocol import CNIError
from openeni_testing.sticky.world import KEPT, StickyWorld

Make = Callable[..., StickyWorld]
SIZES = {"addressesPerENI": 8, "minAvailable": 2, "maxENIsPerNode": 2}


def delete_eni(world: StickyWorld) -> str:
    """Delete the ENI that web-0 and web-1 run on; return the address of web-0."""
    (address,) = world.start("web-0", "n1", **KEPT)
    world.start("web-1", "n1", **KEPT)
    (eni,) = (e.name for e in world.sim.enis() if e.spec.node_name == "n1")
    world.sim.api.delete(ENIS, eni)
    for _ in range(60):
        world.step()
    return address


def limit_pool(world: StickyWorld) -> None:
    """Let the pool hold what it holds now, and no more."""
    ports = (eni.status.port for eni in world.sim.enis())
    total = sum(len(port.addresses) for port in ports if port)
    change = [{"op": "add", "path": "/spec/limits", "value": {"maxAddresses": total}}]
    world.sim.api.patch(ENIPOOLS, "pods", operations=change)
    world.step()


def start_others(world: StickyWorld, node: str, seconds: int = 40) -> list[str]:
    """Create more pods on the node than may start there; return those that wait."""
    waiting = [f"p{n}" for n in range(12)]
    for name in waiting:
        world.create_pod(name, node)
    for _ in range(seconds):
        retry_others(world, waiting)
    assert waiting
    return waiting


def start_beside(world: StickyWorld, node: str, waiting: list[str]) -> list[str]:
    """Create web-0 on the node; return its address, which it gets while the others retry, too."""
    world.create_pod("web-0", node, **KEPT)
    got: list[str] = []
    for _ in range(60):
        with suppress(CNIError):
            got += world.add("web-0")
            break
        retry_others(world, waiting)
    return got


def retry_others(world: StickyWorld, waiting: list[str]) -> None:
    for name in tuple(waiting):
        with suppress(CNIError):
            world.add(name)
            waiting.remove(name)
    world.step()


@pytest.mark.parametrize("most", [5, 6, 8])
@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_of_a_node(make_world: Make, most: int, phase: str) -> None:
    world = make_world(capacity={**SIZES, "maxAddressesPerNode": most})
    address = delete_eni(world)
    world.end_sandbox("web-0")
    world.set_phase("web-0", phase)
    assert world.retry("web-0", 60) == (address,)


def test_of_a_node_that_may_have_no_other_eni_it_stays(make_world: Make) -> None:
    """An ENI that is being deleted counts with all that it has."""
    world = make_world(capacity={**SIZES, "maxAddressesPerNode": 4})
    address = delete_eni(world)
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    assert "no ENI of node n1 is ready and has room" in world.refusal("web-0", 60)
    assert world.is_on_a_port(address)
    world.end("web-1")
    assert world.retry("web-0", 200) == (address,)


def test_of_a_pool(make_world: Make) -> None:
    world = make_world(capacity=SIZES)
    delete_eni(world)
    limit_pool(world)
    for name in ("web-0", "web-1"):
        had = world.addresses(name)
        world.end(name)
        assert world.start(name, "n1", 60, **KEPT) == had


@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize("limit", ["node", "pool"])
def test_although_other_pods_wait_for_any_address(make_world: Make, limit: str, node: str) -> None:
    world = make_world(
        capacity={**SIZES, **({"maxAddressesPerNode": 6} if limit == "node" else {})}
    )
    address = delete_eni(world)
    if limit == "pool":
        limit_pool(world)
    waiting = start_others(world, node)
    world.end("web-0")
    assert start_beside(world, "n1", waiting) == [address]


@pytest.mark.parametrize("full", [False, True])
def test_of_a_pool_for_another_node_although_pods_wait_on_the_old_one(
    make_world: Make, full: bool
) -> None:
    """The old one keeps neither the address nor the room that it leaves."""
    world = make_world(capacity={**SIZES, "minAvailable": 1})
    (address,) = world.start("web-0", "n1", **KEPT)
    world.step(60)
    limit_pool(world)
    waiting = start_others(world, "n1")
    for n in range(world.free("n2") if full else 0):
        world.start(f"b{n}", "n2")
    world.end("web-0")
    assert start_beside(world, "n2", waiting) == [address]


@pytest.mark.parametrize("others", [1, 2])
def test_for_a_node_with_room_although_pods_wait_where_there_is_none(
    make_world: Make, others: int
) -> None:
    """The pool says so of all its nodes, and the old node lacks addresses, too."""
    sizes = {**SIZES, "minAvailable": 1, "maxAddressesPerNode": 4}
    world = make_world(capacity=sizes)
    world.add_node("n3")
    (address,) = world.start("web-0", "n1", **KEPT)
    for n in range(3):
        world.start(f"a{n}", "n1")
    for n in range(others):
        world.start(f"b{n}", "n2")
    waiting = start_others(world, "n3")
    for name in ("a3", "a4"):
        world.create_pod(name, "n1")
    world.end("web-0")
    assert start_beside(world, "n2", [*waiting, "a3", "a4"]) == [address]


@pytest.mark.parametrize("others", [0, 3])
def test_of_a_pool_for_a_node_without_an_eni(make_world: Make, others: int) -> None:
    """The room that it has left on its former node is for that node's first ENI, and no other's."""
    world = make_world(capacity={**SIZES, "addressesPerENI": 4, "minAvailable": 1})
    (address,) = world.start("web-0", "n1", **KEPT)
    for n in range(others):
        world.start(f"p{n}", "n1")
    world.step(60)
    limit_pool(world)
    world.add_node("n3")
    world.end("web-0")
    world.create_pod("web-0", "n3", **KEPT)
    assert world.retry("web-0", 300) == (address,)
