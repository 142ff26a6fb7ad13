"""The operator keeps new pods off nodes whose agent does not serve, and off no other node."""

from typing import Any

import pytest

from openeni_crds.meta import Json, parse_time
from openeni_crds.names import ENIPOOLS, NODES, TAINT_AGENT_NOT_READY
from openeni_testing.controller.simulation import Simulation

OURS: Json = {"key": TAINT_AGENT_NOT_READY, "effect": "NoSchedule"}
OTHER: Json = {"key": "dedicated", "value": "db", "effect": "NoExecute"}


@pytest.fixture
def sim() -> Simulation:
    """Two nodes with agents, the first one new, with the startup taint and one of its own."""
    sim = Simulation(nodes=2)
    taint(sim, "n1", [OURS, OTHER])
    for node in sim.nodes:
        sim.set_agent(node, ready=True)
    return sim


def taint(sim: Simulation, node: str, taints: list[Json]) -> None:
    operations = [{"op": "add", "path": "/spec/taints", "value": taints}]
    sim.api.patch(NODES, node, operations=operations)


def taints(sim: Simulation, node: str) -> Any:
    """Return the node's taints, without their times."""
    found = sim.api.get(NODES, node)["spec"].get("taints", [])
    return [{key: value for key, value in t.items() if key != "timeAdded"} for t in found]


def test_the_startup_taint_goes_once_a_pod_can_be_served(sim: Simulation) -> None:
    sim.add_pool()
    sim.set_agent("n1", ready=False)
    sim.settle(60)
    assert len(sim.ready()) == 2
    assert taints(sim, "n1") == [OURS, OTHER]
    sim.set_agent("n1", ready=True)
    sim.settle(60)
    assert taints(sim, "n1") == [OTHER]
    assert taints(sim, "n2") == []


def test_a_node_that_no_pool_selects_is_freed(sim: Simulation) -> None:
    sim.add_pool(nodeSelector={"matchLabels": {"no": "node"}})
    sim.settle(60)
    assert taints(sim, "n1") == [OTHER]


def test_a_silent_agent_brings_the_taint_and_its_return_takes_it_off(sim: Simulation) -> None:
    sim.add_pool()
    sim.settle(60)
    sim.set_agent("n2", ready=False)
    sim.settle(50)
    assert taints(sim, "n2") == []
    sim.settle(20)
    assert taints(sim, "n2") == [OURS]
    (ours,) = sim.api.get(NODES, "n2")["spec"]["taints"]
    assert 0 <= (parse_time(sim.now()) - parse_time(ours["timeAdded"])).seconds <= 20
    assert taints(sim, "n1") == [OTHER]
    sim.set_agent("n2", ready=True)
    sim.settle(10)
    assert taints(sim, "n2") == []


def test_when_every_agents_pod_is_gone_no_node_is_tainted(sim: Simulation) -> None:
    sim.add_pool()
    sim.settle(60)
    for node in sim.nodes:
        sim.set_agent(node, ready=None)
    sim.settle(900)
    assert [taints(sim, node) for node in sim.nodes] == [[OTHER], []]


def test_after_the_pool_is_gone_no_node_is_tainted_any_more(sim: Simulation) -> None:
    sim.add_pool()
    sim.settle(60)
    sim.set_agent("n2", ready=False)
    sim.settle(100)
    assert taints(sim, "n2") == [OURS]
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle()
    assert sim.enis() == []
    assert taints(sim, "n2") == []


@pytest.mark.parametrize("wanted", [[OTHER], []], ids=["added", "removed"])
def test_a_taint_that_somebody_changes_meanwhile_is_not_lost(
    sim: Simulation, wanted: list[Json]
) -> None:
    taint(sim, "n2", [] if wanted else [OTHER])
    sim.add_pool()
    sim.settle(60)
    sim.set_agent("n2", ready=False)

    def meanwhile(_: str) -> None:
        sim.store.before_patch = lambda _: None
        taint(sim, "n2", wanted)

    sim.store.before_patch = meanwhile
    sim.settle(100)
    assert taints(sim, "n2") == [*wanted, OURS]
