"""An ENI that somebody deletes: pods that are restarted leave it, while others run on.

Its agent grants nothing of it any more, and it goes after its last pod.
"""

from collections.abc import Callable
from functools import partial

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.names import ENIS
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    OutcomeUnknownError,
    RevisionConflictError,
)
from openeni_testing.cloud.faults import Fault
from openeni_testing.sticky.world import COOL_DOWN, KEPT, StickyWorld, Wish

Make = Callable[..., StickyWorld]
BY_NAME = Wish(sticky="1h", address="10.98.0.77")
CRASHES = 25  # calls and writes of such a move, and some after it


def eni_of(world: StickyWorld, address: str) -> str:
    """Return the name of the ENI whose port has the address; "" if none has."""
    enis = world.sim.enis()
    having = (e.name for e in enis if e.status.port and address in e.status.port.addresses)
    return next(having, "")


def delete_eni(world: StickyWorld, wish: Wish = KEPT) -> tuple[str, str]:
    """Delete the ENI that two pods run on; return it, and the address of web-0."""
    (address,) = world.start("web-0", "n1", **wish)
    world.start("web-1", "n1", **KEPT)
    eni = eni_of(world, address)
    world.sim.api.delete(ENIS, eni)
    for _ in range(20):
        world.step()
    return eni, address


def is_gone(world: StickyWorld, eni: str) -> bool:
    return eni not in {e.name for e in world.sim.enis()}


@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize("wish", [KEPT, BY_NAME])
def test_a_pod_that_is_made_anew_takes_its_address_along(
    make_world: Make, wish: Wish, node: str
) -> None:
    world = make_world()
    eni, address = delete_eni(world, wish)
    world.end("web-0")
    assert world.start("web-0", node, 30, **wish) == (address,)
    assert world.node_of(address) == node
    assert not is_gone(world, eni), "web-1 still runs on it"


def test_a_pod_whose_sandbox_is_restarted_takes_its_address_along(make_world: Make) -> None:
    world = make_world()
    eni, address = delete_eni(world)
    world.end_sandbox("web-0")
    world.step()
    assert world.retry("web-0", 30) == (address,)
    assert eni_of(world, address) not in {"", eni}


@pytest.mark.parametrize("later", range(3))
def test_no_other_node_gets_what_a_pod_that_is_started_again_takes_along(
    make_world: Make, later: int
) -> None:
    """It is on no port for a moment, and its pod is not Pending."""
    world = make_world()
    _, address = delete_eni(world)
    world.end_sandbox("web-0")
    for _ in range(later):
        world.step()
    for n in range(3):
        world.create_pod(f"p{n}", "n2")
    assert world.retry("web-0", 60) == (address,)
    assert all(world.retry(f"p{n}", 60) for n in range(3))


def test_a_rolling_restart_empties_it(make_world: Make) -> None:
    world = make_world()
    eni, _ = delete_eni(world)
    for name in ("web-0", "web-1"):
        had = world.addresses(name)
        world.end(name)
        assert world.start(name, "n1", 60, **KEPT) == had
    world.until(partial(is_gone, world, eni), "it is gone")


def test_a_pod_that_has_its_address_and_is_still_pending_keeps_it(make_world: Make) -> None:
    world = make_world()
    (address,) = world.start("web-0", "n1", **KEPT)
    world.set_phase("web-0", "Pending")
    world.step()
    before = world.podip("web-0")
    world.sim.api.delete(ENIS, eni_of(world, address))
    for _ in range(20):
        world.step()
    after = world.podip("web-0")
    assert before is not None
    assert after is not None
    assert after.spec == before.spec
    assert world.reason("web-0") in {"", Reason.PLACED}
    assert world.reason("web-0", Type.READY) == Reason.READY


@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize("before", ["db", "p"])
def test_a_pod_that_asks_for_what_it_or_another_had_waits_for_the_cool_down_alone(
    make_world: Make, before: str, node: str
) -> None:
    world = make_world()
    (address,) = world.start(before, "n1")
    world.start("web-1", "n1", **KEPT)
    eni = eni_of(world, address)
    world.sim.api.delete(ENIS, eni)
    world.step(20)
    world.end(before)
    world.create_pod("db", node, address=address)
    world.refusal("db", COOL_DOWN - 5)
    assert eni_of(world, address) == eni
    assert world.retry("db", 60) == (address,)
    assert not is_gone(world, eni), "web-1 still runs on it"


@pytest.mark.parametrize("wish", [KEPT, Wish(address="10.98.0.77")])
def test_on_a_node_that_may_have_no_other_eni_the_address_stays_on_its_port(
    make_world: Make, wish: Wish
) -> None:
    world = make_world(capacity={"maxENIsPerNode": 1})
    eni, address = delete_eni(world, wish)
    world.end("web-0")
    world.step(COOL_DOWN)
    world.create_pod("web-0", "n1", **wish)
    assert "no ENI of node n1 is ready and has room" in world.refusal("web-0", 30)
    assert eni_of(world, address) == eni
    world.end("web-1")
    assert world.retry("web-0", 200) == (address,)


def test_in_a_static_pool_the_podip_says_why_the_pod_waits(make_world: Make) -> None:
    world = make_world(growth="Static")
    eni, address = delete_eni(world)
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    assert f"{address} is on ENI {eni}, which is being deleted" in world.refusal("web-0", 30)
    assert world.reason("web-0") == Reason.MOVE_UNSUPPORTED
    assert eni_of(world, address) == eni


def crash(make_world: Make, step: int) -> None:
    world = make_world()
    _, address = delete_eni(world)
    world.end("web-0")
    world.sim.countdown.left = world.sim.countdown.seen + step
    assert world.start("web-0", "n1", **KEPT) == (address,)


@pytest.mark.parametrize("step", range(0, CRASHES, 4))
def test_a_crash_of_the_operator_within_the_move(make_world: Make, step: int) -> None:
    crash(make_world, step)


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", range(CRASHES))
def test_a_crash_after_any_call_or_write_of_the_move(make_world: Make, step: int) -> None:
    crash(make_world, step)


@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize("away", [0, 40])
@pytest.mark.parametrize("answers", [True, False])
def test_what_its_last_pod_keeps_does_not_wait_for_nova(
    make_world: Make, node: str, away: int, *, answers: bool
) -> None:
    """It retries for 160 s to detach a port; without an answer, that is waited for as long."""
    world = make_world()
    _, address = delete_eni(world)
    world.sim.cloud.detach_seconds = 150.0
    if not answers:
        world.sim.cloud.fail("detach port", Fault(OutcomeUnknownError("no response")))
    world.end("web-1")
    world.end("web-0")
    for _ in range(away):
        world.step()
    assert world.start("web-0", node, 15, **KEPT) == (address,)
    assert world.node_of(address) == node


@pytest.mark.parametrize(
    "error",
    [CloudUnreachableError("503"), OutcomeUnknownError("no response"), RevisionConflictError("")],
)
def test_its_deletion_goes_on_if_no_address_can_be_taken_off_its_port_before(
    make_world: Make, error: CloudError
) -> None:
    world = make_world()
    eni, _ = delete_eni(world)
    world.sim.cloud.fail("set fixed IPs", *[Fault(error)] * 3000)
    world.end("web-1")
    world.end("web-0")
    world.create_pod("web-0", "n1", **KEPT)
    world.until(lambda: is_gone(world, eni), "it is gone with its port")
