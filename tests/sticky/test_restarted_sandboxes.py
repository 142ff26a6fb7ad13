"""A pod that runs, and whose sandbox or node was restarted: it is not Pending while it waits."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.names import ENIS, PODS
from openeni_operator.claims import in_transit
from openeni_operator.cluster_state import WATCHED_KINDS
from openeni_testing.sticky.world import KEPT, StickyWorld, Wish

Make = Callable[..., StickyWorld]
BY_NAME = Wish(address="10.98.0.77")
BOTH = Wish(sticky="1h", address="10.98.0.77")


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_an_address_by_name_that_has_left_its_node_comes_back(make_world: Make, phase: str) -> None:
    world = make_world()
    (address,) = world.start("db", "n1", **BY_NAME)
    world.end_sandbox("db")
    world.set_phase("db", phase)
    world.lose_port(address)
    assert world.retry("db", 120) == (address,)


@pytest.mark.parametrize("phase", ["Pending", "Running"])
@pytest.mark.parametrize("wish", [BY_NAME, BOTH, KEPT])
def test_on_a_node_that_may_hold_no_more_it_takes_the_place_of_a_free_one(
    make_world: Make, wish: Wish, phase: str
) -> None:
    full = {"addressesPerENI": 4, "minAvailable": 2, "maxAddressesPerNode": 4, "maxENIsPerNode": 1}
    world = make_world(capacity=full)
    world.start("db", "n1", **BOTH)
    world.end("db")
    (address,) = world.start("db", "n1", **wish)
    world.end_sandbox("db")
    world.set_phase("db", phase)
    world.lose_port(address)
    assert world.retry("db", 120) == (address,)


def test_what_a_pod_asked_for_is_claimed_by_nobody_once_it_is_gone(make_world: Make) -> None:
    """Although its PodIP stays for as long as the agent of its node is away."""
    world = make_world(capacity={"maxENIsPerNode": 1})
    world.start("web-0", "n1", **KEPT)
    (going, staying) = sorted(world.sim.enis(), key=lambda eni: eni.spec.node_name)
    world.sim.api.delete(ENIS, going.name)
    world.create_pod("db", "n1", **BY_NAME)
    assert "no ENI of node n1 is ready and has room" in world.refusal("db", 5)
    assert in_transit(world.sim.process.state, staying) == {"10.98.0.77"}
    del world.agents["n1"]
    world.sim.api.delete(PODS, "db", "default")
    world.until(lambda: world.reason("db") == Reason.RETAINED, "its PodIP says so")
    assert in_transit(world.sim.process.state, staying) == frozenset()


def test_while_somebody_else_has_it_the_podip_says_so(make_world: Make) -> None:
    world = make_world()
    (address,) = world.start("db", "n1", **BY_NAME)
    world.end_sandbox("db")
    world.lose_port(address)
    foreign = world.take_elsewhere(address)
    assert Reason.ADDRESS_TAKEN in world.refusal("db", 60)
    assert world.reason("db") == Reason.ADDRESS_TAKEN
    del world.sim.cloud.ports[foreign]
    assert world.retry("db", 200) == (address,)


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_a_pod_whose_kept_address_others_have_gets_another_one(
    make_world: Make, phase: str
) -> None:
    world = make_world()
    (address,) = world.start("web-0", "n1", **KEPT)
    world.lose_port(address)
    world.take_elsewhere(address)
    world.until(lambda: world.reason("web-0", Type.ADDRESS_LOST) == "PortLost", "it is told")
    world.broken.clear()  # the loss itself
    world.end_sandbox("web-0")
    world.set_phase("web-0", phase)
    assert world.retry("web-0", 200) != (address,)
    assert world.reason("web-0", Type.READY) == Reason.READY


def test_what_others_have_is_kept_for_a_pod_that_is_away(make_world: Make) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.lose_port(first[0])
    foreign = world.take_elsewhere(first[0])
    world.step(120)
    assert world.addresses("web-0") == first
    del world.sim.cloud.ports[foreign]
    assert world.start("web-0", "n1", 200, **KEPT) == first


def test_placed_says_so_if_what_is_kept_for_a_pod_that_is_away_is_lost(make_world: Make) -> None:
    world = make_world()
    (address,) = world.start("web-0", "n1", **KEPT)
    world.set_phase("web-0", "Pending")  # for a moment after its ADD
    world.until(lambda: world.reason("web-0") == Reason.PLACED, "it is there")
    world.set_phase("web-0", "Running")
    world.end("web-0")
    world.lose_port(address)
    foreign = world.take_elsewhere(address)
    for _ in range(20):
        world.step()
        assert world.reason("web-0") == Reason.ADDRESS_NOT_ON_PORT
    del world.sim.cloud.ports[foreign]
    world.until(lambda: world.reason("web-0") == Reason.PLACED, "it is there again")


def test_the_operator_asks_for_no_pod_whose_address_is_on_its_node(make_world: Make) -> None:
    world = make_world()
    for n in range(3):
        world.start(f"web-{n}", "n1", **KEPT)
    world.start("db", "n2", **BY_NAME)
    world.end("web-0")
    world.end_sandbox("web-1")
    for _ in range(5):
        world.step()
    before = world.sim.store.reads
    for _ in range(20):
        world.step()  # each begins with a look at every PodIP
    assert world.sim.store.reads == before


def lose_for_good(world: StickyWorld, address: str) -> None:
    """Have somebody else get the address that is kept for web-0, which is away."""
    world.end("web-0")
    world.lose_port(address)
    world.take_elsewhere(address)
    for _ in range(5):
        world.step()


def test_the_operator_asks_once_for_a_pod_that_is_gone(make_world: Make) -> None:
    world = make_world()
    (address,) = world.start("web-0", "n1", **KEPT)
    lose_for_good(world, address)
    before = world.sim.store.reads
    for _ in range(20):
        world.step()  # each begins with a look at every PodIP
    assert world.sim.store.reads == before


def test_a_pod_that_a_restored_etcd_brings_back_is_found(make_world: Make) -> None:
    world = make_world()
    (address,) = world.start("web-0", "n1", **KEPT)
    backup = world.sim.api.backup()
    lose_for_good(world, address)
    world.sim.api.restore(backup)
    for kind in WATCHED_KINDS:
        world.sim.process.state.rewind(kind)
    assert world.retry("web-0", 200) != (address,)


def test_also_if_it_is_lost_from_a_port_that_stays(make_world: Make) -> None:
    world = make_world()
    (address,) = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    assert world.condition("web-0", Type.PLACED) is None, "no pod has waited for it"
    for port in tuple(world.sim.cloud.ports.values()):
        left = tuple(f for f in port.fixed_ips if f.address != address)
        if left != port.fixed_ips:
            changed = replace(port, fixed_ips=left, revision=port.revision + 1)
            world.sim.cloud.ports[port.id] = changed
    foreign = world.take_elsewhere(address)
    world.until(lambda: world.reason("web-0") == Reason.ADDRESS_NOT_ON_PORT, "Placed says so")
    del world.sim.cloud.ports[foreign]
    world.until(lambda: world.reason("web-0") == Reason.PLACED, "it is there again")
