"""What a node gives back still counts against maxAddressesPerNode: its port still has it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.capacity import Limits
from openeni_crds.names import ENIS
from openeni_operator.sizing.limits import pool_budget
from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    ENIState,
    GrowENI,
    NodeState,
    SizingPolicy,
)
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.simulation import Simulation

LIMIT = 4
POLICY = SizingPolicy(addresses_per_eni=3, max_enis=4, min_available=0, max_addresses=LIMIT)
WITH_PODS = ENIState("a", 3, granted=2, ready=True, retiring=True, all_asked=True)
LEAVING: tuple[dict[str, Any], ...] = (
    {"deleting": True},
    {"broken": True},
    {"no_slot": True, "ready": False, "granted": 0},
    {"stuck": True, "ready": False, "granted": 0},
)


@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize("leaving", LEAVING, ids=lambda fields: next(iter(fields)))
def test_a_new_eni_gets_what_those_that_leave_have_left(
    leaving: dict[str, Any], *, elastic: bool
) -> None:
    node = NodeState("n1", (replace(WITH_PODS, **leaving),), waiting=9)
    policy = replace(POLICY, elastic=elastic)
    assert CreateENI("n1", 1) in plan(node, policy).actions
    full = replace(policy, max_addresses=3)
    found = plan(node, full)
    assert [a for a in found.actions if isinstance(a, CreateENI)] == []
    assert found.limit_reached


@pytest.mark.parametrize("leaving", LEAVING[:2], ids=lambda fields: next(iter(fields)))
def test_an_elastic_eni_grows_by_what_those_that_leave_have_left(leaving: dict[str, Any]) -> None:
    policy = SizingPolicy(8, 4, 0, max_addresses=8, elastic=True)
    other = ENIState("b", 2, granted=2, ready=True, wanted=2)
    node = NodeState("n1", (replace(WITH_PODS, **leaving), other), waiting=9)
    assert GrowENI("b", 5) in plan(node, policy).actions


@given(
    st.lists(st.tuples(st.sampled_from(LEAVING), st.integers(1, 3)), max_size=3),
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(1, 12),
    st.booleans(),
)
def test_the_limit_holds_whatever_leaves(
    leaving: list[tuple[dict[str, Any], int]],
    staying: list[int],
    limit: int,
    elastic: bool,
) -> None:
    enis = [
        replace(WITH_PODS, **{"granted": count} | fields, name=f"a{n}", addresses=count)
        for n, (fields, count) in enumerate(leaving)
    ]
    enis += [ENIState(f"b{n}", count, granted=count, ready=True) for n, count in enumerate(staying)]
    policy = replace(POLICY, max_enis=6, max_addresses=limit, elastic=elastic)
    held = {e.name: e.held for e in enis}
    for action in plan(NodeState("n1", tuple(enis), waiting=9), policy).actions:
        before, after = sum(held.values()), grown(held, action)
        assert after <= max(before, limit)


def grown(held: dict[str, int], action: Action) -> int:
    """Note what the ENIs hold after the action, and return the sum."""
    match action:
        case CreateENI(_, count):
            held["new"] = count
        case GrowENI(name, count):
            held[name] = max(held[name], count)
        case _:
            pass
    return sum(held.values())


@pytest.mark.parametrize("growth", ["Static", "Elastic"])
def test_the_ports_of_a_node_never_have_more_than_it_may_hold(growth: str) -> None:
    """An ENI that somebody deletes stays until its last pod has ended."""
    sim = Simulation()
    capacity = {"addressesPerENI": 3, "minAvailable": 0, "maxAddressesPerNode": LIMIT}
    sim.add_pool(capacity={**capacity, "growth": growth})
    runner, most = PodRunner(sim), 0

    def count(_: str) -> None:
        nonlocal most
        most = max(most, sum(len(port.fixed_ips) - 1 for port in sim.cloud.ports.values()))

    sim.cloud.observe = count
    runner.start(2)
    assert runner.settle(60) == 0
    (first,) = sim.enis()
    sim.api.delete(ENIS, first.name)
    runner.start(5)
    assert runner.settle(300) > 0
    assert len(sim.enis()) == 2
    assert most == LIMIT
    runner.end(2)
    runner.settle(300)
    assert first.metadata.uid not in [eni.metadata.uid for eni in sim.enis()]
    assert most == LIMIT


def test_what_a_new_eni_gets_is_not_given_to_claims_of_another_as_well() -> None:
    stuck = ENIState("pods-n1-0", 1, granted=1, stuck=True, stalled_seconds=600.0, wanted=1)
    node = NodeState("n1", (replace(stuck, claimed=1),), max_pods=2)
    policy = SizingPolicy(1, 2, min_available=1, max_addresses=2, elastic=True)
    assert plan(node, policy).actions == (CreateENI("n1", 1),)


@pytest.mark.parametrize(
    ("held", "left", "kept"),
    [
        pytest.param(8, 0, 2, id="room for both"),
        pytest.param(9, 1, 0, id="for one: whoever comes first has it"),
        pytest.param(10, 0, 0, id="for none"),
        pytest.param(11, 0, 0, id="the limit was lowered"),
    ],
)
def test_room_for_what_is_on_its_way_is_somebodys(held: int, left: int, kept: int) -> None:
    budget = pool_budget(Limits(max_addresses=10), 3, held, {"n3": 1, "n4": 1})
    assert (budget.addresses, sum(budget.kept.values())) == (left, kept)
