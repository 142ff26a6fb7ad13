"""Wrong lists, lost responses, limits and crashes: the sweep deletes no port that has its ENI."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason, Status
from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, Kind
from openeni_kube.result import Blocked, Done, RequeueAfter, Retry
from openeni_kube.store import UnreachableError
from openeni_operator.cloud.admission import NotYet
from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.cloud.errors import CloudUnreachableError, ResourceConflictError
from openeni_operator.controllers import reconcile
from openeni_operator.keys import ORPHAN_SWEEP, Key
from openeni_operator.settings import OrphanMode
from openeni_operator.sweep.plan import LOOK_INTERVAL
from openeni_operator.sweep.reconcile import PASS_SECONDS
from openeni_testing.cloud.faults import Fault, no_response
from openeni_testing.controller.checks import assert_converged
from openeni_testing.controller.orphans import (
    ONE_LOOK,
    TWO_LOOKS,
    force_delete_eni,
    leak_port,
    ports_owned,
)
from openeni_testing.controller.simulation import Simulation

MANY = 5  # more than may be left over together
SWEEP = Key(ORPHAN_SWEEP, "default")
Pages = Callable[..., Iterator[tuple[Json, ...]]]


def simulate(nodes: int = 2, *, agents: bool = True) -> Simulation:
    """Return nodes with an ENI each; without agents no port is attached."""
    sim = Simulation(nodes=nodes, orphans=OrphanMode.DELETE)
    sim.add_pool()
    sim.settle(100, agents=agents)
    assert len(sim.cloud.ports) == nodes
    make_old(sim)
    return sim


def make_old(sim: Simulation) -> None:
    """Let no port be spared for its age."""
    for port in sim.cloud.ports.values():
        sim.cloud.ports[port.id] = replace(port, created_at="2025-12-31T00:00:00Z")


def hide_listed_enis(sim: Simulation, patch: pytest.MonkeyPatch, *, but: int = 0) -> None:
    """Hide ENIs from lists, but for so many."""
    pages: Pages = sim.store.pages

    def some_pages(kind: Kind, **selectors: str) -> Iterator[tuple[Json, ...]]:
        for page in pages(kind, **selectors):
            yield page[:but] if kind == ENIS else page

    patch.setattr(sim.store, "pages", some_pages)


def hide_cached_enis(sim: Simulation, patch: pytest.MonkeyPatch, *, but: int = 0) -> None:
    """Hide ENIs from those who ask the cache for all, but for so many."""
    enis = sim.process.state.enis
    patch.setattr(sim.process.state, "enis", lambda: sorted(enis(), key=lambda e: e.name)[:but])


@pytest.mark.parametrize(("listed", "cached"), [(1, 2), (2, 1)])
def test_an_eni_that_the_list_or_the_cache_has_keeps_its_port(
    listed: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache may be late with a new ENI; a list may be incomplete."""
    sim = simulate(agents=False)
    hide_listed_enis(sim, monkeypatch, but=listed)
    hide_cached_enis(sim, monkeypatch, but=cached)
    sim.settle(2 * TWO_LOOKS, agents=False)
    assert sim.cloud.calls["delete port"] == 0


def test_an_eni_that_neither_has_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = simulate(agents=False)
    hide_listed_enis(sim, monkeypatch, but=1)
    hide_cached_enis(sim, monkeypatch, but=1)
    sim.settle(ONE_LOOK, agents=False)
    assert sim.cloud.calls["delete port"] == 0
    sim.settle(TWO_LOOKS, agents=False)
    assert sim.cloud.calls["delete port"] == 1


@pytest.mark.parametrize("nodes", [1, MANY])
def test_without_any_eni_no_port_is_deleted(nodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = simulate(nodes, agents=False)
    hide_listed_enis(sim, monkeypatch)
    hide_cached_enis(sim, monkeypatch)
    sim.settle(2 * TWO_LOOKS, agents=False)
    assert len(sim.cloud.ports) == nodes
    assert_too_many(sim)


def test_many_ports_that_are_left_over_together_are_only_reported() -> None:
    """As after the restoration of a backup that does not have the newest ENIs."""
    sim = simulate(MANY, agents=False)
    left = set(sim.cloud.ports)
    for eni in sim.enis():
        force_delete_eni(sim, eni.name)
    sim.settle(2 * TWO_LOOKS)
    assert len(sim.ready()) == MANY
    assert set(sim.cloud.ports) > left
    assert_too_many(sim)
    found = ports_owned(sim)
    assert found is not None
    assert f"unused: {', '.join(sorted(left))}" in found.message


def assert_too_many(sim: Simulation) -> None:
    found = ports_owned(sim)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, Reason.TOO_MANY_ORPHANS)


def test_the_ports_are_listed_before_the_enis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an ENI that is made between the two lists would seem to be missing."""
    sim = simulate()
    pages: Pages = sim.store.pages
    order: list[str] = []

    def pages_in_order(kind: Kind, **selectors: str) -> Iterator[tuple[Json, ...]]:
        order.append(kind.name)
        return pages(kind, **selectors)

    monkeypatch.setattr(sim.store, "pages", pages_in_order)
    sim.cloud.after_call = order.append
    sim.cloud.clock.advance(LOOK_INTERVAL)
    assert reconcile(sim.process.reconcilers, SWEEP) == Done()
    assert order == ["list tagged ports", "ENI"]


def test_a_cloud_that_lists_nothing_changes_nothing() -> None:
    sim = simulate(MANY)
    leaked = leak_port(sim, server="elsewhere")
    sim.settle(2 * TWO_LOOKS)
    before = ports_owned(sim)
    assert before is not None
    assert before.status == Status.FALSE
    looks = sim.cloud.calls["list tagged ports"]
    sim.cloud.blind = True
    sim.settle(590)  # after 600 the ENIs' ports count as lost
    assert sim.cloud.calls["list tagged ports"] == looks + 1
    assert ports_owned(sim) == before
    assert leaked.id in sim.cloud.ports


def test_a_look_that_fails_proves_nothing() -> None:
    sim = simulate()
    leaked = leak_port(sim)
    sim.settle(ONE_LOOK)
    sim.cloud.clock.advance(LOOK_INTERVAL)
    sim.cloud.fail("list tagged ports", Fault(CloudUnreachableError("no response")))
    assert reconcile(sim.process.reconcilers, SWEEP) == Blocked("no response")
    assert leaked.id in sim.cloud.ports
    sim.settle(TWO_LOOKS)
    assert_converged(sim, 2)


def test_without_the_api_server_nothing_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = simulate()
    leaked = leak_port(sim)
    sim.settle(ONE_LOOK)
    sim.cloud.clock.advance(LOOK_INTERVAL)

    def fail(*_: object, **__: object) -> None:
        raise UnreachableError(0, "no response")

    with monkeypatch.context() as patched:
        patched.setattr(sim.store, "pages", fail)
        assert isinstance(reconcile(sim.process.reconcilers, SWEEP), Retry)
    assert leaked.id in sim.cloud.ports
    assert reconcile(sim.process.reconcilers, SWEEP) == Done()
    assert leaked.id not in sim.cloud.ports


def second_look(leaked: int) -> Simulation:
    """Return a simulation whose next sweep takes a second look at so many leaked ports."""
    sim = simulate()
    sim.settle(TWO_LOOKS)
    for number in range(leaked):
        leak_port(sim, f"gone-{number}")
    sim.cloud.clock.advance(LOOK_INTERVAL)
    assert reconcile(sim.process.reconcilers, SWEEP) == Done()
    sim.cloud.clock.advance(LOOK_INTERVAL)
    sim.cloud.calls.clear()
    return sim


def test_a_port_that_cannot_be_deleted_holds_up_no_other() -> None:
    sim = second_look(3)
    sim.cloud.fail("delete port", Fault(ResourceConflictError("a floating IP's")))
    assert reconcile(sim.process.reconcilers, SWEEP) == Done()
    assert sim.cloud.calls == {"list tagged ports": 1, "delete port": 3}
    assert len(sim.cloud.ports) == 3
    sim.settle(TWO_LOOKS)
    assert_converged(sim, 2)


@pytest.mark.parametrize("late", [0.0, 20.0])
def test_lost_responses_to_deletions_end_without_a_leaked_port(late: float) -> None:
    sim = second_look(2)
    lost = [Fault(no_response(), worked=True, late=late), Fault(no_response())]
    sim.cloud.fail("delete port", *lost)
    sim.settle(2 * TWO_LOOKS)
    assert_converged(sim, 2)


def test_a_pass_goes_on_after_the_operators_own_limit() -> None:
    sim = second_look(2)
    sim.cloud.fail("delete port", Fault(NotYetError(NotYet(5.0, "the operator's limit"))))
    assert reconcile(sim.process.reconcilers, SWEEP) == RequeueAfter(5.0, "the operator's limit")
    sim.cloud.clock.advance(5.0)
    assert reconcile(sim.process.reconcilers, SWEEP) == Done()
    assert sim.cloud.calls["list tagged ports"] == 1
    assert len(sim.cloud.ports) == 2


def test_a_pause_ends_a_pass() -> None:
    sim = second_look(2)
    sim.cloud.fail("delete port", Fault(NotYetError(NotYet(5.0, "the operator's limit"))))
    reconcile(sim.process.reconcilers, SWEEP)
    pause = [{"op": "add", "path": "/spec/paused", "value": True}]
    sim.api.patch(ENIPOOLS, "pods", operations=pause)
    sim.process.sync_state()
    assert reconcile(sim.process.reconcilers, SWEEP) == Done()
    assert len(sim.cloud.ports) == 4


def test_a_pass_that_takes_too_long_ends_and_the_next_look_decides() -> None:
    sim = second_look(2)
    sim.cloud.fail("delete port", Fault(NotYetError(NotYet(PASS_SECONDS, "the operator's limit"))))
    reconcile(sim.process.reconcilers, SWEEP)
    sim.cloud.clock.advance(PASS_SECONDS + 1)
    assert reconcile(sim.process.reconcilers, SWEEP) == Done()
    assert len(sim.cloud.ports) == 4
    sim.settle(TWO_LOOKS)
    assert_converged(sim, 2)


def run_sweep(sim: Simulation) -> None:
    """Create a pool beside leaked ports, and sweep them away."""
    for number in range(2):
        leak_port(sim, f"gone-{number}")
    sim.add_pool()
    sim.settle(2 * TWO_LOOKS)
    assert_converged(sim, 1)


@pytest.mark.exhaustive
def test_a_crash_after_any_call_or_write_takes_nothing_but_the_leaked_ports(
    subtests: pytest.Subtests,
) -> None:
    whole = Simulation(nodes=1, orphans=OrphanMode.DELETE)
    run_sweep(whole)
    assert whole.cloud.calls["delete port"] == 2
    leaking = 2  # calls of `leak_port` itself
    for step in range(leaking, whole.countdown.seen):
        with subtests.test(step=step):
            sim = Simulation(nodes=1, orphans=OrphanMode.DELETE)
            sim.countdown.left = step
            run_sweep(sim)
            assert sim.countdown.left is None
            assert sim.cloud.calls["delete port"] == 2


def test_two_looks_do_not_delete_a_young_port() -> None:
    sim = simulate()
    sim.cloud.clock.advance(LOOK_INTERVAL)
    leaked = leak_port(sim, created_at=sim.now())
    for deleted in (False, False, True):
        assert reconcile(sim.process.reconcilers, SWEEP) == Done()
        assert (leaked.id not in sim.cloud.ports) == deleted
        sim.cloud.clock.advance(LOOK_INTERVAL)


def test_the_port_of_a_new_eni_is_no_orphan_before_the_cache_has_the_eni() -> None:
    sim = simulate(1)
    sim.settle(ONE_LOOK)
    sim.add_node("new")
    sim.process.sync_state()
    sim.settle(0, agents=False)  # the ENI and its port are there
    state = sim.process.state
    (eni,) = state.enis_on("new")
    state.delete_version(ENIS, eni.name, state.versions(ENIS)[eni.name])
    make_old(sim)
    for _ in range(2):
        sim.cloud.clock.advance(LOOK_INTERVAL)
        assert reconcile(sim.process.reconcilers, SWEEP) == Done()
    assert len(sim.cloud.ports) == 2
