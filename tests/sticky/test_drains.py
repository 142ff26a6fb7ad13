"""Pods that keep their addresses leave a full node, or a full subnet: all arrive, by few calls.

The cloud gives the lowest free address to whoever asks for any: the one that was just released.
"""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.names import NODES
from openeni_testing.controller.checks import change_spec
from openeni_testing.sticky.world import KEPT, StickyWorld

Make = Callable[..., StickyWorld]


def fill_subnet(world: StickyWorld) -> None:
    """Leave no address in the subnet but those that ports have."""
    used = {f.address for port in world.sim.cloud.ports.values() for f in port.fixed_ips}
    numbers = sorted(int(ip_address(address)) for address in used)
    assert numbers[-1] - numbers[0] + 1 == len(numbers), "else some would be free"
    subnet = world.sim.cloud.subnets[world.sim.subnet.id]
    pools = ((str(ip_address(numbers[0])), str(ip_address(numbers[-1]))),)
    world.sim.cloud.subnets[subnet.id] = replace(subnet, pools=pools)


def cordon(world: StickyWorld, node: str) -> None:
    operations = [{"op": "add", "path": "/spec/unschedulable", "value": True}]
    world.sim.api.patch(NODES, node, operations=operations)


def generations(world: StickyWorld, node: str) -> int:
    return sum(e.metadata.generation for e in world.sim.enis() if e.spec.node_name == node)


def move(world: StickyWorld, pods: dict[str, tuple[str, ...]], node: str) -> None:
    """Have the pods, which have these addresses, go to the node, and see that they take them."""
    for name in pods:
        world.end(name)
    for name in pods:
        world.create_pod(name, node, **KEPT)
    assert {name: world.retry(name, 60) for name in pods} == pods


@pytest.mark.parametrize("cordoned", [False, True])
@pytest.mark.parametrize(
    "capacity",
    [
        {"maxAddressesPerNode": 4},
        {"maxAddressesPerNode": 8, "addressesPerENI": 8},
        {"maxAddressesPerNode": 8, "addressesPerENI": 4},
        {"addressesPerENI": 4, "minAvailable": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("dual_stack", [False, True])
def test_all_pods_of_a_node_take_their_addresses_along(
    make_world: Make, capacity: dict[str, Any], cordoned: bool, dual_stack: bool
) -> None:
    world = make_world(capacity=capacity, dual_stack=dual_stack)
    count = capacity.get("maxAddressesPerNode", 4)
    pods = {f"web-{n}": world.start(f"web-{n}", "n1", **KEPT) for n in range(count)}
    if cordoned:
        cordon(world, "n1")
    move(world, pods, "n2")


@pytest.mark.parametrize(
    ("capacity", "kept", "others"),
    [
        ({}, 1, 0),
        ({}, 2, 0),
        ({"maxAddressesPerNode": 4}, 1, 3),
        ({"maxAddressesPerNode": 8, "addressesPerENI": 8}, 1, 6),
        ({"maxAddressesPerNode": 8, "addressesPerENI": 8}, 1, 7),
        ({"maxAddressesPerNode": 8, "addressesPerENI": 8}, 2, 2),
    ],
    ids=str,
)
def test_what_leaves_is_not_taken_back(
    make_world: Make, capacity: dict[str, Any], kept: int, others: int
) -> None:
    world = make_world(capacity=capacity)
    for n in range(others):
        world.start(f"p{n}", "n1")
    pods = {f"web-{n}": world.start(f"web-{n}", "n1", **KEPT) for n in range(kept)}
    before, puts = generations(world, "n1"), world.sim.cloud.calls["set fixed IPs"]
    move(world, pods, "n2")
    world.until(lambda: world.free("n1") > 0, "the node has an address to spare again", 60)
    assert generations(world, "n1") - before <= 4
    assert world.sim.cloud.calls["set fixed IPs"] - puts <= 2 * kept + 3


def test_in_a_full_subnet_an_address_moves_by_two_calls(make_world: Make) -> None:
    world = make_world(capacity={"minAvailable": 2})
    world.start("p0", "n1")
    world.start("p1", "n2")
    first = world.start("web-0", "n1", **KEPT)
    for _ in range(60):
        world.step()
    fill_subnet(world)
    puts = world.sim.cloud.calls["set fixed IPs"]
    move(world, {"web-0": first}, "n2")
    assert world.sim.cloud.calls["set fixed IPs"] - puts == 2


def test_in_a_full_subnet_pods_that_wait_on_the_old_node_do_not_take_it_back(
    make_world: Make,
) -> None:
    world = make_world(capacity={"minAvailable": 1})
    first = world.start("web-0", "n1", **KEPT)
    for n in range(world.free("n1")):
        world.start(f"p{n}", "n1")
    for _ in range(60):
        world.step()
    for n in range(world.free("n1")):
        world.start(f"q{n}", "n1", seconds=1)
    fill_subnet(world)
    world.create_pod("late", "n1")
    puts = world.sim.cloud.calls["set fixed IPs"]
    move(world, {"web-0": first}, "n2")
    assert world.sim.cloud.calls["set fixed IPs"] - puts <= 6


def use_up(world: StickyWorld) -> dict[str, tuple[str, ...]]:
    """Have pods take all addresses of both nodes; return those of n1, which keep theirs."""
    for n in range(world.free("n2")):
        world.start(f"p{n}", "n2", seconds=1)
    kept: dict[str, tuple[str, ...]] = {}
    while world.free("n1"):
        name = f"web-{len(kept)}"
        kept[name] = world.start(name, "n1", seconds=1, **KEPT)
    return kept


def all_but_one_arrive(world: StickyWorld, pods: dict[str, tuple[str, ...]]) -> str:
    """Have the pods go to n2; return the one that waits on, as long as no other is asked for."""
    for name in pods:
        world.end(name)
    for name in pods:
        world.create_pod(name, "n2", **KEPT)
    for _ in range(60):
        world.step()
    (left,) = (name for name in pods if world.reason(name) != Reason.PLACED)
    puts = world.sim.cloud.calls["set fixed IPs"]
    for _ in range(60):
        world.step()
    assert world.sim.cloud.calls["set fixed IPs"] - puts <= 3, "it rests"
    found = world.condition(left, Type.PLACED)
    assert found is not None
    assert "has one address at least" in found.message
    return left


def test_in_a_full_subnet_the_last_one_of_an_eni_waits_and_says_why(make_world: Make) -> None:
    world = make_world(capacity={"addressesPerENI": 16})
    for _ in range(10):
        world.step()
    subnet = world.sim.cloud.subnets[world.sim.subnet.id]
    fill_subnet(world)
    pods = use_up(world)
    left = all_but_one_arrive(world, pods)
    world.sim.cloud.subnets[subnet.id] = subnet
    assert world.retry(left, 400) == pods[left]


def test_in_a_pool_at_its_limit_the_last_one_of_an_eni_waits_and_says_why(
    make_world: Make,
) -> None:
    world = make_world(capacity={"addressesPerENI": 16})
    held = sum(eni.spec.address_count for eni in world.sim.enis())
    change_spec(world.sim, limits={"maxAddresses": held})
    pods = use_up(world)
    left = all_but_one_arrive(world, pods)
    assert world.reason(left) == Reason.POOL_LIMIT
    capacity = find(world.sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    assert capacity is not None
    assert capacity.reason == Reason.POOL_LIMIT
    change_spec(world.sim, limits={"maxAddresses": held + 8})
    assert world.retry(left, 60) == pods[left]
