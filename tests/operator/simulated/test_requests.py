"""The operator makes few requests to the API server: an ENI costs as many writes as it has news."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.meta import Json
from openeni_crds.names import ENIS, MANAGER_AGENT, Kind
from openeni_operator.cloud.admission import NotYet
from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.eni.reconcile import BRIEF_SECONDS
from openeni_operator.enipool import node_plans
from openeni_operator.enipool.reconcile import COUNTS_INTERVAL
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import assert_converged, change_spec, simulate_ready_pool
from openeni_testing.controller.simulation import Simulation

T = TypeVar("T")
# Created; its port requested, there, attached; Ready.
OPERATORS = {"create ENI": 1, "apply ENI": 4}
AGENTS = 2  # the guest is prepared; the NIC is there


class CountedSimulation:
    """A pool that serves one node; agents and operator act in turns, so that each sees all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sim = simulate_ready_pool()
        self.reports = 0
        self._before = Counter(self.sim.store.writes)
        self._read = self.sim.store.reads
        apply = self.sim.api.apply

        def counted(kind: Kind, body: Json, **arguments: Any) -> Json:
            self.reports += kind == ENIS and arguments["manager"] == MANAGER_AGENT
            return apply(kind, body, **arguments)

        monkeypatch.setattr(self.sim.api, "apply", counted)

    def join(self, nodes: int) -> None:
        """Let nodes join and get their ENIs."""
        for n in range(nodes):
            self.sim.add_node(f"new-{n}")
            self.sim.agents.add(f"new-{n}")
        for _ in range(10):
            self.sim.run_events(BRIEF_SECONDS - 1, agents=False)
            self.sim.run_agents()
        assert_converged(self.sim, 2 + nodes)

    def writes(self) -> dict[str, int]:
        """Return the operator's writes of ENIs."""
        found = Counter(self.sim.store.writes) - self._before
        return {what: count for what, count in found.items() if what.endswith(" ENI")}

    def reads(self) -> int:
        """Return how often the operator has read an object from the API server."""
        return self.sim.store.reads - self._read


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> CountedSimulation:
    return CountedSimulation(monkeypatch)


@pytest.mark.parametrize("nodes", [1, 8])
def test_a_new_eni_costs_five_requests_of_the_operator_and_two_of_its_agent(
    counted: CountedSimulation, nodes: int
) -> None:
    counted.join(nodes)
    assert counted.writes() == {what: count * nodes for what, count in OPERATORS.items()}
    assert counted.reads() == 0
    assert counted.reports == AGENTS * nodes


@pytest.mark.parametrize("seconds", [BRIEF_SECONDS - 1, BRIEF_SECONDS, 4 * BRIEF_SECONDS])
def test_a_port_that_waits_for_the_operators_own_limit_costs_no_more(
    counted: CountedSimulation, seconds: float
) -> None:
    """That it waits for long is written in the place of what stands there before the request."""
    counted.sim.cloud.fail(
        "create port", Fault(NotYetError(NotYet(seconds, "the operator's own limit")))
    )
    counted.join(1)
    assert counted.writes() == OPERATORS


@pytest.mark.parametrize("seconds", [1.0, BRIEF_SECONDS - 2])
def test_a_port_that_is_active_within_moments_costs_no_more(
    counted: CountedSimulation, seconds: float
) -> None:
    counted.sim.cloud.attach_seconds = seconds
    counted.join(1)
    assert counted.writes() == OPERATORS


def test_that_a_port_is_not_active_is_shown_once_it_lasts() -> None:
    sim = Simulation()
    sim.cloud.attach_seconds = 3 * BRIEF_SECONDS
    sim.add_pool()
    sim.settle(BRIEF_SECONDS - 1)
    assert _reason(sim, Type.ATTACHED) == Reason.WAITING_FOR_AGENT
    sim.run_events(BRIEF_SECONDS)
    assert _reason(sim, Type.ATTACHED) == Reason.WAITING_FOR_ATTACH


def test_a_long_wait_for_the_operators_own_limit_is_shown() -> None:
    sim = Simulation()
    sim.cloud.fail("create port", Fault(NotYetError(NotYet(BRIEF_SECONDS, "the own limit"))))
    sim.add_pool()
    sim.settle(1)
    assert _reason(sim, Type.PORT_READY) == Reason.THROTTLED


def test_the_look_at_an_attached_port_serves_the_agents_report(counted: CountedSimulation) -> None:
    """Neutron is not asked again because the guest has found the NIC a moment later."""
    before = counted.sim.cloud.calls["find port"]
    counted.join(4)
    assert counted.sim.cloud.calls["find port"] - before == 4


def _reason(sim: Simulation, type_: Type) -> str:
    shown = find(sim.enis()[0].status.conditions, type_)
    return shown.reason if shown is not None else ""


def test_what_is_not_to_be_written_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods that come and go make a pool plan many nodes, and hardly ever write anything."""
    sim = Simulation(nodes=4)
    sim.add_pool()
    sim.settle()
    tasks: list[int] = []

    def counted(given: Sequence[Callable[[], T]], _: int) -> list[T]:
        tasks.append(len(given))
        return [task() for task in given]

    monkeypatch.setattr(node_plans, "run_tasks", counted)
    for node in sim.nodes:
        sim.add_pod(f"pod-{node}", node)
    sim.run_events(2)
    assert sum(tasks) == 0
    change_spec(sim, ports={"tags": ["cost-center=7"]})
    sim.run_events(2)
    assert sum(tasks) == len(sim.enis()), "each node gets the new settings"


def test_a_pools_counts_are_written_now_and_then_however_often_pods_come_and_go() -> None:
    """Every agent watches pools: a thousand receive each write."""
    sim = simulate_ready_pool()
    eni = sim.eni(sim.ready()[0])
    assert eni.status.port is not None
    address, granted = eni.status.port.addresses[0], sim.granted.setdefault(eni.name, set())
    before = sim.store.writes.count("apply ENIPool")
    for second in range(60):
        (granted.discard if second % 2 else granted.add)(address)
        sim.run_events(1)
    written = sim.store.writes.count("apply ENIPool") - before
    assert 0 < written <= 60 / COUNTS_INTERVAL + 1
    sim.run_events(COUNTS_INTERVAL + 1)
    counts = sim.pool().status.address_counts
    assert counts is not None
    assert counts.granted == len(granted)
