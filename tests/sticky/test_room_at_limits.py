"""Where nothing more may be held, room for an address is made once, and none is planned away."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

import pytest

from openeni_crds.names import ENIPOOLS, ENIS, PODS
from openeni_nodeagent.cni.protocol import CNIError
from openeni_operator.cloud.api import FixedIP, Port
from openeni_operator.cloud.errors import InvalidRequestError
from openeni_operator.eni.report import held_by
from openeni_testing.sticky.world import KEPT, StickyWorld

Make = Callable[..., StickyWorld]
FAR = "10.98.1.77"  # in the pods' subnet, on no port
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


def use_up_allocation_pool(world: StickyWorld) -> None:
    """Have others take all that is left of the subnet's allocation pool, which FAR is not in."""
    cloud, subnet = world.sim.cloud, world.sim.subnet
    low, high = ip_address("10.98.0.2"), ip_address("10.98.0.254")
    cloud.subnets[subnet.id] = replace(subnet, pools=((str(low), str(high)),))
    taken = {fixed.address for port in cloud.ports.values() for fixed in port.fixed_ips}
    free = {str(ip_address(n)) for n in range(int(low), int(high) + 1)} - taken
    fixed_ips = tuple(FixedIP(subnet.id, address) for address in sorted(free))
    network, mac = world.sim.network.id, "fa:16:3e:ff:00:01"
    cloud.ports["foreign"] = Port("foreign", "theirs", network, mac, fixed_ips=fixed_ips)


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


@pytest.mark.parametrize("ended", [[], ["p0"]], ids=["none free", "one free"])
def test_what_is_asked_for_in_vain_gives_way_to_an_address_by_name(
    make_world: Make, ended: list[str]
) -> None:
    """Spare addresses, which the allocation pool has not, take up what the pool may still hold."""
    sizes = {**SIZES, "addressesPerENI": 2, "maxAddressesPerNode": 20}
    world = make_world(capacity=sizes)
    for n in range(4):
        world.start(f"p{n}", "n1")
    world.step(5)
    use_up_allocation_pool(world)
    total = sum(held_by(eni) for eni in world.sim.enis())
    limit_pool(world, total + 2)
    change = {**sizes, "growth": "Elastic", "addressesPerENI": 4}
    world.sim.api.patch(
        ENIPOOLS, "pods", operations=[{"op": "add", "path": "/spec/capacity", "value": change}]
    )
    world.step(90)
    for name in ended:
        world.end(name)
    world.step(90)
    assert held(world) == total
    world.create_pod("db", "n1", address=FAR)
    assert start_all(world, ["db"], 180) == {"db": (FAR,)}


def test_a_port_at_neutrons_limit_is_not_asked_for_more_once_a_minute(
    make_world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even beside a pod that asks for an address by name, which is refused as well."""
    world = make_world(capacity={"addressesPerENI": 6, "minAvailable": 1, "maxENIsPerNode": 1})
    cloud, work = world.sim.cloud, world.sim.cloud.set_fixed_ips

    def set_fixed_ips(port_id: str, fixed_ips: tuple[FixedIP, ...], revision: int) -> Port:
        if len(fixed_ips) > 5:
            raise InvalidRequestError("Exceeded maximum amount of fixed ips per port.")
        return work(port_id, fixed_ips, revision)

    monkeypatch.setattr(cloud, "set_fixed_ips", set_fixed_ips)
    for n in range(4):
        world.start(f"p{n}", "n1")
    world.create_pod("db", "n1", address=FAR)
    assert start_all(world, ["db"], 300) == {}
    before = {eni.name: eni.metadata.generation for eni in world.sim.enis()}
    assert start_all(world, ["db"], 300) == {}
    assert {eni.name: eni.metadata.generation for eni in world.sim.enis()} == before


def test_a_pod_that_asks_for_anothers_address_keeps_no_node_from_giving_back(
    make_world: Make,
) -> None:
    """Nobody is asked for what a pod has, and no request has to be corrected for it."""
    world = make_world(capacity={"addressesPerENI": 8, "minAvailable": 1, "maxAvailable": 2})
    (address,) = world.start("p0", "n1")
    for n in range(1, 6):
        world.start(f"p{n}", "n1")
    world.create_pod("db", "n2", address=address)
    start_all(world, ["db"], 5)
    limit_pool(world, sum(held_by(eni) for eni in world.sim.enis()))
    for n in range(1, 6):
        world.end(f"p{n}")
    waiting = [f"w{n}" for n in range(5)]
    for name in waiting:
        world.create_pod(name, "n2")
    assert set(start_all(world, ["db", *waiting], 300)) == set(waiting)
    assert world.free("n1") <= 2
