"""The operator makes few calls: each bound is one of docs/architecture.md or of an audit."""

from collections import Counter

import pytest

from openeni_crds.conditions import Reason, Type, find
from openeni_operator.cloud.errors import QuotaExceededError
from openeni_operator.sweep.plan import LOOK_INTERVAL
from openeni_testing.cloud.faults import Fault, no_response
from openeni_testing.controller.checks import assert_converged, simulate_ready_pool
from openeni_testing.controller.process import RESYNC
from openeni_testing.controller.simulation import Simulation

CHANGES = {"create port", "tag port", "delete port", "attach port", "detach port"}
PER_NETWORK = {"list ports", "list subnets", "get network", "find subnets", "find security groups"}
PER_CLOUD = {"list tagged ports", "get quota", "get credential"}
HOUR = 3600.0


def calls_of(sim: Simulation, before: Counter[str]) -> Counter[str]:
    return sim.cloud.calls - before


@pytest.mark.parametrize("nodes", [1, 8])
def test_a_node_that_joins_costs_one_post_one_attach_and_two_reads(nodes: int) -> None:
    sim = simulate_ready_pool()
    before = sim.cloud.calls.copy()
    for n in range(nodes):
        sim.add_node(f"new-{n}")
        sim.agents.add(f"new-{n}")
    sim.settle(100)
    assert_converged(sim, 2 + nodes)
    calls = calls_of(sim, before)
    assert {c: calls[c] for c in CHANGES if calls[c]} == {
        "create port": nodes,
        "attach port": nodes,
    }
    reads = sum(
        count for call, count in calls.items() if call not in CHANGES | PER_NETWORK | PER_CLOUD
    )
    assert reads <= 2 * nodes, "the server, and the port after it was attached"


def test_nodes_that_join_between_two_resyncs_share_what_was_read_of_their_network() -> None:
    sim = simulate_ready_pool()
    before = sim.cloud.calls.copy()
    for n in range(8):
        sim.add_node(f"new-{n}")
        sim.agents.add(f"new-{n}")
        sim.run_events(5)
    assert_converged(sim, 10)
    calls = calls_of(sim, before)
    assert {call: calls[call] for call in PER_NETWORK if calls[call]} == {}


def test_what_a_process_has_not_created_itself_it_looks_for() -> None:
    """Only of an ENI that it has just created does it know that there is no port."""
    sim = Simulation()
    sim.add_pool()
    while not sim.enis():
        sim.process.sync_state()
        sim.process.reconcile_next()
    sim.restart()
    sim.settle(100)
    assert_converged(sim, 1)
    assert sim.cloud.calls["find port"] == 2


@pytest.mark.parametrize("nodes", [2, 8])
def test_in_a_steady_state_each_resync_lists_a_network_once(nodes: int) -> None:
    sim = Simulation(nodes=nodes)
    sim.add_pool()
    sim.settle()
    before = sim.cloud.calls.copy()
    sim.settle(HOUR)
    calls = calls_of(sim, before)
    assert set(calls) <= PER_NETWORK | PER_CLOUD
    assert {name: count for name, count in calls.items() if count > 1.2 * HOUR / RESYNC} == {}
    assert calls["list tagged ports"] <= HOUR / LOOK_INTERVAL


def test_a_port_that_takes_long_to_become_active_is_not_asked_about_without_end() -> None:
    sim = Simulation(nodes=1)
    sim.cloud.attach_seconds = 90
    sim.add_pool()
    sim.settle(200)
    assert_converged(sim, 1)
    assert sim.cloud.calls["find port"] <= 20


def test_a_server_without_a_slot_is_asked_less_and_less_often() -> None:
    sim = Simulation(nodes=1)
    failure = type(no_response())("Failed to attach network adapter device to server-1")
    sim.cloud.fail("attach port", *[Fault(failure)] * 1000)
    sim.add_pool()
    sim.settle(HOUR)
    assert sim.cloud.calls["attach port"] <= 7
    assert sim.cloud.calls["find port"] <= 150
    found = find(sim.enis()[0].status.conditions, Type.ATTACHED)
    assert found is not None
    assert found.reason == Reason.NO_HOTPLUG_SLOT
    assert len(sim.enis()) == 1, "another ENI would find no slot either"


def test_tags_that_do_not_stick_are_put_less_and_less_often() -> None:
    sim = Simulation(nodes=1)
    sim.cloud.drops_tags = True
    sim.cloud.ignores_tags = True
    sim.add_pool()
    sim.settle(HOUR)
    assert sim.cloud.calls["tag port"] <= 30
    assert sim.cloud.calls["attach port"] == 0, "a port without its tags would never be deleted"


def test_an_exhausted_quota_is_asked_about_seldom() -> None:
    sim = Simulation(nodes=3)
    sim.cloud.fail("create port", *[Fault(QuotaExceededError("full"))] * 10_000)
    sim.add_pool()
    sim.settle(HOUR)
    per_eni = sim.cloud.calls["create port"] / 3
    assert per_eni <= HOUR / 45
    assert sim.cloud.calls["get quota"] <= 2 * HOUR / RESYNC
    assert sim.cloud.calls["get server"] <= 3 * 2 * HOUR / RESYNC
