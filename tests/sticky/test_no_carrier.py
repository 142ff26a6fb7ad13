"""Pods that keep their address leave an ENI whose NIC has no carrier: its agent grants nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.names import ENIPOOLS, PODS
from openeni_nodeagent.datapath_api import NoCarrierError
from openeni_operator.cloud.errors import CloudUnreachableError
from openeni_testing.cloud.faults import Fault
from openeni_testing.sticky.world import KEPT, StickyWorld, Wish

pytestmark = pytest.mark.usefixtures("carrier_is_lost_at_once")
Make = Callable[..., StickyWorld]
BY_NAME = Wish(sticky="1h", address="10.98.0.77")
TWO = {"addressesPerENI": 4, "minAvailable": 4, "maxENIsPerNode": 3}  # ENIs of each node


def eni_of(world: StickyWorld, address: str) -> str:
    """Return the name of the ENI whose port has the address; "" if none has."""
    enis = world.sim.enis()
    having = (e.name for e in enis if e.status.port and address in e.status.port.addresses)
    return next(having, "")


def lose_carrier(world: StickyWorld, address: str) -> str:
    """Take the carrier of the NIC of node n1 that has the address; return its ENI."""
    eni = eni_of(world, address)
    world.agents["n1"].datapath.eni_errors[eni] = NoCarrierError("NIC ens7 has no carrier")
    world.step(20)
    return eni


@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize("wish", [KEPT, BY_NAME])
def test_a_pod_that_is_made_anew_takes_its_address_along(
    make_world: Make, wish: Wish, node: str
) -> None:
    world = make_world(capacity=TWO)
    (address,) = world.start("web-0", "n1", **wish)
    world.start("web-1", "n1", **KEPT)
    lost = lose_carrier(world, address)
    world.end("web-0")
    assert world.start("web-0", node, 30, **wish) == (address,)
    assert world.node_of(address) == node
    assert eni_of(world, address) != lost


@pytest.mark.parametrize("phase", ["Pending", "Running"])
@pytest.mark.parametrize("first", ["the carrier", "the sandbox"])
def test_a_pod_whose_sandbox_is_restarted_takes_its_address_along(
    make_world: Make, first: str, phase: str
) -> None:
    world = make_world(capacity=TWO)
    (address,) = world.start("web-0", "n1", **KEPT)
    world.set_phase("web-0", phase)
    if first == "the carrier":
        lost = lose_carrier(world, address)
        world.end_sandbox("web-0")
    else:
        world.end_sandbox("web-0")
        world.step()
        lost = lose_carrier(world, address)
    assert world.retry("web-0", 30) == (address,)
    assert eni_of(world, address) != lost


def test_the_operator_looks_after_a_pod_that_waits_as_soon_as_the_carrier_is_lost(
    make_world: Make,
) -> None:
    world = make_world(capacity=TWO)
    (address,) = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    world.step()
    error = NoCarrierError("NIC ens7 has no carrier")
    world.agents["n1"].datapath.eni_errors[eni_of(world, address)] = error
    for _ in range(10):
        world.step(resync=False)
    assert world.add("web-0") == (address,)


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_the_last_address_leaves_its_eni_too(make_world: Make, node: str) -> None:
    """Another takes its place there, as an ENI has one at least. n1 gets another ENI at last."""
    world = make_world(capacity={"addressesPerENI": 4, "minAvailable": 1, "maxENIsPerNode": 2})
    (address,) = world.start("web-0", "n1", **KEPT)
    fields = {"minAvailable": 0, "maxAvailable": 0}
    change = [{"op": "add", "path": f"/spec/capacity/{k}", "value": v} for k, v in fields.items()]
    world.sim.api.patch(ENIPOOLS, "pods", operations=change)
    for _ in range(10):
        world.step(30)
    lose_carrier(world, address)
    world.end("web-0")
    world.create_pod("web-0", node, **KEPT)
    if node == "n1":
        for _ in range(70):
            world.step(10)
    assert world.retry("web-0", 60) == (address,)


def test_on_a_node_without_another_eni_the_address_stays_and_serves_again(
    make_world: Make,
) -> None:
    world = make_world(capacity={"maxENIsPerNode": 1})
    (address,) = world.start("web-0", "n1", **KEPT)
    lost = lose_carrier(world, address)
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    assert "no ENI of node n1 is ready and has room" in world.refusal("web-0", 60)
    assert eni_of(world, address) == lost
    world.agents["n1"].datapath.eni_errors.clear()
    assert world.retry("web-0", 10) == (address,)
    assert eni_of(world, address) == lost


def test_a_pod_that_runs_keeps_its_eni(make_world: Make) -> None:
    """Also if it is still Pending, as other containers of it have not started yet."""
    world = make_world(capacity=TWO)
    (address,) = world.start("web-0", "n1", **KEPT)
    world.set_phase("web-0", "Pending")
    lost = lose_carrier(world, address)
    for _ in range(20):
        world.step()
    assert eni_of(world, address) == lost
    assert world.reason("web-0") == Reason.PLACED


def test_in_a_static_pool_the_podip_says_why_the_pod_waits(make_world: Make) -> None:
    world = make_world(growth="Static", capacity=TWO)
    (address,) = world.start("web-0", "n1", **KEPT)
    lost = lose_carrier(world, address)
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    assert f"{address} is on ENI {lost}, which has no link" in world.refusal("web-0", 30)
    assert world.reason("web-0") == Reason.MOVE_UNSUPPORTED
    world.agents["n1"].datapath.eni_errors.clear()
    assert world.retry("web-0", 10) == (address,)


def test_nor_does_it_blame_the_link_of_an_eni_that_the_address_is_leaving(make_world: Make) -> None:
    world = make_world()
    (address,) = world.start("web-0", "n1", **KEPT)
    world.start("web-1", "n1", **KEPT)
    eni = eni_of(world, address)
    world.sim.cloud.fail("set fixed IPs", *[Fault(CloudUnreachableError("503"))] * 1000)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    world.until(lambda: not eni_of(world, address), "it is leaving")
    world.sim.api.delete(PODS, "web-0", "default")
    world.create_pod("web-0", "n1", **KEPT)
    static = [{"op": "replace", "path": "/spec/capacity/growth", "value": "Static"}]
    world.sim.api.patch(ENIPOOLS, "pods", operations=static)
    assert f"{address} is on ENI {eni}, which gives it up" in world.refusal("web-0", 30)


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize(
    ("port", "size"),
    [({"status": "DOWN"}, 1), ({"status": "DOWN"}, 4), ({"status": "DOWN", "enabled": False}, 4)],
)
def test_its_address_leaves_a_port_that_neutron_has_down_or_disabled(
    make_world: Make, port: dict[str, Any], size: int, others: int
) -> None:
    """A port that stays DOWN is not attached anew before."""
    world = make_world(capacity={"addressesPerENI": size, "minAvailable": 1, "maxENIsPerNode": 3})
    (address,) = world.start("web-0", "n1", **KEPT)
    for n in range(others):
        world.start(f"p{n}", "n1")
    lose_carrier(world, address)
    for found in list(world.sim.cloud.ports.values()):
        if any(f.address == address for f in found.fixed_ips):
            world.sim.cloud.ports[found.id] = replace(found, revision=found.revision + 1, **port)
    for _ in range(12):
        world.step(10)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    assert world.retry("web-0", 300) == (address,)


@pytest.mark.parametrize("refusals", [0, 3])
@pytest.mark.parametrize(
    ("port", "reason"),
    [
        ({"status": "DOWN"}, Reason.PORT_NOT_ACTIVE),
        ({"status": "DOWN", "enabled": False}, Reason.PORT_DISABLED),
    ],
)
def test_such_an_eni_says_so_all_the_time(
    make_world: Make, port: dict[str, Any], reason: Reason, refusals: int
) -> None:
    """Else the pool would plan with it for a moment, and each release would be two events."""
    world = make_world(capacity=TWO)
    (address,) = world.start("web-0", "n1", **KEPT)
    world.start("web-1", "n1", **KEPT)
    lost = lose_carrier(world, address)
    for found in list(world.sim.cloud.ports.values()):
        if any(f.address == address for f in found.fixed_ips):
            world.sim.cloud.ports[found.id] = replace(found, revision=found.revision + 1, **port)
    for _ in range(20):
        world.step(10)
    reasons = set[str]()

    def look(_: str) -> None:
        attached = find(world.sim.eni(lost).status.conditions, Type.ATTACHED)
        reasons.add(attached.reason if attached else "")

    world.sim.store.after_write = look
    world.sim.cloud.fail("set fixed IPs", *[Fault(CloudUnreachableError("503"))] * refusals)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    assert world.retry("web-0", 300) == (address,)
    assert reasons == {reason}


@pytest.mark.parametrize("gap", [1, 2])
def test_it_is_on_a_port_again_although_the_next_link_goes_while_it_moves(
    make_world: Make, gap: int
) -> None:
    world = make_world(capacity=TWO)
    (address,) = world.start("web-0", "n1", **KEPT)
    world.start("web-1", "n1", **KEPT)
    datapath, lost = world.agents["n1"].datapath, NoCarrierError("NIC ens7 has no carrier")
    datapath.eni_errors[eni_of(world, address)] = lost
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    for _ in range(gap):
        world.step()
    datapath.eni_errors |= {e.name: lost for e in world.sim.enis() if e.spec.node_name == "n1"}
    world.until(lambda: world.node_of(address) == "n1", "it is on a port", 10)
    datapath.eni_errors.clear()
    assert world.retry("web-0", 20) == (address,)


def test_pods_that_wait_for_a_link_cost_the_api_server_nothing(
    make_world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(capacity={"maxENIsPerNode": 1})
    (address,) = world.start("web-0", "n1", **KEPT)
    lose_carrier(world, address)
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    world.step(5)
    lists, listed = list[str](), world.sim.api.list

    def noted(*asked: Any, **selectors: Any) -> Any:
        lists.extend(s for s in map(str, selectors.values()) if s.startswith("spec.address"))
        return listed(*asked, **selectors)

    monkeypatch.setattr(world.sim.api, "list", noted)
    for _ in range(30):
        world.step(resync=False)
    assert lists == []
