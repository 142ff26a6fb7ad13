"""An ENI that the operator replaces, since somebody has changed its port, while pods run on it.

It goes after its last pod, as one that is deleted does, and its agent grants nothing of it. So does
one whose port Neutron hides for minutes, so that the ENI gets another one, and shows then, too.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from openeni_crds.conditions import Condition, Reason, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.names import ENIPOOLS, ENIS
from openeni_operator.cloud.api import FixedIP, Port
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    DeniedError,
    OutcomeUnknownError,
    ResourceConflictError,
)
from openeni_testing.cloud.faults import Fault
from openeni_testing.sticky.world import KEPT, StickyWorld

Make = Callable[..., StickyWorld]


def eni_of(world: StickyWorld, address: str) -> str:
    """Return the name of the ENI whose port has the address; "" if none has."""
    enis = world.sim.enis()
    having = (e.name for e in enis if e.status.port and address in e.status.port.addresses)
    return next(having, "")


def break_port(world: StickyWorld, address: str) -> str:
    """Take the primary address off the port that has this one; return its ENI."""
    eni = world.sim.eni(eni_of(world, address))
    assert eni.status.port is not None
    port = world.sim.cloud.ports[eni.status.port.id]
    left = tuple(f for f in port.fixed_ips if f.address not in eni.status.port.primary)
    changed = replace(port, fixed_ips=left, revision=port.revision + 1)
    world.sim.cloud.ports[port.id] = changed
    for _ in range(40):
        world.step(5)
    return eni.name


@pytest.fixture
def world(make_world: Make) -> StickyWorld:
    return make_world()


@pytest.fixture
def broken(world: StickyWorld) -> tuple[str, str]:
    """Return an ENI that is replaced, and the address of web-0 on it; web-1 runs on it, too."""
    (address,) = world.start("web-0", "n1", **KEPT)
    world.start("web-1", "n1", **KEPT)
    return break_port(world, address), address


@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize("away", [0, 40])
def test_a_pod_that_is_made_anew_takes_its_address_along(
    world: StickyWorld, broken: tuple[str, str], node: str, away: int
) -> None:
    eni, address = broken
    world.end("web-0")
    for _ in range(away):
        world.step()
    assert world.start("web-0", node, 60, **KEPT) == (address,)
    assert world.node_of(address) == node
    assert eni in {e.name for e in world.sim.enis()}, "web-1 still runs on it"


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_a_pod_whose_sandbox_is_restarted_takes_its_address_along(
    world: StickyWorld, broken: tuple[str, str], phase: str
) -> None:
    eni, address = broken
    world.end_sandbox("web-0")
    world.set_phase("web-0", phase)
    assert world.retry("web-0", 60) == (address,)
    assert eni_of(world, address) not in {"", eni}


def test_a_rolling_restart_empties_it(world: StickyWorld, broken: tuple[str, str]) -> None:
    eni, _ = broken
    for name in ("web-0", "web-1"):
        had = world.addresses(name)
        world.end(name)
        assert world.start(name, "n1", 60, **KEPT) == had
    world.until(lambda: eni not in {e.name for e in world.sim.enis()}, "it is gone")


def test_one_that_is_as_before_in_time_stays(world: StickyWorld, broken: tuple[str, str]) -> None:
    eni, address = broken
    port = world.sim.eni(eni).status.port
    assert port is not None
    shown = world.sim.cloud.ports[port.id]
    subnet = shown.fixed_ips[0].subnet_id
    primary = tuple(FixedIP(subnet, address) for address in port.primary)
    restored = replace(shown, fixed_ips=(*primary, *shown.fixed_ips), revision=shown.revision + 1)
    world.sim.cloud.ports[port.id] = restored
    world.until(lambda: is_true(world.sim.eni(eni).status.conditions, Type.READY), "it is ready")
    world.end("web-0")
    assert world.start("web-0", "n1", 60, **KEPT) == (address,)
    assert eni_of(world, address) == eni


@pytest.mark.parametrize("growth", ["Elastic", "Static"])
def test_a_pod_keeps_the_port_that_has_its_address(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth)
    (address,) = world.start("web", "n1")
    ports, server = world.sim.cloud.ports, world.server("n1")
    (first,) = (p for p in ports.values() if address in {f.address for f in p.fixed_ips})

    def attached() -> set[str]:
        return {p.id for p in ports.values() if p.device_id == server and p.status == "ACTIVE"}

    world.sim.cloud.hidden.add(first.id)
    world.until(lambda: len(attached()) == 2, "a second port is attached")
    (second,) = attached() - {first.id}
    world.sim.cloud.hidden.clear()
    for _ in range(60):
        world.step(20)
    assert attached() >= {first.id, second}, "a pod has an address of the first"
    assert world.broken == []
    world.end("web")
    world.until(lambda: not attached() & {first.id, second}, "both are removed")


@pytest.fixture
def with_two_ports(make_world: Make) -> tuple[StickyWorld, ENI, str]:
    """Return an ENI with two ports, and the address of web on the second.

    Another pod runs with the first port, which goes together with the second.
    """
    world = make_world(capacity={"addressesPerENI": 4, "minAvailable": 1, "maxENIsPerNode": 3})
    (other,) = world.start("other", "n1")
    ports = world.sim.cloud.ports.values()
    (first,) = (p for p in ports if other in {f.address for f in p.fixed_ips})
    world.sim.cloud.hidden.add(first.id)
    world.until(lambda: not world.sim.process.state.enis_with(other), "its port counts as lost")
    (address,) = world.start("web", "n1", 100, **KEPT)
    world.sim.cloud.hidden.clear()
    for _ in range(60):
        world.step(10)
    (eni,) = world.sim.process.state.enis_with(address)
    assert eni.is_broken
    return world, eni, address


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_what_a_pod_keeps_leaves_an_eni_with_two_ports(
    with_two_ports: tuple[StickyWorld, ENI, str], node: str, *, delete: bool
) -> None:
    world, eni, address = with_two_ports
    if delete:
        world.sim.api.delete(ENIS, eni.name)
        world.step(60)
    world.end("web")
    world.create_pod("web", node, **KEPT)
    assert world.retry("web", 100) == (address,)
    assert world.node_of(world.addresses("other")[0]) == "n1"


@pytest.mark.parametrize(
    ("error", "times"),
    [
        pytest.param(None, 0, id="nothing fails"),
        pytest.param(ResourceConflictError("busy"), 3, id="the change is refused"),
        pytest.param(CloudUnreachableError("503"), 100, id="the cloud is away"),
    ],
)
def test_it_offers_no_address_while_one_leaves_it(
    with_two_ports: tuple[StickyWorld, ENI, str], error: CloudError | None, times: int
) -> None:
    """Both ports stay attached: any version that says otherwise has pods get addresses of it."""
    world, eni, _ = with_two_ports
    offers = list[str]()

    def look(_: str) -> None:
        if (found := world.sim.eni(eni.name)).offers_addresses:
            offers.append(repr(found.status.conditions))

    world.sim.store.after_write = look
    if error is not None:
        world.sim.cloud.fail("set fixed IPs", *[Fault(error)] * times)
    world.end("web")
    world.create_pod("web", "n1", **KEPT)
    for _ in range(60):
        world.step(resync=False)
    assert world.sim.cloud.calls["set fixed IPs"], "it was asked for"
    assert not offers


def test_nor_does_it_wait_for_nova_to_detach_both(
    with_two_ports: tuple[StickyWorld, ENI, str],
) -> None:
    world, eni, address = with_two_ports
    world.sim.cloud.detach_seconds = 150.0
    world.sim.api.delete(ENIS, eni.name)
    world.end("other")
    world.end("web")
    for _ in range(40):
        world.step()
    assert world.start("web", "n1", 15, **KEPT) == (address,)


def test_nor_for_an_address_that_cannot_be_taken_off_before(
    with_two_ports: tuple[StickyWorld, ENI, str],
) -> None:
    world, eni, _ = with_two_ports
    world.sim.api.delete(ENIS, eni.name)
    world.sim.cloud.fail("set fixed IPs", *[Fault(OutcomeUnknownError("no response"))] * 3000)
    world.end("other")
    world.end("web")
    world.create_pod("web", "n1", **KEPT)
    world.until(lambda: eni.name not in {e.name for e in world.sim.enis()}, "it is gone")


@pytest.fixture
def down(make_world: Make) -> tuple[StickyWorld, Port]:
    """Return a node's only port, which has gone DOWN, and whose pod has ended."""
    world = make_world(capacity={"addressesPerENI": 4, "minAvailable": 1, "maxENIsPerNode": 2})
    (address,) = world.start("p0", "n1")
    world.end("p0")
    ports = world.sim.cloud.ports.values()
    (port,) = (p for p in ports if address in {f.address for f in p.fixed_ips})
    changed = replace(port, status="DOWN", revision=port.revision + 1)
    world.sim.cloud.ports[port.id] = changed
    return world, changed


def only_eni(world: StickyWorld) -> ENI:
    (eni,) = (e for e in world.sim.enis() if e.spec.node_name == "n1")
    return eni


def told(world: StickyWorld, type_: Type) -> Condition:
    found = find(only_eni(world).status.conditions, type_)
    assert found is not None
    return found


def test_a_port_that_nova_does_not_detach_is_replaced_and_says_why(
    down: tuple[StickyWorld, Port],
) -> None:
    world, _ = down
    refused = ResourceConflictError("the instance is locked")
    world.sim.cloud.fail("detach port", *[Fault(refused)] * 3000)
    world.create_pod("p1", "n1")
    world.until(lambda: told(world, Type.ATTACHED).reason == Reason.CONFLICT, "it says so")
    assert "is locked" in told(world, Type.ATTACHED).message
    assert world.retry("p1", 700)


def test_one_that_a_paused_pool_does_not_attach_anew_says_so(
    down: tuple[StickyWorld, Port],
) -> None:
    world, _ = down
    eni = only_eni(world).name
    world.until(lambda: world.sim.eni(eni).is_retired_whole, "its agent has given it up")
    paused = [{"op": "add", "path": "/spec/paused", "value": True}]
    world.sim.api.patch(ENIPOOLS, "pods", operations=paused)
    world.until(lambda: told(world, Type.ATTACHED).reason == Reason.PAUSED, "it says so", 700)


def test_why_a_disabled_port_has_not_its_security_groups_is_told(
    down: tuple[StickyWorld, Port],
) -> None:
    """Who is told to enable it has a port without them."""
    world, port = down
    world.sim.cloud.fail("set security groups", *[Fault(DeniedError("forbidden"))] * 3000)
    world.sim.cloud.ports[port.id] = replace(
        port, enabled=False, security_group_ids=frozenset(), revision=port.revision + 1
    )
    world.until(lambda: told(world, Type.UP_TO_DATE).reason == Reason.DENIED, "it says so")
