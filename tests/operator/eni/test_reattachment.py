"""A port that stays DOWN is attached anew, ever less often, and never under a pod."""

import random
from dataclasses import replace

import pytest

from openeni_crds.capacity import Growth
from openeni_crds.conditions import Condition, Reason, Status, Type, find
from openeni_crds.eni import ENI
from openeni_crds.names import ENIPOOLS
from openeni_operator.eni.timing import ACTIVE_TIMEOUT
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    assert_all_removed,
    assert_converged,
    change_spec,
    pool_condition,
)
from openeni_testing.controller.simulation import Simulation

HOUR = 3600.0  # seconds
GROWTHS = [Growth.STATIC, Growth.ELASTIC]


def simulate(growth: Growth, *, wired: int | None) -> Simulation:
    """Return a simulation where the host misses attachments: the `wired`th is the first it sees."""
    sim = Simulation()
    sim.cloud.missed_attachments = 10**6 if wired is None else wired - 1
    sim.add_pool(capacity={"addressesPerENI": 3, "minAvailable": 1, "growth": growth})
    return sim


def attached(sim: Simulation) -> Condition:
    (eni,) = sim.enis()
    found = find(eni.status.conditions, Type.ATTACHED)
    assert found is not None
    return found


def go_down(sim: Simulation) -> None:
    """Let the host of the only port lose it."""
    (port,) = sim.cloud.ports.values()
    sim.cloud.ports[port.id] = replace(port, status="DOWN", revision=port.revision + 1)


def addresses(eni: ENI) -> tuple[str, ...]:
    assert eni.status.port is not None
    return eni.status.port.addresses


@pytest.mark.parametrize("growth", GROWTHS)
def test_a_port_whose_first_attachment_was_missed_is_attached_anew(growth: Growth) -> None:
    sim = simulate(growth, wired=2)
    sim.settle(60)
    (before,) = sim.enis()
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 1)
    (eni,) = sim.enis()
    assert (eni.name, addresses(eni)) == (before.name, addresses(before)), "the port stays"
    assert eni.spec.retiring == ()
    assert sim.cloud.calls["detach port"] == 1
    assert sim.cloud.calls["create port"] == 1
    reasons = [event.reason for event in sim.process.recorded.events]
    assert Reason.PORT_NOT_ACTIVE in reasons
    assert Reason.REATTACHING in reasons


@pytest.mark.parametrize("growth", GROWTHS)
def test_a_port_that_stays_down_is_attached_anew_ever_less_often_and_reported(
    growth: Growth,
) -> None:
    sim = simulate(growth, wired=None)
    sim.settle(4 * HOUR)
    # After 2, 4, 8, 16 and 32 minutes, then once an hour.
    assert 6 <= sim.cloud.calls["detach port"] <= 9
    assert sim.cloud.calls["attach port"] - sim.cloud.calls["detach port"] <= 1
    assert len(sim.cloud.ports) == 1
    found = attached(sim)
    assert found.status == Status.FALSE
    assert found.reason in {Reason.PORT_NOT_ACTIVE, Reason.REATTACHING}
    assert "attached anew" in found.message
    capacity = pool_condition(sim, Type.CAPACITY_AVAILABLE)
    assert (capacity.status, capacity.reason) == (Status.FALSE, found.reason)


@pytest.mark.parametrize("growth", GROWTHS)
def test_a_port_with_a_pods_address_stays_attached_and_says_why(growth: Growth) -> None:
    sim = simulate(growth, wired=1)
    sim.settle(60)
    (eni,) = sim.enis()
    pod = addresses(eni)[0]
    sim.granted[eni.name] = {pod}
    sim.settle(60)
    go_down(sim)
    sim.settle(TWO_RESYNCS)
    assert sim.cloud.calls["detach port"] == 0
    assert "anew once no pod has an address of it" in attached(sim).message
    assert sim.eni(eni.name).spec.retiring == ()
    sim.granted.clear()
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 1)
    assert sim.cloud.calls["detach port"] == 1
    assert pod in addresses(sim.eni(eni.name))


def test_a_pod_that_started_while_the_request_was_on_its_way_keeps_its_address() -> None:
    """The agent refuses: whatever the report said before, nothing is detached."""
    sim = simulate(Growth.STATIC, wired=1)
    sim.settle(60)
    (eni,) = sim.enis()
    go_down(sim)
    sim.settle(ACTIVE_TIMEOUT + 60, agents=False)
    assert set(sim.eni(eni.name).spec.retiring) == set(addresses(eni)), "it is asked for them"
    sim.granted[eni.name] = {addresses(eni)[0]}
    sim.settle(TWO_RESYNCS)
    assert sim.cloud.calls["detach port"] == 0


def test_a_port_that_is_being_wired_up_is_left_alone() -> None:
    sim = Simulation()
    sim.cloud.attach_seconds = HOUR
    sim.add_pool()
    sim.settle(HOUR / 2)
    assert attached(sim).reason == Reason.PORT_NOT_ACTIVE
    assert sim.cloud.calls["detach port"] == 0


def test_a_detachment_that_nova_forgets_ends_nothing_and_is_not_repeated_at_once() -> None:
    sim = simulate(Growth.STATIC, wired=None)
    sim.cloud.detach_seconds = 10 * HOUR
    sim.settle(HOUR)
    assert 1 <= sim.cloud.calls["detach port"] <= 6
    assert len(sim.cloud.ports) == 1
    sim.cloud.detach_seconds = 0
    sim.cloud.missed_attachments = 0
    sim.settle(2 * HOUR)
    assert_converged(sim, 1)


def test_a_pool_whose_port_is_down_is_paused_and_deleted_as_any_other() -> None:
    sim = simulate(Growth.STATIC, wired=None)
    sim.settle(60)
    change_spec(sim, paused=True)
    sim.settle(HOUR)
    assert sim.cloud.calls["detach port"] == 0
    change_spec(sim, paused=False)
    sim.settle(HOUR)
    assert sim.cloud.calls["detach port"] > 0
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


class Life:
    """Random events of a node's ports, pods, host and operator."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 no secret
        self.sim = Simulation()
        sizes = {"addressesPerENI": 4, "minAvailable": 1, "growth": self.dice.choice(GROWTHS)}
        self.sim.add_pool(capacity=sizes)
        self.under_pods: list[str] = []  # ENIs that were detached while a pod had an address
        self.sim.cloud.observe = self._look

    def _look(self, operation: str) -> None:
        for eni in self.sim.enis() if operation == "detach port" else ():
            port = self.sim.cloud.ports.get(eni.status.port.id) if eni.status.port else None
            if self.sim.granted.get(eni.name) and port is not None and not port.device_id:
                self.under_pods.append(eni.name)

    def turn(self, status: str) -> None:
        for port in [p for p in self.sim.cloud.ports.values() if p.device_id]:
            changed = replace(port, status=status, revision=port.revision + 1)
            self.sim.cloud.ports[port.id] = changed

    def grant(self) -> None:
        """Let pods get addresses as their agent would: of Ready ENIs, none that is asked for."""
        for eni in (self.sim.eni(name) for name in self.sim.ready()):
            granted = self.sim.granted.setdefault(eni.name, set())
            free = set(addresses(eni)) - set(eni.spec.retiring) - granted
            granted.update(sorted(free)[:1])

    def step(self) -> None:
        events = (
            lambda: self.turn("DOWN"),
            lambda: self.turn("ACTIVE"),
            lambda: setattr(self.sim.cloud, "missed_attachments", self.dice.randrange(3)),
            self.grant,
            self.sim.granted.clear,
            self.sim.restart,
        )
        self.dice.choice(events)()
        seconds = self.dice.choice((1, 10, 60, 150, 400))
        self.sim.run_events(seconds, agents=self.dice.random() < 0.8)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_no_port_is_detached_under_a_pod_and_all_is_well_in_the_end(
    seed: int,
) -> None:
    life = Life(seed)
    for _ in range(40):
        life.step()
    assert life.under_pods == []
    life.sim.granted.clear()
    life.sim.cloud.missed_attachments = 0
    life.sim.settle(3 * HOUR)
    assert_converged(life.sim, len(life.sim.enis()))
    assert all(eni.spec.retiring == () for eni in life.sim.enis())
