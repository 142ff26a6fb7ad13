"""Addresses that an ENI is to get for certain pods: they are on top of what any pod may have."""

from typing import Any

import pytest

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.names import ENIPOOLS, LABEL_RETAINED, PODIPS
from openeni_operator.cloud.api import FixedIP, Port
from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.state import (
    CreateENI,
    ENIState,
    GrowENI,
    NodeState,
    Plan,
    RetireAddresses,
    SizingPolicy,
)
from openeni_testing.controller.elastic_pool import MIN, SOON, simulate_elastic, sized
from openeni_testing.controller.simulation import Simulation
from openeni_testing.objects import podip_body

TAKEN = "10.98.1.77"  # by a port that is not openeni's


def keep_taken_address(sim: Simulation) -> str:
    """Keep an address for a pod that is away, and give it to another port; return its ENI."""
    fixed = (FixedIP(sim.subnet.id, TAKEN),)
    foreign = Port("foreign", "theirs", sim.network.id, "fa:16:3e:ff:00:01", fixed_ips=fixed)
    sim.cloud.ports[foreign.id] = foreign
    (eni,) = (e.name for e in sim.enis())
    podip = podip_body("web-0")
    podip["metadata"]["labels"] = {LABEL_RETAINED: "true"}
    podip["spec"] |= {"eniName": eni, "address": TAKEN, "retention": "Forever"}
    sim.api.create(PODIPS, podip)
    return eni


def test_one_that_the_cloud_refuses_is_asked_for_and_given_back_by_turns_no_more() -> None:
    """A node that is idle shrinks to what it needs; the claim's room is none to spare."""
    runner = simulate_elastic(reclaim=SOON)
    sim = runner.sim
    runner.settle(900, step=60)
    eni = keep_taken_address(sim)
    sim.settle(20)
    generation = sim.eni(eni).metadata.generation
    sim.settle(600)
    assert sim.eni(eni).metadata.generation == generation
    assert sim.eni(eni).spec.address_count == 2 * MIN + 1


def test_one_that_the_cloud_refuses_serves_no_other_pod() -> None:
    runner = simulate_elastic(minAvailable=0)
    runner.start(3)
    assert runner.settle(60) == 0
    keep_taken_address(runner.sim)
    runner.settle(30)
    runner.start(1)
    assert runner.settle(60) == 0


def test_one_that_the_cloud_refuses_is_no_reason_against_the_eni() -> None:
    runner = simulate_elastic()
    keep_taken_address(runner.sim)
    reasons = set[str]()
    for _ in range(60):
        runner.settle(1)
        reasons |= {sized(eni).reason for eni in runner.sim.enis()}
    assert runner.sim.cloud.calls["set fixed IPs"] > 0
    assert reasons == {Reason.SIZED, Reason.UPDATING}


def test_a_pod_that_waits_for_a_certain_one_is_no_demand_for_another() -> None:
    runner = simulate_elastic(minAvailable=0)
    runner.start(3)
    assert runner.settle(60) == 0
    eni = keep_taken_address(runner.sim)
    runner.sim.add_pod("web-0", "n1")
    assert runner.settle(60) == 1
    assert runner.sim.eni(eni).spec.address_count == 3 + 1


def test_a_pool_at_its_limit_says_so_for_a_pod_that_waits_for_a_certain_one() -> None:
    runner = simulate_elastic(minAvailable=0)
    runner.start(3)
    assert runner.settle(60) == 0
    limits = {"op": "add", "path": "/spec/limits", "value": {"maxAddresses": 3}}
    runner.sim.api.patch(ENIPOOLS, "pods", operations=[limits])
    keep_taken_address(runner.sim)
    runner.sim.add_pod("web-0", "n1")
    assert runner.settle(60) == 1
    found = find(runner.sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    assert found.reason == Reason.POOL_LIMIT


POLICY = SizingPolicy(8, 3, 2, max_addresses=8, reclaim_after=60, elastic=True)


def an_eni(name: str, addresses: int, granted: int, **other: Any) -> ENIState:
    values: dict[str, Any] = {"ready": True, "wanted": addresses, **other}
    return ENIState(name, addresses, granted=granted, **values)


def claiming(addresses: int, granted: int, **other: Any) -> ENIState:
    """Return an ENI that is to get an address for a pod that waits for it."""
    return an_eni("a", addresses, granted, **{"claimed": 1, "awaited": 1, **other})


@pytest.mark.parametrize(
    ("enis", "planned"),
    [
        pytest.param([claiming(7, 5)], Plan((GrowENI("a", 8),)), id="there is room"),
        pytest.param(
            [claiming(8, 5)], Plan((RetireAddresses("a", 7),)), id="a free one makes room"
        ),
        pytest.param([claiming(8, 5, wanted=7)], Plan(), id="one is about to make room"),
        pytest.param(
            [claiming(7, 5, releasing=1)], Plan((GrowENI("a", 8),)), id="one is leaving the port"
        ),
        pytest.param(
            [claiming(4, 3), an_eni("b", 4, 1)],
            Plan((RetireAddresses("b", 3),)),
            id="one of another ENI",
        ),
        pytest.param(
            [claiming(4, 4), an_eni("b", 3, 3, wanted=4, claimed=1)],
            Plan((RetireAddresses("b", 3),)),
            id="what is kept for a pod that is away",
        ),
        pytest.param(
            [an_eni("b", 3, 3, claimed=1), claiming(4, 4)],
            Plan((GrowENI("a", 5),)),
            id="first the one for which a pod waits",
        ),
        pytest.param([claiming(8, 5, awaited=0)], Plan(), id="none for a pod that is away"),
        pytest.param([claiming(8, 8)], Plan(limit_reached=True), id="pods have all of them"),
        pytest.param(
            [claiming(4, 3, refused=True, scarce=True, wanted=8)],
            Plan(),
            id="asked for with others that the cloud refuses",
        ),
        pytest.param(
            [claiming(4, 3, refused=True, wanted=8, lacking_seconds=60)],
            Plan((CreateENI("n1", 3),)),
            id="another ENI for the others leaves room for it",
        ),
        pytest.param(
            [claiming(4, 0), an_eni("b", 4, 2)],
            Plan((RetireAddresses("b", 2),)),
            id="what is given back anyway is enough, and the ENI itself stays",
        ),
        pytest.param([claiming(6, 0)], Plan((GrowENI("a", 7),)), id="its ENI loses none"),
        pytest.param(
            [claiming(1, 0, idle_seconds=99.0), an_eni("b", 4, 1)],
            Plan((GrowENI("a", 2),)),
            id="its idle ENI stays",
        ),
    ],
)
def test_what_a_node_does_for_a_claim_at_its_limit(enis: list[ENIState], planned: Plan) -> None:
    assert plan(NodeState("n1", tuple(enis), peak=0), POLICY) == planned


@pytest.mark.parametrize(
    ("eni", "alternative", "planned"),
    [
        pytest.param(an_eni("a", 2, 0, all_leave=True), set[str](), (), id="one leaves before"),
        pytest.param(
            an_eni("a", 1, 0, all_leave=True),
            set[str](),
            (GrowENI("a", 2),),
            id="it leaves after that",
        ),
        pytest.param(
            an_eni("a", 1, 0, all_leave=True, room=0),
            {"other"},
            (),
            id="only other subnets have one",
        ),
    ],
)
def test_another_address_takes_the_place_of_the_last_one_that_leaves(
    eni: ENIState, alternative: set[str], planned: tuple[GrowENI, ...]
) -> None:
    node = NodeState("n1", (eni,), alternative=frozenset(alternative))
    assert plan(node, SizingPolicy(8, 3, 0, elastic=True)).actions == planned
