"""Moves through crashes, lost responses and pods that come and go: one address, one owner."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.names import ENIS, PODIPS, PODS
from openeni_kube.store import NotFoundError
from openeni_nodeagent.cni.protocol import CNIError
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    DeniedError,
    ResourceConflictError,
    RevisionConflictError,
    ThrottledError,
)
from openeni_testing.cloud.faults import Fault, no_response
from openeni_testing.sticky.world import KEPT, StickyWorld, Wish

Make = Callable[..., StickyWorld]
MIN_STEPS = 15  # calls and writes of a move; fewer mean that the test lost some
PUT = "set fixed IPs"


def move(world: StickyWorld, seconds: int = 400) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the addresses of a pod before and after it has changed its node."""
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    return first, world.start("web-0", "n2", seconds=seconds, **KEPT)


def steps_of_a_move(world: StickyWorld) -> int:
    before = world.sim.countdown.seen
    first, second = move(world)
    assert first == second
    return world.sim.countdown.seen - before


@pytest.mark.parametrize("late", [0.0, 5.0, 45.0])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_lost_responses(make_world: Make, late: float, which: int) -> None:
    """The response is lost to the release, to the address' arrival, or to both."""
    world = make_world()
    lost = Fault(no_response(), worked=True, late=late)
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    faults = {0: [lost], 1: [Fault(no_response())], 2: [lost, lost, lost]}
    world.sim.cloud.fail(PUT, *faults[which])
    assert world.start("web-0", "n2", **KEPT) == first


@pytest.mark.parametrize(
    "error", [CloudUnreachableError("503"), RevisionConflictError("412")], ids=str
)
def test_errors_pass(make_world: Make, error: CloudError) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.sim.cloud.fail(PUT, *[Fault(error)] * 3)
    assert world.start("web-0", "n2", **KEPT) == first


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (CloudUnreachableError("503"), 20),
        (ThrottledError("429"), 20),
        (no_response(), 45),
        (DeniedError("403"), 75),
    ],
    ids=str,
)
def test_an_arrival_that_fails_is_no_refusal_of_the_address(
    make_world: Make, error: CloudError, seconds: int
) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    away = world.agents.pop("n2")
    world.create_pod("web-0", "n2", **KEPT)
    world.until(lambda: not world.is_on_a_port(first[0]), "it has left")
    world.sim.cloud.fail(PUT, Fault(error))
    world.agents["n2"] = away
    assert world.retry("web-0", seconds) == first


def test_a_refusal_of_before_the_address_has_moved_again_does_not_count(make_world: Make) -> None:
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    world.until(lambda: not world.is_on_a_port(first[0]), "it has left")
    world.sim.cloud.fail(PUT, Fault(ResourceConflictError("taken")))
    world.sim.api.delete(PODS, "web-0", "default")
    world.until(lambda: world.node_of(first[0]) == "n1", "n1 has it again, by another request")
    assert world.start("web-0", "n2", **KEPT) == first
    world.end("web-0")
    assert world.start("web-0", "n1", **KEPT) == first


def test_a_refusal_of_the_claim_keeps_no_other_pod_of_the_eni_waiting(make_world: Make) -> None:
    world = make_world()
    world.create_pod("db", "n1", address="10.98.1.77")
    world.sim.cloud.fail(PUT, *[Fault(ResourceConflictError("taken"))] * 2)
    world.refusal("db", 10)
    for n in range(3):
        assert world.start(f"p{n}", "n1", seconds=60)
    assert world.retry("db", 200) == ("10.98.1.77",)


def crash(make_world: Make, step: int) -> None:
    world = make_world()
    world.sim.countdown.left = world.sim.countdown.seen + step
    first, second = move(world)
    assert first == second
    assert world.sim.countdown.left is None, "the operator has not crashed"


def test_a_move_takes_several_steps(make_world: Make) -> None:
    assert steps_of_a_move(make_world()) >= MIN_STEPS


@pytest.mark.parametrize("step", range(3, MIN_STEPS, 4))
def test_a_crash_within_a_move(make_world: Make, step: int) -> None:
    crash(make_world, step)


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", range(40))
def test_a_crash_after_any_call_or_write_of_a_move(make_world: Make, step: int) -> None:
    world = make_world()
    world.sim.countdown.left = world.sim.countdown.seen + step
    first, second = move(world)
    assert first == second


class Churn:
    """Pods of one StatefulSet that come and go on both nodes, among others."""

    def __init__(self, world: StickyWorld, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)  # noqa: S311 no secret
        self.started = 0

    def run(self, turns: int) -> None:
        once = [self.end, self.restart, self.pause, self.lag]
        acts = [self.create, self.create, self.add, self.add, *once]
        for _ in range(turns):
            self.random.choice(acts)()
        self.world.sim.countdown.left = None
        for agent in self.world.agents.values():
            agent.behind.clear()

    def names(self) -> list[str]:
        return [body["metadata"]["name"] for body in self.world.sim.api.list(PODS).items]

    def create(self) -> None:
        name = self.random.choice(["web-0", "web-1", "web-2", f"p{self.started}"])
        self.started += 1
        wish = KEPT if name.startswith("web") else Wish()
        if name == "web-2":
            wish = Wish(address="10.98.1.77")
        if name not in self.names():
            self.world.create_pod(name, self.random.choice(["n1", "n2"]), **wish)

    def add(self) -> None:
        for name in self.names():
            pod = self.world.sim.api.get(PODS, name, "default")
            if pod["status"]["phase"] == "Pending":
                try:
                    self.world.add(name)
                except CNIError:
                    self.world.step()

    def end(self) -> None:
        if names := self.names():
            self.world.end(self.random.choice(names))

    def restart(self) -> None:
        self.random.choice(
            [
                self.world.sim.restart,
                lambda: self.world.restart_agent("n1"),
                lambda: self.world.restart_agent("n2"),
                self.crash_soon,
            ]
        )()

    def lag(self) -> None:
        """Let watches fall behind, each on its own, or catch up."""
        agent = self.world.agents[self.random.choice(["n1", "n2"])]
        agent.behind ^= {self.random.choice([PODIPS, ENIS])}

    def crash_soon(self) -> None:
        self.world.sim.countdown.left = self.world.sim.countdown.seen + self.random.randrange(20)

    def pause(self) -> None:
        self.world.step(self.random.choice([0.5, 2.0, 40.0]))


def runs(world: StickyWorld, name: str) -> bool:
    return world.reason(name, Type.READY) == Reason.READY


def churn(make_world: Make, seed: int, turns: int) -> None:
    world = make_world()
    world.start("web-0", "n1", **KEPT)
    world.start("web-1", "n2", **KEPT)
    Churn(world, seed).run(turns)
    for name in ("web-0", "web-1"):
        with suppress(NotFoundError):
            world.end(name)
        world.start(name, "n1", **KEPT)
        world.until(partial(runs, world, name), f"{name} runs")
        first = world.addresses(name)
        world.end(name)
        assert world.start(name, "n2", **KEPT) == first


@pytest.mark.parametrize("seed", range(3))
def test_churn(make_world: Make, seed: int) -> None:
    churn(make_world, seed, 60)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(100, 108))
def test_long_churn(make_world: Make, seed: int) -> None:
    churn(make_world, seed, 150)


def test_a_pod_whose_eni_is_gone_is_told_and_has_its_address_again_after_a_restart(
    make_world: Make,
) -> None:
    """A deletion of the ENI waits for its pods; a port that is lost meanwhile ends the wait."""
    world = make_world()
    first = world.start("web-0", "n1", **KEPT)
    podip = world.podip("web-0")
    assert podip is not None
    eni = world.sim.eni(podip.spec.eni_name)
    world.sim.api.delete(ENIS, eni.name)
    world.step(20)
    assert world.condition("web-0", Type.ADDRESS_LOST) is None
    assert eni.status.port is not None
    del world.sim.cloud.ports[eni.status.port.id]
    world.until(lambda: world.reason("web-0", Type.ADDRESS_LOST) == "PortLost", "it is told")
    assert eni.metadata.uid not in {e.metadata.uid for e in world.sim.enis()}
    world.broken.clear()  # the loss itself
    world.end("web-0")
    assert world.start("web-0", "n1", **KEPT) == first
    assert world.condition("web-0", Type.ADDRESS_LOST) is None


def test_an_address_leaves_a_port_whose_security_groups_cannot_be_set(make_world: Make) -> None:
    world = make_world(capacity={"addressesPerENI": 4, "minAvailable": 1, "maxENIsPerNode": 3})
    (address,) = world.start("web-0", "n1", **KEPT)
    world.start("p0", "n1")
    for port in list(world.sim.cloud.ports.values()):
        if port.device_id == world.server("n1"):
            changed = replace(port, security_group_ids=frozenset(), revision=port.revision + 1)
            world.sim.cloud.ports[port.id] = changed
    world.sim.cloud.fail("set security groups", *[Fault(DeniedError("policy"))] * 1000)
    for _ in range(20):
        world.step(10)
    world.end("web-0")
    world.create_pod("web-0", "n2", **KEPT)
    assert world.retry("web-0", 400) == (address,)
    assert world.sim.cloud.faults["set security groups"], "they are refused all the time"
