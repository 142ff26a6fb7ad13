"""A pod asks by name for an address that no pod may have, such as its subnet's gateway."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason
from openeni_crds.names import PODIPS
from openeni_operator.cloud.errors import CloudUnreachableError
from openeni_testing.cloud.faults import Fault
from openeni_testing.sticky.world import KEPT, StickyWorld

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


def test_a_failed_read_of_the_network_costs_no_pod_its_address(make_world: Make) -> None:
    world = make_world()
    kept = world.start("web-0", "n1", **KEPT)
    for _ in range(61):
        world.step()  # reads that are shared grow old
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    for _ in range(60):
        if not world.is_on_a_port(kept[0]):
            break
        world.step(0.05)
    world.sim.cloud.fail("get network", Fault(CloudUnreachableError("503")))
    assert world.retry("web-0", 300) == kept


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


def test_a_refusal_that_is_about_another_address_of_the_port_costs_no_pod_its_own(
    make_world: Callable[..., StickyWorld],
) -> None:
    """Somebody has moved a free address of the port a moment ago, and the operator asks for it."""
    world = make_world(capacity={"addressesPerENI": 4, "minAvailable": 2})
    world.start("other", "n1")
    (address,) = world.start("web-0", "n1", **KEPT)
    for _ in range(5):
        world.step()
    (found,) = (e.status.port for e in world.sim.enis() if e.spec.node_name == "n2")
    assert found is not None
    port, free = world.sim.cloud.ports[found.id], found.addresses[-1]
    left = tuple(f for f in port.fixed_ips if f.address != free)
    world.sim.cloud.ports[port.id] = replace(port, fixed_ips=left, revision=port.revision + 1)
    world.take_elsewhere(free)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    assert world.retry("web-0", 100) == (address,)
