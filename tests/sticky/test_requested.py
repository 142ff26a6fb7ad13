"""A pod asks for an address by name: it gets this one, or its PodIP and its error say why not."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.names import PODS
from openeni_nodeagent.cni.protocol import CNIError
from openeni_operator.cloud.errors import CloudUnreachableError
from openeni_testing.cloud.faults import Fault
from openeni_testing.sticky.world import KEPT, StickyWorld, Wish

Make = Callable[..., StickyWorld]
FAR = "10.98.1.77"  # in the pods' subnet, on no port


def address_of(world: StickyWorld, node: str) -> str:
    """Return an address of the node's ENI that no pod has."""
    (eni,) = [e for e in world.sim.enis() if e.spec.node_name == node]
    assert eni.status.port is not None
    granted = {a for g in world.agents[node].grants.all() for a in g.addresses}
    return next(a for a in eni.status.port.addresses if a not in granted)


@pytest.mark.parametrize("growth", ["Static", "Elastic"])
def test_one_that_the_node_has_is_given_at_once(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth)
    wanted = address_of(world, "n1")
    assert world.start("db", "n1", seconds=1, address=wanted) == (wanted,)
    podip = world.podip("db")
    assert podip is not None
    assert podip.metadata.owner_references != ()
    world.end("db")
    world.step(60)
    assert world.podip("db") is None


def test_one_that_is_on_no_port_is_added(make_world: Make) -> None:
    world = make_world()
    assert world.start("db", "n1", seconds=60, address=FAR) == (FAR,)
    assert world.node_of(FAR) == "n1"


def test_one_of_each_family(make_world: Make) -> None:
    world = make_world(dual_stack=True)
    wish = f"fd00:98::1:77, {FAR}"
    assert set(world.start("db", "n1", seconds=60, address=wish)) == {FAR, "fd00:98::1:77"}
    (found,) = {len(world.start("v4", "n2", seconds=60, address="10.98.1.78"))}
    assert found == 2, "any of the other family"


def test_one_that_is_free_on_another_node_is_brought(make_world: Make) -> None:
    world = make_world()
    wanted = address_of(world, "n2")
    assert world.start("db", "n1", seconds=90, address=wanted) == (wanted,)


def test_it_is_kept_too_if_the_pod_asks_for_both(make_world: Make) -> None:
    world = make_world()
    wish = Wish(address=FAR, sticky="1h")
    assert world.start("db-0", "n1", seconds=60, **wish) == (FAR,)
    world.end("db-0")
    world.start("p1", "n1")
    assert world.start("db-0", "n2", seconds=90, **wish) == (FAR,)
    world.end("db-0")
    other = Wish(address="10.98.1.99", sticky="1h")
    assert world.start("db-0", "n1", seconds=120, **other) == ("10.98.1.99",)


def waits(world: StickyWorld, name: str, reason: str, seconds: int = 30) -> str:
    """See that the pod waits and why; return the error of its ADD."""
    text = world.refusal(name, seconds)
    assert world.reason(name) == reason
    assert reason in text
    assert world.reason(name, Type.READY) == Reason.WAITING_FOR_ADDRESS
    return text


@pytest.mark.parametrize(("node", "seconds"), [("n1", 60), ("n2", 120)])
def test_one_in_use_on_the_same_or_another_node(make_world: Make, node: str, seconds: int) -> None:
    world = make_world()
    (first,) = world.start("a", node)
    world.create_pod("b", "n1", address=first)
    assert "pod default/a" in waits(world, "b", Reason.ADDRESS_IN_USE)
    world.end("a")
    assert world.retry("b", seconds) == (first,)


def test_one_that_is_kept_for_another_pod(make_world: Make) -> None:
    world = make_world()
    (first,) = world.start("web-0", "n2", sticky="1h")
    world.end("web-0")
    for node in ("n1", "n2"):
        world.create_pod(f"b-{node}", node, address=first)
        assert "pod default/web-0" in waits(world, f"b-{node}", Reason.ADDRESS_IN_USE)
    assert world.start("web-0", "n2", seconds=10, sticky="1h") == (first,)


def test_a_kept_address_follows_its_pod_past_those_who_wait_for_it(make_world: Make) -> None:
    world = make_world()
    first = world.start("web-0", "n1", sticky="1h")
    for n, node in enumerate(["n1", "n2"]):
        world.create_pod(f"thief-{n}", node, address=first[0])
        with pytest.raises(CNIError):
            world.add(f"thief-{n}")
    world.step(5)
    world.end("web-0")
    assert world.start("web-0", "n2", seconds=90, sticky="1h") == first
    both = Wish(sticky="1h", address=first[0])
    world.end("web-0")
    assert world.start("web-0", "n1", seconds=90, **both) == first
    world.end("web-0")
    assert world.start("web-0", "n2", seconds=90, **both) == first


def test_two_pods_ask_for_one_and_the_first_gets_it(make_world: Make) -> None:
    world = make_world()
    world.create_pod("a", "n1", address=FAR)
    with pytest.raises(CNIError):
        world.add("a")
    world.step(2)
    world.create_pod("b", "n2", address=FAR)
    assert world.retry("a", 60) == (FAR,)
    assert "pod default/a" in waits(world, "b", Reason.ADDRESS_IN_USE)
    world.end("a")
    assert world.retry("b", 120) == (FAR,)


def test_a_primary_one(make_world: Make) -> None:
    world = make_world()
    eni = world.sim.enis()[0]
    assert eni.status.port is not None
    world.create_pod("db", "n1", address=eni.status.port.primary[0])
    waits(world, "db", Reason.ADDRESS_IS_PRIMARY)


def test_one_outside_of_the_subnets(make_world: Make) -> None:
    world = make_world()
    world.create_pod("db", "n1", address="192.0.2.7")
    waits(world, "db", Reason.ADDRESS_OUTSIDE_SUBNETS)


def test_one_of_a_port_that_is_not_ours(make_world: Make) -> None:
    world = make_world()
    foreign = world.take_elsewhere(FAR)
    world.create_pod("db", "n1", address=FAR)
    waits(world, "db", Reason.ADDRESS_TAKEN)
    assert world.start("p1", "n1"), "others are served"
    del world.sim.cloud.ports[foreign]
    assert world.retry("db", 150) == (FAR,)


def test_a_static_pool_gives_none_that_the_node_has_not(make_world: Make) -> None:
    world = make_world(growth="Static")
    world.create_pod("db", "n1", address=address_of(world, "n2"))
    waits(world, "db", Reason.MOVE_UNSUPPORTED)


@pytest.mark.parametrize("text", ["", "10.98.0.300", "10.98.0.5,10.98.0.6", "10.98.0.0/24"])
def test_what_is_no_address_is_named(make_world: Make, text: str) -> None:
    world = make_world()
    world.create_pod("db", "n1", address=text)
    with pytest.raises(CNIError) as found:
        world.add("db")
    assert "annotation openeni.io/address" in found.value.details


def test_a_waiting_pod_that_ends_leaves_nothing(make_world: Make) -> None:
    world = make_world()
    world.create_pod("db", "n1", address="192.0.2.7")
    world.refusal("db", 5)
    assert world.podip("db") is not None
    world.sim.api.delete(PODS, "db", "default")
    world.step(10)
    assert world.podip("db") is None
    assert world.agents["n1"].grants.find_retained("default/db", "pods") == ()


@pytest.mark.parametrize("sticky", [Wish(), KEPT])
def test_a_pod_that_waits_has_one_podip(make_world: Make, sticky: Wish) -> None:
    """Also once the operator has said which ENI is to get the address, and while that fails."""
    world = make_world()
    wish: Wish = {**sticky, "address": FAR}
    world.create_pod("db-0", "n1", **wish)
    world.sim.cloud.fail("set fixed IPs", *[Fault(CloudUnreachableError("503"))] * 3)
    made = set[str]()

    def added() -> bool:
        if podip := world.podip("db-0"):
            made.add(podip.metadata.uid)
        try:
            return world.add("db-0") == (FAR,)
        except CNIError:
            return False

    world.until(added, "it starts")
    assert len(made) == 1


@pytest.mark.parametrize(("growth", "node"), [("Static", "n1"), ("Elastic", "n2")])
def test_what_a_pod_had_for_a_moment_is_kept_for_it(
    make_world: Make, growth: str, node: str
) -> None:
    """It has ended before its agent has written the status of its PodIP."""
    world = make_world(growth=growth)
    (address,) = world.start("web", "n1")
    world.end("web")
    wish: Wish = {**KEPT, "address": address}
    world.create_pod("db-0", node, **wish)
    got: list[tuple[str, ...]] = []

    def added() -> bool:
        with suppress(CNIError):
            got.append(world.add("db-0"))
        return bool(got)

    world.until(added, "it starts")
    world.end("db-0")
    world.step()
    assert world.addresses("db-0") == (address,)
