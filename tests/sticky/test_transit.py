"""An address on its way to another node: no port that lacks any address gets it in between.

The cloud in memory hands out the lowest free address, so each request would.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address

import pytest

from openeni_crds.names import ENIPOOLS, ENIS, PODS
from openeni_operator.cloud.api import FixedIP, Port
from openeni_operator.eni.timing import YIELD_TIME
from openeni_operator.eni.tracker import PortTracker
from openeni_testing.sticky.world import COOL_DOWN, KEPT, StickyWorld, Wish

Make = Callable[..., StickyWorld]
PUT = "set fixed IPs"
FEW = 4  # a release, an arrival, what the old node lacks, and one in vain
SHORT = {"maxENIsPerNode": 1}


def fill(world: StickyWorld) -> None:
    """Leave the subnet no free address: others have those between the ones in use."""
    cloud, subnet = world.sim.cloud, world.sim.subnet
    used = {int(ip_address(f.address)) for port in cloud.ports.values() for f in port.fixed_ips}
    first, last = min(used), max(used)
    cloud.subnets[subnet.id] = replace(
        cloud.subnets[subnet.id], pools=((str(ip_address(first)), str(ip_address(last))),)
    )
    others = tuple(
        FixedIP(subnet.id, str(ip_address(n))) for n in range(first, last) if n not in used
    )
    network, mac = world.sim.network.id, "fa:16:3e:ff:00:02"
    cloud.ports["others"] = Port("others", "theirs", network, mac, fixed_ips=others)


def disable_port(world: StickyWorld, node: str) -> None:
    """Have nothing arrive at the node, while nobody is to blame but the operator and agents."""
    for port in list(world.sim.cloud.ports.values()):
        if port.device_id == world.server(node):
            changed = replace(port, enabled=False, revision=port.revision + 1)
            world.sim.cloud.ports[port.id] = changed
    world.step(60)


def has_left(world: StickyWorld, address: str) -> bool:
    return not world.is_on_a_port(address)


@pytest.mark.parametrize("pods_wait", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_it_arrives_although_its_old_node_lacks_addresses(
    make_world: Make, full: bool, pods_wait: bool
) -> None:
    world = make_world(capacity=SHORT)
    first = world.start("web-0", "n1", **KEPT)
    for name in ("p0", "p1"):
        world.start(name, "n1")
    world.step(60)
    if full:
        fill(world)
    world.end("web-0")
    if pods_wait:
        for name in ("p2", "p3"):
            world.create_pod(name, "n1")
    calls = world.sim.cloud.calls[PUT]
    world.create_pod("web-0", "n2", **KEPT)
    assert world.retry("web-0", 60) == first
    assert world.sim.cloud.calls[PUT] - calls <= FEW
    if pods_wait and not full:
        assert all(world.retry(name, 60) for name in ("p2", "p3"))


def test_a_node_in_a_full_subnet_loses_all_addresses_but_one_and_that_once_there_is_another(
    make_world: Make,
) -> None:
    world = make_world(capacity=SHORT)
    names = ("web-0", "web-1", "web-2", "web-3")
    first = {name: world.start(name, "n1", **KEPT) for name in names}
    fill(world)
    for name in names:
        world.end(name)
    calls = world.sim.cloud.calls[PUT]
    for name in names:
        world.create_pod(name, "n2", **KEPT)
    for name in names[1:]:
        assert world.retry(name, 60) == first[name]
    world.step(60)
    assert world.sim.cloud.calls[PUT] - calls <= FEW + len(names)
    world.sim.cloud.subnets[world.sim.subnet.id] = world.sim.subnet  # it has more addresses
    assert world.retry(names[0]) == first[names[0]]


def test_no_new_port_gets_it(make_world: Make) -> None:
    world = make_world(capacity={"addressesPerENI": 2})
    first = world.start("web-0", "n1", **KEPT)
    world.start("p0", "n1")
    world.end("web-0")
    away = world.agents.pop("n2")
    world.create_pod("web-0", "n2", **KEPT)
    world.until(partial(has_left, world, first[0]), "it has left")
    for name in ("p1", "p2", "p3"):
        world.create_pod(name, "n1")
    for _ in range(10):
        world.step()
    world.agents["n2"] = away
    assert world.retry("web-0", 60) == first
    assert all(world.retry(name, 60) for name in ("p1", "p2", "p3"))


@pytest.mark.parametrize("wish", [KEPT, Wish(address="10.98.0.3")])
def test_the_new_port_of_its_node_has_it_for_its_pod(make_world: Make, wish: Wish) -> None:
    """And not as its own address, which is the lowest one but for this."""
    world = make_world(capacity=SHORT)
    (address,) = world.start("web-0", "n1", **wish)
    world.end("web-0")
    world.step(2 * COOL_DOWN)
    world.sim.cloud.quota = 0
    (eni,) = (eni for eni in world.sim.enis() if eni.spec.node_name == "n2")
    world.sim.api.delete(ENIS, eni.name)
    world.create_pod("web-0", "n2", **wish)
    world.refusal("web-0", 20)
    assert has_left(world, address)
    world.sim.cloud.quota = 500
    assert world.retry("web-0", 60) == (address,)


def test_no_eni_of_another_pool_in_its_network_gets_it(make_world: Make) -> None:
    world = make_world(capacity=SHORT)
    other = {"growth": "Elastic", "addressesPerENI": 8, "minAvailable": 1, "maxENIsPerNode": 1}
    nobody = {"matchLabels": {"x": "y"}}
    world.sim.add_pool("other", capacity=other, reclaim={"policy": "Never"}, podSelector=nobody)
    for _ in range(90):
        world.step()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    away = world.agents.pop("n2")
    world.create_pod("web-0", "n2", **KEPT)
    world.until(partial(has_left, world, first[0]), "it has left")
    more = [{"op": "replace", "path": "/spec/capacity/minAvailable", "value": 4}]
    world.sim.api.patch(ENIPOOLS, "other", operations=more)
    for _ in range(10):
        world.step()
    world.agents["n2"] = away
    assert world.retry("web-0", 120) == first


def test_no_new_eni_of_another_pool_gets_it_not_even_on_its_node(make_world: Make) -> None:
    world = make_world(capacity=SHORT)
    first = world.start("web-0", "n1", **KEPT)
    world.step(60)
    world.end("web-0")
    away = world.agents.pop("n2")
    world.create_pod("web-0", "n2", **KEPT)
    world.until(partial(has_left, world, first[0]), "it has left")
    world.sim.add_pool("other", podSelector={"matchLabels": {"x": "y"}})
    for _ in range(10):
        world.step()
    world.agents["n2"] = away
    assert world.retry("web-0", 120) == first


def lose_node_of_two_pools(
    make_world: Make, other: str, first: Sequence[str] = ()
) -> tuple[StickyWorld, dict[str, tuple[str, ...]]]:
    """Have a kept pod of each pool come to n4 from a node that is lost; return their addresses.

    The `first` pods of the other pool run there before. The kept ones are named after their pools.
    """
    world, sizes = make_world(), {"growth": "Elastic", "addressesPerENI": 4, "minAvailable": 0}
    change = [{"op": "add", "path": "/spec/capacity", "value": sizes}]
    world.sim.api.patch(ENIPOOLS, "pods", operations=change)
    never = {"policy": "Never"}
    world.sim.add_pool(other, podSelector=None, capacity=sizes, reclaim=never, coolDown="30s")
    for node in ("n3", "n4"):
        world.add_node(node)
    pools = sorted(("pods", other))
    kept = {pool: world.start(pool, "n3", sticky="1h", pool=pool) for pool in pools}
    for name in first:
        world.start(name, "n4", pool=other)
    world.remove_node("n3")
    for name in pools:
        world.sim.api.delete(PODS, name, "default")
    world.until(lambda: not any(map(world.is_on_a_port, sum(kept.values(), ()))), "it is lost")
    for pool in pools:
        world.create_pod(pool, "n4", sticky="1h", pool=pool)
    return world, kept


@pytest.mark.parametrize("other", ["another", "zone-b"])
def test_first_enis_of_two_pools_do_not_wait_for_each_other(make_world: Make, other: str) -> None:
    """Each would leave alone the address that comes to the other one, for half a minute."""
    world, kept = lose_node_of_two_pools(make_world, other)
    begin = world.sim.cloud.clock.now
    got = {pool: world.retry(pool) for pool in kept}
    assert world.sim.cloud.clock.now - begin < 20
    first = min(kept)
    assert got[first] == kept[first]


@pytest.mark.parametrize("other", ["another", "zone-b"])
def test_the_second_eni_of_a_pool_waits_for_the_address_that_comes_to_the_first_of_another(
    make_world: Make, other: str
) -> None:
    world, kept = lose_node_of_two_pools(make_world, other, ["first"])
    for n in range(6):
        world.create_pod(f"p{n}", "n4", pool=other)
    assert {pool: world.retry(pool) for pool in kept} == kept


def test_what_cannot_arrive_keeps_other_pods_waiting_for_a_moment_alone(make_world: Make) -> None:
    world = make_world(capacity=SHORT)
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    away = world.agents.pop("n2")
    world.create_pod("web-0", "n2", **KEPT)
    world.until(partial(has_left, world, first[0]), "it has left")
    for name in ("p0", "p1", "p2"):
        world.start(name, "n1", 60)
    world.agents["n2"] = away
    assert world.retry("web-0", 120)


def test_a_new_node_gets_its_eni_although_there_is_always_another_that_cannot_arrive(
    make_world: Make,
) -> None:
    world = make_world(capacity=SHORT)
    kept = {name: world.start(name, "n1", **KEPT)[0] for name in ("web-0", "web-1", "web-2")}
    for name in kept:
        world.end(name)
    del world.agents["n2"]
    for name, address in kept.items():
        world.create_pod(name, "n2", **KEPT)
        world.until(partial(has_left, world, address), "it has left")
        if name == "web-0":
            world.sim.add_node("n3")
        for _ in range(20):
            world.step()
    assert [e for e in world.sim.enis() if e.spec.node_name == "n3" and e.status.port]


def test_each_address_holds_an_eni_up_once_and_all_of_them_for_half_of_the_time() -> None:
    tracker, a, b = PortTracker("uid"), frozenset({"10.98.0.5"}), frozenset({"10.98.0.6"})
    assert not tracker.yields(0, frozenset(), asks=True)
    assert tracker.yields(1, a, asks=True)
    assert not tracker.yields(1 + YIELD_TIME, a, asks=True), "it does not arrive"
    assert not tracker.yields(2 + YIELD_TIME, a | b, asks=True), "there is always another one"
    assert tracker.yields(1 + 2 * YIELD_TIME, a | b, asks=True), "that was time enough to ask"
    assert not tracker.yields(2 + 2 * YIELD_TIME, a | b, asks=True), "nor does the other"
    assert not tracker.yields(3 + 2 * YIELD_TIME, b, asks=True), "the first has arrived"
    assert not tracker.yields(4 + 2 * YIELD_TIME, frozenset(), asks=True)
    assert tracker.yields(5 + 2 * YIELD_TIME, a, asks=True), "and goes on its way again"


def test_what_was_in_transit_while_an_eni_lacked_nothing_has_not_held_it_up() -> None:
    tracker, a, b = PortTracker("uid"), frozenset({"10.98.0.5"}), frozenset({"10.98.0.6"})
    assert not tracker.yields(0, a, asks=False)
    assert tracker.yields(1 + YIELD_TIME, a | b, asks=True)
    assert not tracker.yields(2 + 2 * YIELD_TIME, a, asks=True)


def test_one_that_never_arrives_does_not_expose_the_next_one() -> None:
    tracker, a, b = PortTracker("uid"), frozenset({"10.98.0.5"}), frozenset({"10.98.0.6"})
    assert tracker.yields(0, a, asks=True)
    assert not tracker.yields(10 * YIELD_TIME, a, asks=True)
    assert tracker.yields(11 * YIELD_TIME, a | b, asks=True)
