"""A pod that keeps its address comes back on another node, and the address follows it."""

from collections.abc import Callable

import pytest

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.names import ENIPOOLS, ENIS, PODIPS, PODS
from openeni_testing.controller.checks import change_spec
from openeni_testing.sticky.world import KEPT, StickyWorld

Make = Callable[..., StickyWorld]


@pytest.mark.parametrize("dual_stack", [False, True])
def test_the_address_follows_the_pod(make_world: Make, dual_stack: bool) -> None:
    world = make_world(dual_stack=dual_stack)
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    assert world.start("web-0", "n2", seconds=60, **KEPT) == first
    assert {world.node_of(address) for address in first} == {"n2"}
    podip = world.podip("web-0")
    assert podip is not None
    assert podip.spec.node_name == "n2"
    world.step(5)
    assert world.reason("web-0", Type.READY) == Reason.READY
    world.end("web-0")
    assert world.start("web-0", "n1", seconds=60, **KEPT) == first, "and back"


def test_it_follows_while_a_pod_of_its_old_node_waits_for_one(make_world: Make) -> None:
    world = make_world(capacity={"addressesPerENI": 1, "maxENIsPerNode": 1})
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.create_pod("db-0", "n1")
    world.create_pod("web-0", "n2", **KEPT)
    assert world.retry("web-0", 120) == first
    assert world.retry("db-0", 120) != first


def test_several_pods_that_change_places_take_their_addresses_along(make_world: Make) -> None:
    world = make_world()
    pods = {f"web-{n}": "n1" if n % 2 else "n2" for n in range(4)}
    had = {name: world.start(name, node, **KEPT) for name, node in pods.items()}
    for name in pods:
        world.end(name)
    for name, node in pods.items():
        world.create_pod(name, "n2" if node == "n1" else "n1", **KEPT)
    assert {name: world.retry(name, 200) for name in pods} == had


def test_a_pod_that_does_not_keep_its_address_asks_for_none_of_another_node(
    make_world: Make,
) -> None:
    """As docs/sticky.md says: its PodIP comes once the one of its name is deleted."""
    world = make_world()
    first = world.start("web-0", "n1", sticky="Forever")
    world.end("web-0")
    other = world.start("web-0", "n2")
    assert other != first
    world.step(30)
    assert world.addresses("web-0") == first
    world.sim.api.delete(PODIPS, "web-0", "default")
    world.until(lambda: world.addresses("web-0") == other, "it has its own PodIP")


def test_it_leaves_a_node_that_is_gone(make_world: Make) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.remove_node("n1")
    world.sim.api.delete(PODS, "web-0", "default")  # as Kubernetes' pod garbage collector does
    assert world.start("web-0", "n2", **KEPT) == first


def test_what_is_kept_for_a_pod_whose_node_is_gone_is_said_to_be_on_no_port(
    make_world: Make,
) -> None:
    """No port holds it any more, so somebody may be faster than the pod."""
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.remove_node("n1")
    world.until(lambda: not world.is_on_a_port(first[0]), "its port is gone")
    world.until(lambda: world.reason("web-0") == Reason.ADDRESS_NOT_ON_PORT, "its PodIP says so")
    assert world.start("web-0", "n2", seconds=120, **KEPT) == first
    world.until(lambda: world.reason("web-0") != Reason.ADDRESS_NOT_ON_PORT, "all is well again")


def test_what_is_kept_on_an_eni_that_is_lost_comes_to_another_one_of_its_node(
    make_world: Make,
) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    podip = world.podip("web-0")
    assert podip is not None
    world.sim.api.delete(ENIS, podip.spec.eni_name)
    world.until(lambda: not world.is_on_a_port(first[0]), "its port is gone")
    world.until(lambda: world.is_on_a_port(first[0]), "another port has it")
    assert world.start("web-0", "n1", **KEPT) == first


def test_a_static_pool_moves_nothing_and_says_so(make_world: Make) -> None:
    world = make_world(growth="Static")
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    text = world.refusal("web-0", 30)
    assert "its PodIP, or delete that PodIP" in text
    assert world.reason("web-0") == Reason.MOVE_UNSUPPORTED
    assert world.node_of(first[0]) == "n1"
    world.sim.api.delete(PODIPS, "web-0", "default")
    assert world.retry("web-0", 30) != first


def test_a_pod_that_returns_before_the_move_began_stays(make_world: Make) -> None:
    world = make_world(growth="Static")
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    world.refusal("web-0", 5)
    world.end("web-0")
    assert world.start("web-0", "n1", seconds=10, **KEPT) == first


@pytest.mark.parametrize("steps", range(12))
def test_a_pod_that_changes_its_mind_has_its_address_in_the_end(
    make_world: Make, steps: int
) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    world.step(0.5)
    for _ in range(steps):
        world.step(0.5)
    world.end("web-0")
    assert world.start("web-0", "n1", seconds=120, **KEPT) == first


def test_while_the_pool_is_paused_it_waits(make_world: Make) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    paused = [{"op": "add", "path": "/spec/paused", "value": True}]
    world.sim.api.patch(ENIPOOLS, "pods", operations=paused)
    world.create_pod("web-0", "n2", **KEPT)
    world.refusal("web-0", 30)
    assert world.reason("web-0") == Reason.PAUSED
    resumed = [{"op": "add", "path": "/spec/paused", "value": False}]
    world.sim.api.patch(ENIPOOLS, "pods", operations=resumed)
    assert world.retry("web-0", 60) == first


def test_without_the_old_nodes_agent_it_waits(make_world: Make) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    silent = world.agents.pop("n1")
    world.create_pod("web-0", "n2", **KEPT)
    world.refusal("web-0", 30)
    assert world.reason("web-0") == Reason.WAITING_FOR_RELEASE
    found = world.condition("web-0", Type.PLACED)
    assert found is not None
    assert "n1" in found.message
    world.agents["n1"] = silent
    assert world.retry("web-0", 60) == first


def test_the_new_node_gets_it_once_its_agent_knows_for_whom_it_is(make_world: Make) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    behind = world.agents.pop("n2")
    world.create_pod("web-0", "n2", **KEPT)
    for _ in range(30):
        world.step()
    podip = world.podip("web-0")
    assert podip is not None
    assert podip.spec.node_name == "n2"
    assert not world.is_on_a_port(first[0])
    world.agents["n2"] = behind
    assert world.start("p", "n2") != first
    assert world.retry("web-0", 60) == first


def test_if_somebody_takes_the_address_on_its_way_the_pod_gets_another(make_world: Make) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    taken: list[str] = []

    def take(called: str) -> None:
        world.check(called)
        gone = not world.node_of(first[0])
        if called == "set fixed IPs" and gone and not taken:
            taken.append(world.take_elsewhere(first[0]))

    world.sim.cloud.observe = take
    world.create_pod("web-0", "n2", **KEPT)
    second = world.retry("web-0", 200)
    assert taken
    assert second != first
    events = [(e.reason, e.note) for e in world.sim.process.recorded.events]
    assert any(r == Reason.ADDRESS_TAKEN and first[0] in note for r, note in events), events


UNUSED = "10.98.1.77"
ROOMY = {"addressesPerENI": 8, "minAvailable": 2}
FULL = {"addressesPerENI": 4, "minAvailable": 2, "maxAddressesPerNode": 4}


def test_on_a_node_that_may_hold_no_more_it_takes_the_place_of_a_free_one(
    make_world: Make,
) -> None:
    world = make_world(capacity=FULL)
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    assert world.free("n2") == 4
    assert world.start("web-0", "n2", seconds=90, **KEPT) == first
    for n in range(3):
        world.start(f"p{n}", "n2", seconds=60)
    assert world.free("n2") == 0


def test_on_a_node_whose_addresses_pods_have_the_pool_says_that_it_is_full(
    make_world: Make,
) -> None:
    world = make_world(capacity=FULL)
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    for n in range(4):
        world.start(f"p{n}", "n2", seconds=60)
    world.create_pod("web-0", "n2", **KEPT)
    world.refusal("web-0", 30)
    found = find(world.sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    assert found.reason == world.reason("web-0") == Reason.NODE_LIMIT
    world.end("p0")
    assert world.retry("web-0", 90) == first


def limit_to_what_it_has(world: StickyWorld) -> None:
    """Let the pool get no address more than its ENIs hold."""
    held = sum(eni.spec.address_count for eni in world.sim.enis())
    change_spec(world.sim, limits={"maxAddresses": held})


def test_in_a_pool_that_may_get_no_more_a_requested_one_takes_the_place_of_a_free_one(
    make_world: Make,
) -> None:
    world = make_world(capacity=ROOMY)
    limit_to_what_it_has(world)
    free = world.free("n1")
    assert world.start("web-0", "n1", seconds=90, address=UNUSED) == (UNUSED,)
    assert world.free("n1") == free - 1
    assert not is_limited(world), "the pool has room for its pods again"


def test_in_a_pool_that_may_get_no_more_a_kept_one_moves(make_world: Make) -> None:
    world = make_world(capacity=ROOMY)
    first = world.start("web-0", "n1", **KEPT)
    limit_to_what_it_has(world)
    world.end("web-0")
    assert world.start("web-0", "n2", seconds=120, **KEPT) == first


def test_in_a_pool_whose_addresses_pods_have_the_podip_says_that_it_is_full(
    make_world: Make,
) -> None:
    world = make_world(capacity=ROOMY)
    limit_to_what_it_has(world)
    for n in range(world.free("n1")):
        world.start(f"p{n}", "n1", seconds=60)
    world.create_pod("web-0", "n1", address=UNUSED)
    assert "spec.limits.maxAddresses" in world.refusal("web-0", 60)
    assert world.reason("web-0") == Reason.POOL_LIMIT
    world.end("p0")
    assert world.retry("web-0", 200) == (UNUSED,)
    world.until(lambda: world.reason("web-0") == Reason.PLACED, "it says so", 60)


def is_limited(world: StickyWorld) -> bool:
    found = find(world.sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    return found is not None and found.reason == Reason.POOL_LIMIT
