"""An ENI whose port stays DOWN is given up until it is attached anew, and nothing replaces it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    DeleteENI,
    ENIState,
    GrowENI,
    NodeState,
    RetireAddresses,
    RetireENI,
    SizingPolicy,
    UnretireENI,
)

NEVER = SizingPolicy(addresses_per_eni=3, max_enis=4, min_available=1)
DOWN = ENIState("a", 3, inactive=True)
ASKED = replace(DOWN, parked=True, all_asked=True)
GIVEN_UP = replace(ASKED, all_retired=True)
AGAIN = ENIState("a", 3, ready=True, retiring=True, all_asked=True, all_retired=True)
OTHER = ENIState("b", 3, ready=True)


@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize(
    ("enis", "waiting", "planned"),
    [
        pytest.param([DOWN], 2, [RetireENI("a")], id="its addresses are asked for"),
        pytest.param([replace(DOWN, granted=1)], 2, [], id="not while a pod has one"),
        pytest.param([ASKED], 2, [], id="it gets no other in its place"),
        pytest.param([GIVEN_UP], 2, [], id="nor while it is attached anew"),
        pytest.param([replace(GIVEN_UP, inactive=False)], 2, [], id="whatever delays that"),
        pytest.param([AGAIN], 0, [UnretireENI("a")], id="when it is attached, it serves again"),
        pytest.param([AGAIN, OTHER], 0, [UnretireENI("a")], id="also if pods do not need it"),
    ],
)
def test_examples(
    enis: list[ENIState], waiting: int, planned: list[Action], *, elastic: bool
) -> None:
    node = NodeState("n1", tuple(enis), waiting=waiting)
    assert list(plan(node, replace(NEVER, elastic=elastic)).actions) == planned


def test_one_that_the_pool_gives_back_when_idle_goes_as_any_other() -> None:
    policy = replace(NEVER, reclaim_after=60.0)
    assert plan(NodeState("n1", (AGAIN, OTHER)), policy).actions == (DeleteENI("a"),)


@given(
    st.builds(
        replace,
        st.sampled_from([DOWN, ASKED, GIVEN_UP]),
        granted=st.integers(0, 3),
        wanted=st.none() | st.integers(1, 6),
        claimed=st.integers(0, 2),
        awaited=st.integers(0, 2),
        misasked=st.booleans(),
        idle_seconds=st.none() | st.floats(0, 200),
    ),
    st.integers(0, 5),
    st.booleans(),
)
def test_its_request_is_for_all_or_none_and_it_is_kept(
    eni: ENIState, waiting: int, elastic: bool
) -> None:
    """Else it would be withdrawn and made anew by turns, and the port never attached.

    While pods of the node have some, what others wait for is asked for alone.
    """
    policy = replace(NEVER, elastic=elastic, reclaim_after=60.0, max_addresses=4)
    actions = plan(NodeState("n1", (eni, OTHER), waiting=waiting), policy).actions
    own = [a for a in actions if not isinstance(a, CreateENI) and a.eni == "a"]
    assert not any(isinstance(a, GrowENI | DeleteENI | UnretireENI) for a in own)
    if eni.granted and not eni.all_asked:
        assert own == ([RetireAddresses("a", eni.count)] if eni.misasked else [])
    else:
        assert own == ([] if eni.all_asked else [RetireENI("a")])
