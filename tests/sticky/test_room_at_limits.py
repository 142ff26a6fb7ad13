"""Where nothing more may be held, room for an address is made once, and none is planned away."""

from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest

from openeni_crds.names import ENIPOOLS, ENIS, PODS
from openeni_nodeagent.cni.protocol import CNIError
from openeni_testing.sticky.world import KEPT, StickyWorld

Make = Callable[..., StickyWorld]
SIZES = {"addressesPerENI": 3, "minAvailable": 1, "maxENIsPerNode": 2, "maxAddressesPerNode": 6}


def fill(world: StickyWorld) -> dict[str, list[str]]:
    """Start five pods on n1, which holds what it may; return their names by ENI, most first."""
    for n in range(5):
        world.start(f"p{n}", "n1")
    world.step(60)
    found: dict[str, list[str]] = {}
    for n in range(5):
        podip = world.podip(f"p{n}")
        assert podip is not None
        found.setdefault(podip.spec.eni_name, []).append(f"p{n}")
    assert sorted(map(len, found.values())) == [2, 3]
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def bring_to_n1(world: StickyWorld) -> str:
    """Have a pod leave n2 for n1 with its address, which is returned."""
    (address,) = world.start("web-0", "n2", **KEPT)
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    return address


def held(world: StickyWorld) -> int:
    ports = (eni.status.port for eni in world.sim.enis())
    return sum(len(port.addresses) + len(port.releasing) for port in ports if port)


def limit_pool(world: StickyWorld, total: int) -> None:
    change = [{"op": "add", "path": "/spec/limits", "value": {"maxAddresses": total}}]
    world.sim.api.patch(ENIPOOLS, "pods", operations=change)
    world.step()


def start_all(world: StickyWorld, names: Iterable[str], seconds: int) -> dict[str, tuple[str, ...]]:
    """Add the pods again and again; return the addresses of those that have started."""
    got: dict[str, tuple[str, ...]] = {}
    for _ in range(seconds):
        for name in set(names) - set(got):
            with suppress(CNIError):
                got[name] = world.add(name)
        world.step()
        if len(got) == len(set(names)):
            break
    return got


@pytest.mark.parametrize("stay", [1, 3])
def test_beside_an_eni_that_goes_a_free_address_makes_room(make_world: Make, stay: int) -> None:
    """What the ENI that goes has is no room that the other ENI may fill again."""
    world = make_world(capacity=SIZES)
    first, *_ = by_eni = fill(world)
    world.sim.api.delete(ENIS, first)
    world.step(20)
    for name in by_eni[first][stay:]:
        world.end(name)
    for _ in range(60):
        world.step()
    assert bring_to_n1(world) in world.retry("web-0", 120)


def test_an_eni_that_only_cools_down_is_no_room_yet(make_world: Make) -> None:
    world = make_world(capacity=SIZES)
    change = [{"op": "add", "path": "/spec/coolDown", "value": "20m"}]
    world.sim.api.patch(ENIPOOLS, "pods", operations=change)
    by_eni = fill(world)
    first = min(by_eni)
    world.sim.api.delete(ENIS, first)
    world.step(20)
    for name in by_eni[first]:
        world.end(name)
    world.step(10)
    assert bring_to_n1(world) in world.retry("web-0", 120)


def test_two_on_their_way_and_room_for_one_of_them(make_world: Make) -> None:
    """Their node is gone, and pods of another one have the rest of the pool's limit."""
    world = make_world(capacity={"addressesPerENI": 5, "minAvailable": 1, "maxENIsPerNode": 1})
    for n in range(2):
        # Not the lowest ones, which others would get at once.
        world.start(f"web-{n}", "n1", sticky="1h", address=f"10.98.0.7{n}")
        world.end(f"web-{n}")
        world.start(f"web-{n}", "n1", **KEPT)
    world.step(60)
    total = held(world)
    limit_pool(world, total)
    for n in range(2):
        world.sim.api.delete(PODS, f"web-{n}", "default")
    world.remove_node("n1")
    others = [f"p{n}" for n in range(5)]
    for name in others:
        world.create_pod(name, "n2")
    assert len(start_all(world, others, 300)) == 5
    assert held(world) == total - 1
    world.add_node("n3")
    for n in range(2):
        world.create_pod(f"web-{n}", "n3", **KEPT)
    world.create_pod("plain", "n3")
    assert start_all(world, ["web-0", "web-1", "plain"], 120)


def test_an_address_that_no_subnet_has_is_asked_for_by_one_eni_at_a_time(make_world: Make) -> None:
    """Of two, each would be asked for the one that the node may hold, as soon as both lack none."""
    world = make_world(capacity={**SIZES, "addressesPerENI": 2})
    for n in range(4):
        world.start(f"p{n}", "n1")
    sizes = {**SIZES, "growth": "Elastic", "addressesPerENI": 4, "maxAddressesPerNode": 5}
    change = [{"op": "add", "path": "/spec/capacity", "value": sizes}]
    world.sim.api.patch(ENIPOOLS, "pods", operations=change)
    world.sim.cloud.filled.add(world.sim.subnet.id)
    for n in range(3):
        world.create_pod(f"more{n}", "n1")
    for _ in range(60):
        world.step()
    before = world.sim.cloud.calls["set fixed IPs"]
    for _ in range(300):
        world.step()
    assert world.sim.cloud.calls["set fixed IPs"] - before < 5, (
        "each is refused, and the next waits"
    )
