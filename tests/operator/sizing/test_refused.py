"""What a node does whose elastic ENI the cloud gives no addresses."""

from dataclasses import replace

import pytest

from openeni_crds.capacity import Limits
from openeni_operator.sizing.elastic import REFUSAL_SECONDS
from openeni_operator.sizing.limits import PoolBudget, pool_budget
from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    ENIState,
    GrowENI,
    NodeState,
    RetireAddresses,
    SizingPolicy,
)

POLICY = SizingPolicy(8, 3, 2, elastic=True)
NEW = ENIState("a", 4, granted=4, ready=True, wanted=8, refused=True)
OLD = replace(NEW, lacking_seconds=REFUSAL_SECONDS)
SCARCE = replace(OLD, scarce=True)
NOTHING, OTHERS = frozenset[str](), frozenset({"others"})  # subnets
OTHER = ENIState("b", 2, granted=2, ready=True, wanted=2)


@pytest.mark.parametrize("alternative", [NOTHING, OTHERS])
@pytest.mark.parametrize(
    ("enis", "actions"),
    [
        pytest.param((NEW,), [], id="the next attempt may succeed"),
        pytest.param((OLD,), [CreateENI("n1", 4)], id="else another ENI"),
        pytest.param((OLD, OTHER), [GrowENI("b", 6)], id="or one that there is"),
    ],
)
def test_a_port_that_is_refused_for_a_reason_of_its_own(
    enis: tuple[ENIState, ...], actions: list[Action], alternative: frozenset[str]
) -> None:
    """It goes on asking: what it has asked for does not come and go with each attempt."""
    node = NodeState("n1", enis, alternative=alternative)
    assert list(plan(node, POLICY).actions) == actions


def test_where_addresses_are_scarce_another_eni_helps_in_other_subnets_only() -> None:
    assert plan(NodeState("n1", (SCARCE,)), POLICY).actions == ()
    node = NodeState("n1", (SCARCE,), alternative=OTHERS)
    assert plan(node, POLICY).actions == (RetireAddresses("a", 4), CreateENI("n1", 4))


@pytest.mark.parametrize(("limit", "kept"), [(8, 4), (9, 5), (11, 7)])
def test_it_asks_for_no_more_than_other_enis_leave_of_the_nodes_limit(
    limit: int, kept: int
) -> None:
    full = replace(OTHER, addresses=4, granted=2, wanted=4)
    policy = replace(POLICY, max_addresses=limit)
    assert plan(NodeState("n1", (OLD, full)), policy).actions == (RetireAddresses("a", kept),)


@pytest.mark.parametrize(
    ("refused", "grown"),
    [
        pytest.param(NEW, [], id="the next attempt may succeed"),
        pytest.param(OLD, [GrowENI("b", 4)], id="else the other one gets them"),
        pytest.param(SCARCE, [], id="which would find none either"),
    ],
)
def test_the_rest_of_a_nodes_limit_is_asked_for_once(
    refused: ENIState, grown: list[Action]
) -> None:
    """Two ENIs that ask for it by turns would be refused it in each call, for ever."""
    node = NodeState("n1", (replace(refused, wanted=6), OTHER))
    assert list(plan(node, replace(POLICY, max_addresses=8)).actions) == grown


def test_of_two_that_ask_in_vain_the_first_gives_way() -> None:
    """Else the second one would be offered again what is withdrawn from it."""
    asks = replace(OTHER, wanted=4, refused=True, lacking_seconds=1.0)
    node = NodeState("n1", (replace(OLD, wanted=6), asks))
    found = plan(node, replace(POLICY, max_addresses=8)).actions
    assert found == (RetireAddresses("a", 4),)


def test_who_is_refused_for_long_gives_way_at_once_to_what_pods_wait_for() -> None:
    """What it asks for may be all that the pool's limit leaves; by then it may not be refused."""
    claims = replace(OTHER, claimed=1, awaited=1)
    policy = replace(POLICY, max_addresses=7)
    for asks, at_once in (
        (replace(OLD, wanted=5), (RetireAddresses("a", 4),)),
        (replace(NEW, wanted=5), ()),
    ):
        found = plan(NodeState("n1", (asks, claims)), policy).actions
        assert found == (GrowENI("b", 3), *at_once)
        found = plan(NodeState("n1", (asks, replace(claims, wanted=3))), policy).actions
        assert found == (RetireAddresses("a", 4),)


def test_of_two_that_pods_wait_for_the_one_that_asks_keeps_its_request() -> None:
    """Else each would end the other's, as often as the pool looks."""
    asks = replace(NEW, wanted=5, claimed=1, awaited=1)
    node = NodeState("n1", (asks, replace(OTHER, claimed=1, awaited=1)))
    policy = replace(POLICY, max_addresses=7)
    assert plan(node, policy).actions == ()
    node = replace(node, enis=(replace(asks, lacking_seconds=REFUSAL_SECONDS), node.enis[1]))
    assert GrowENI("b", 3) in plan(node, policy).actions


def test_what_pods_claim_is_asked_for_before_another_eni_grows_and_nothing_else_is() -> None:
    """Else the one that grew would give way to it, be refused as well, and grow again."""
    claims = replace(OLD, wanted=6, claimed=1, awaited=1)
    policy = replace(POLICY, max_addresses=8)
    assert plan(NodeState("n1", (claims, OTHER)), policy).actions == (GrowENI("b", 3),)
    refused = replace(OTHER, wanted=3, refused=True)
    node = NodeState("n1", (claims, refused))
    assert plan(node, policy).actions == (RetireAddresses("a", 5),)
    claims = replace(claims, wanted=5)
    node = NodeState("n1", (claims, refused, replace(OTHER, name="c")))
    assert plan(node, replace(POLICY, max_addresses=10)).actions == ()


CLAIMS = replace(OLD, wanted=6, claimed=1, awaited=1)


@pytest.mark.parametrize(
    ("enis", "waiting", "planned"),
    [
        pytest.param((CLAIMS,), 1, CreateENI("n1", 1), id="a pod that any address serves"),
        pytest.param(
            (CLAIMS, replace(OTHER, claimed=1, awaited=1)), 0, GrowENI("b", 3), id="another claim"
        ),
    ],
)
def test_at_the_pools_limit_spare_ones_that_are_refused_for_long_give_way_to_pods(
    enis: tuple[ENIState, ...], waiting: int, planned: Action
) -> None:
    """Also of an ENI that goes on asking for what other pods wait for."""
    node = NodeState("n1", enis, waiting=waiting, alternative=OTHERS)
    budget = pool_budget(Limits(max_addresses=node.counted), 1, node.counted)
    policy = SizingPolicy(8, 3, 0, elastic=True)
    found = [budget.allow(a, node) for a in plan(node, budget.bind(policy, node)).actions]
    assert [action for action in found if action] == [RetireAddresses("a", 5)]
    enis = (replace(CLAIMS, wanted=5), *enis[1:])
    node = replace(node, enis=enis)
    budget = pool_budget(Limits(max_addresses=node.counted + 1), 1, node.counted)
    found = [budget.allow(a, node) for a in plan(node, budget.bind(policy, node)).actions]
    assert found == [planned]


def test_an_eni_of_other_subnets_gets_what_is_scarce_in_those_of_another() -> None:
    """Although they have too few for another ENI: with its primary address that takes two."""
    policy = replace(POLICY, max_addresses=7)
    scarce = replace(SCARCE, wanted=5, subnets=frozenset({"full"}))
    for subnets, grown in (({"full"}, ()), ({"full", "v6"}, ()), ({"last"}, (GrowENI("b", 3),))):
        other = replace(OTHER, subnets=frozenset(subnets), room=1)
        assert plan(NodeState("n1", (scarce, other)), policy).actions == grown


def test_an_eni_of_the_only_subnets_that_have_some_is_not_refused_for_want_of_others() -> None:
    there = frozenset({"only"})
    node = NodeState("n1", (replace(SCARCE, subnets=there),), alternative=there)
    assert plan(node, POLICY).actions == ()


def test_what_it_asks_for_is_in_the_pools_budget_already() -> None:
    """Else a node with claims would withdraw it and ask for it again by turns."""
    node = NodeState("n1", (replace(OLD, wanted=5, claimed=1, awaited=1),), waiting=2)
    policy = PoolBudget(None, 0).bind(POLICY, node)
    assert not [a for a in plan(node, policy).actions if isinstance(a, RetireAddresses)]


def test_what_an_eni_that_goes_once_asked_for_is_not() -> None:
    """Else the claim of a pod would wait, although a free address could make room for it."""
    going = replace(OTHER, name="c", wanted=8, deleting=True)
    full = replace(OTHER, addresses=4, wanted=4, claimed=1, awaited=1)
    node = NodeState("n1", (full, going))
    policy = PoolBudget(None, 0).bind(POLICY, node)
    assert RetireAddresses("b", 3) in plan(node, policy).actions
