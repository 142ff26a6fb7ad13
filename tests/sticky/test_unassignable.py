"""A pod asks by name for an address that no pod may have, such as its subnet's gateway."""

from collections.abc import Callable
from dataclasses import replace
from unittest.mock import Mock

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.names import PODIPS
from openeni_operator import claims
from openeni_operator.cloud.api import FixedIP
from openeni_operator.eni import port_calls, port_status
from openeni_operator.podip import placement
from openeni_testing.sticky.world import KEPT, StickyWorld, Wish

Make = Callable[..., StickyWorld]
GATEWAY = "10.98.0.1"
LATER = "10.98.3.77"  # which becomes the gateway


def is_refused(world: StickyWorld, name: str, address: str) -> str:
    """See that the pod waits, and that no port gets the address; return the error of its ADD."""
    text = world.refusal(name, 30)
    assert not world.is_on_a_port(address)
    assert world.reason(name) == Reason.ADDRESS_IS_RESERVED
    assert Reason.ADDRESS_IS_RESERVED in text
    return text


@pytest.mark.parametrize(
    ("address", "role"),
    [
        (GATEWAY, "the gateway"),
        ("10.98.0.0", "the network address"),
        ("10.98.3.255", "the broadcast address"),
        ("fd00:98::1", "the gateway"),
        ("fd00:98::", "the anycast address of the routers"),
    ],
)
def test_it_waits_and_is_told_what_the_address_is(
    make_world: Make, address: str, role: str
) -> None:
    world = make_world(dual_stack=True)
    world.create_pod("db", "n1", address=address)
    assert f"{address} is {role} of subnet" in is_refused(world, "db", address)
    assert world.start("p1", "n1"), "others are served"


def test_a_gateway_that_has_changed_since_the_eni_was_created(make_world: Make) -> None:
    """The ENI's status has the one of before; the cloud is asked for none that is one now."""
    world = make_world()
    subnet = world.sim.cloud.subnets[world.sim.subnet.id]
    world.sim.cloud.subnets[subnet.id] = replace(subnet, gateway=LATER)
    for _ in range(120):
        world.step()  # reads that are shared grow old
    world.create_pod("db", "n1", address=LATER)
    text = world.refusal("db", 30)
    assert f"{LATER} is the gateway of subnet" in text
    assert not world.is_on_a_port(LATER)


def grant_as_before(world: StickyWorld, name: str, wish: Wish) -> None:
    """Have a pod get the gateway as an operator of before did, which knew of no such address."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (claims, placement, port_calls):
            patch.setattr(module, "role_of", Mock(return_value=""))
        patch.setattr(port_status, "unassignable", Mock(return_value=set[str]()))
        assert world.start(name, "n1", seconds=60, **wish) == (GATEWAY,)


def test_one_that_a_pod_has_from_before_leaves_its_port_and_the_pod_is_told(
    make_world: Make,
) -> None:
    world = make_world()
    grant_as_before(world, "db", Wish(address=GATEWAY))
    world.until(lambda: not world.is_on_a_port(GATEWAY), "the port has lost it", 600)
    world.until(lambda: world.reason("db", Type.ADDRESS_LOST) == Reason.PORT_LOST, "it is said")
    assert all("lacks" in text for text in world.broken), "nobody else has it"
    world.broken.clear()
    world.end("db")
    world.create_pod("db", "n1", address=GATEWAY)
    is_refused(world, "db", GATEWAY)


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_one_that_is_kept_from_before_is_kept_no_longer(make_world: Make, node: str) -> None:
    world = make_world()
    grant_as_before(world, "web-0", Wish(address=GATEWAY, sticky="1h"))
    world.end("web-0")
    world.until(lambda: not world.is_on_a_port(GATEWAY), "the port has lost it", 600)
    world.broken.clear()
    assert world.start("web-0", node, seconds=120, **KEPT) != (GATEWAY,)


def test_one_that_an_eni_was_to_get_from_before_is_not_asked_for(make_world: Make) -> None:
    world = make_world()
    (eni,) = (e for e in world.sim.enis() if e.spec.node_name == "n1")
    world.create_pod("db", "n1", address=GATEWAY)
    world.refusal("db", 5)
    chosen = [{"op": "add", "path": "/spec/eniName", "value": eni.name}]
    world.sim.api.patch(PODIPS, "db", "default", operations=chosen)
    puts = world.sim.cloud.calls["set fixed IPs"]
    is_refused(world, "db", GATEWAY)
    assert world.sim.cloud.calls["set fixed IPs"] == puts
    assert world.sim.eni(eni.name).spec.address_count == eni.spec.address_count


def test_one_that_somebody_has_added_to_a_port_is_removed(make_world: Make) -> None:
    world = make_world()
    port = next(iter(world.sim.cloud.ports.values()))
    added = (*port.fixed_ips, FixedIP(world.sim.subnet.id, GATEWAY))
    world.sim.cloud.set_fixed_ips(port.id, added, port.revision)
    world.until(lambda: not world.is_on_a_port(GATEWAY), "it is removed", 900)
