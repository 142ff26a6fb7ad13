"""Which addresses a port gets and loses: only what the agent has given up, and never too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_crds.status.eni import NodeStatus, PortStatus, PortSubnet, RetireAnswer
from openeni_operator.cloud.api import FixedIP, Port
from openeni_operator.eni.resize import (
    NO_RESIZE,
    Claims,
    Resize,
    is_answered,
    resize_of,
    with_more,
    without,
)
from openeni_operator.enipool.address_choice import AddressRequest, is_misasked, request_addresses
from openeni_testing.objects import eni_body

FOUR, SIX = PortSubnet("s4", "10.98.0.0/22"), PortSubnet("s6", "fd00::/64")
PRIMARY = ("10.98.0.2", "fd00::2")


def fours(count: int) -> tuple[str, ...]:
    return tuple(f"10.98.0.{n}" for n in range(10, 10 + count))


def sixes(count: int) -> tuple[str, ...]:
    return tuple(f"fd00::{n:x}" for n in range(10, 10 + count))


def an_eni(
    addresses: tuple[str, ...],
    count: int,
    *,
    retiring: tuple[str, ...] = (),
    retired: tuple[str, ...] = (),
    refused: tuple[str, ...] = (),
    releasing: tuple[str, ...] = (),
    generation: int = 2,
    dual: bool = False,
) -> ENI:
    """Return an ENI; the agent has answered at generation 2."""

    def at(answers: tuple[str, ...]) -> tuple[RetireAnswer, ...]:
        return tuple(RetireAnswer(a, 2) for a in answers)

    port = PortStatus(
        id="p1",
        name="openeni-c-e",
        mac_address="fa:16:3e:00:00:01",
        revision=1,
        mtu=1450,
        subnets=(FOUR, SIX) if dual else (FOUR,),
        primary=PRIMARY if dual else PRIMARY[:1],
        addresses=addresses,
        releasing=releasing,
    )
    made = decode(eni_body("e"), ENI)
    status = replace(
        made.status, port=port, node=NodeStatus(retired=at(retired), refused=at(refused))
    )
    metadata = replace(made.metadata, generation=generation)
    spec = replace(made.spec, address_count=count, retiring=retiring)
    return replace(made, metadata=metadata, spec=spec, status=status)


def resized(eni: ENI, *, elastic: bool = True) -> Resize:
    assert eni.status.port is not None
    return resize_of(eni, eni.status.port, elastic=elastic)


A, B, C = fours(3)


@pytest.mark.parametrize(
    ("eni", "wanted"),
    [
        pytest.param(an_eni(fours(3), 3), NO_RESIZE, id="as many as it should have"),
        pytest.param(an_eni(fours(3), 5), Resize(add=("s4", "s4")), id="two too few"),
        pytest.param(an_eni(fours(3), 2), NO_RESIZE, id="none is asked for yet"),
        pytest.param(an_eni(fours(3), 2, retiring=(C,)), NO_RESIZE, id="no answer yet"),
        pytest.param(
            an_eni(fours(3), 2, retiring=(C,), retired=(C,)), Resize((C,)), id="it is retired"
        ),
        pytest.param(
            an_eni(fours(3), 2, retiring=(C,), retired=(C,), generation=3),
            NO_RESIZE,
            id="an answer to an earlier request",
        ),
        pytest.param(an_eni(fours(3), 2, retired=(C,)), NO_RESIZE, id="the request is withdrawn"),
        pytest.param(
            an_eni(fours(3), 2, retiring=(B, C), retired=(B, C)), Resize((B,)), id="one suffices"
        ),
        pytest.param(
            an_eni(fours(3), 3, retiring=(C,), retired=(C,)), NO_RESIZE, id="it shall stay"
        ),
        pytest.param(
            an_eni(fours(3), 1, retiring=fours(3), retired=fours(3)),
            NO_RESIZE,
            id="the whole ENI is to go",
        ),
        pytest.param(
            an_eni(fours(2), 2, releasing=(C,), generation=9), Resize((C,)), id="it is recorded"
        ),
        pytest.param(
            an_eni(fours(2), 3, releasing=(C,)), Resize((C,), ("s4",)), id="and another shall come"
        ),
        pytest.param(
            an_eni((*fours(3), *sixes(2)), 3, dual=True), Resize(add=("s6",)), id="of one family"
        ),
        pytest.param(
            an_eni((*fours(2), *sixes(2)), 3, dual=True),
            Resize(add=("s4", "s6")),
            id="one of each family",
        ),
    ],
)
def test_what_is_to_be_changed(eni: ENI, wanted: Resize) -> None:
    assert resized(eni) == wanted


def test_a_pool_that_is_not_elastic_only_ends_what_has_begun() -> None:
    assert resized(an_eni(fours(3), 5), elastic=False) == NO_RESIZE
    retired = an_eni(fours(3), 2, retiring=(C,), retired=(C,))
    assert resized(retired, elastic=False) == NO_RESIZE
    assert resized(an_eni(fours(2), 2, releasing=(C,)), elastic=False) == Resize((C,))


some = st.lists(st.sampled_from(fours(4)), unique=True).map(tuple)


@given(some, st.integers(1, 5), some, some, st.integers(1, 3))
def test_only_what_is_asked_for_and_retired_leaves(
    addresses: tuple[str, ...],
    count: int,
    retiring: tuple[str, ...],
    retired: tuple[str, ...],
    generation: int,
) -> None:
    eni = an_eni(addresses, count, retiring=retiring, retired=retired, generation=generation)
    found = resized(eni)
    present = set(addresses) & set(retiring) & set(retired) if generation <= 2 else set[str]()
    assert set(found.release) <= present
    assert len(addresses) - len(found.release) + len(found.add) >= min(count, len(addresses))
    assert not (found.release and found.add)


@pytest.mark.parametrize(
    ("eni", "keep", "granted", "count", "retiring"),
    [
        pytest.param(an_eni(fours(3), 3), 2, (), 2, (C,), id="the highest first"),
        pytest.param(an_eni(fours(3), 3), 1, (C,), 1, (A, B), id="none that a pod has"),
        pytest.param(an_eni(fours(3), 3), 1, (B, C), 2, (A,), id="it keeps more if pods need it"),
        pytest.param(
            an_eni(fours(3), 2, retiring=(A,)), 2, (), 2, (A,), id="what is asked for stays so"
        ),
        pytest.param(
            an_eni(fours(3), 2, retiring=(C,), refused=(C,)), 2, (), 2, (B,), id="but not a refused"
        ),
        pytest.param(an_eni(fours(3), 2, retiring=(C,)), 3, (), 3, (), id="withdrawn"),
        pytest.param(an_eni(fours(3), 2, retiring=(C,)), 9, (), 9, (), id="and more"),
        pytest.param(
            an_eni((*fours(2), *sixes(2)), 2, dual=True),
            1,
            ("fd00::b",),
            1,
            (B, "fd00::a"),
            id="one of each family",
        ),
    ],
)
def test_the_request_for_addresses(
    eni: ENI, keep: int, granted: tuple[str, ...], count: int, retiring: tuple[str, ...]
) -> None:
    found = request_addresses(eni, keep, granted)
    assert (found.count, set(found.retiring)) == (count, set(retiring))


elastic_enis = st.builds(an_eni, some, st.integers(1, 5), retiring=some, refused=some)


def test_after_refusals_each_address_has_its_turn() -> None:
    """Only the last refusal is known, and no PodIP yet."""
    asked: list[tuple[str, ...]] = [(C,)]
    for _ in range(3):
        eni = an_eni(fours(3), 2, retiring=asked[-1], refused=asked[-1])
        asked.append(request_addresses(eni, 2, ()).retiring)
    assert asked == [(C,), (B,), (A,), (C,)]


@given(elastic_enis, some, st.integers(1, 5))
def test_a_request_that_was_just_made_needs_no_correction(
    eni: ENI, granted: tuple[str, ...], keep: int
) -> None:
    wanted = request_addresses(eni, keep, granted)
    assert not set(wanted.retiring) & set(granted)
    spec = replace(eni.spec, address_count=wanted.count, retiring=wanted.retiring)
    assert not is_misasked(replace(eni, spec=spec))


FIXED = tuple(FixedIP("s4", address) for address in ("10.98.0.2", A, B))


def a_port(*fixed: FixedIP) -> Port:
    return Port("p1", "openeni-c-e", "net", "fa:16:3e:00:00:01", fixed_ips=fixed)


def test_a_change_names_every_address_that_stays() -> None:
    port = a_port(*FIXED)
    assert without(port, [B]) == FIXED[:2]
    assert with_more(port, ["s4", "s4"]) == (*FIXED, FixedIP("s4", ""), FixedIP("s4", ""))


@pytest.mark.parametrize(
    ("found", "answered"),
    [
        ((*FIXED, FixedIP("s4", C)), True),
        ((*FIXED, FixedIP("s4", C), FixedIP("slaac", "fd01::1")), True),
        (FIXED, False),
        ((*FIXED[:2], FixedIP("s4", C)), False),
        ((*FIXED, FixedIP("s4", C), FixedIP("s4", "10.98.0.99")), False),
        ((*FIXED, FixedIP("other", C)), False),
    ],
)
def test_an_answer_is_compared_with_the_request(
    found: tuple[FixedIP, ...], *, answered: bool
) -> None:
    assert is_answered(with_more(a_port(*FIXED), ["s4"]), a_port(*found)) is answered


CLAIMED = "10.98.1.77"


@pytest.mark.parametrize(
    ("count", "claims", "resize"),
    [
        pytest.param(3, Claims((CLAIMED,)), Resize(claimed=FixedIP("s4", CLAIMED)), id="room"),
        pytest.param(2, Claims((CLAIMED,)), NO_RESIZE, id="no room yet"),
        pytest.param(
            4, Claims((CLAIMED,)), Resize(add=("s4",), claimed=FixedIP("s4", CLAIMED)), id="more"
        ),
        pytest.param(
            3,
            Claims((CLAIMED,), frozenset({CLAIMED})),
            Resize(refused=(CLAIMED,)),
            id="refused: nothing takes its place",
        ),
        pytest.param(3, Claims(("192.0.2.1",)), Resize(add=("s4",)), id="of no subnet"),
        pytest.param(3, Claims((PRIMARY[0],)), Resize(add=("s4",)), id="the primary one"),
        pytest.param(3, Claims(fours(1)), Resize(add=("s4",)), id="one that it has"),
    ],
)
def test_a_claimed_address_counts_like_any_other(
    count: int, claims: Claims, resize: Resize
) -> None:
    eni = an_eni(fours(2), count)
    assert eni.status.port is not None
    assert resize_of(eni, eni.status.port, claims, elastic=True) == resize
    assert resize_of(eni, eni.status.port, claims, elastic=False) == NO_RESIZE


def test_one_that_is_leaving_is_not_claimed_back() -> None:
    eni = an_eni(fours(2), 3, releasing=(CLAIMED,))
    assert eni.status.port is not None
    found = resize_of(eni, eni.status.port, Claims((CLAIMED,)), elastic=True)
    assert found.claimed is None


def test_what_other_nodes_claim_is_asked_for_first() -> None:
    eni = an_eni(fours(4), 4)
    going = fours(1)
    wanted = request_addresses(eni, 4, (), going)
    assert (wanted.count, wanted.retiring) == (3, going)
    assert is_misasked(eni, going)
    assert not is_misasked(an_eni(fours(4), 3, retiring=going), going)
    assert request_addresses(eni, 4, going, going).retiring == (), "a pod has it"


def test_of_addresses_that_all_leave_one_stays_until_there_is_another() -> None:
    going = fours(4)
    wanted = request_addresses(an_eni(going, 4), 4, (), going)
    assert (wanted.count, wanted.retiring) == (1, going[1:])
    assert is_misasked(an_eni(going, 4), going)
    assert not is_misasked(an_eni(going, 1, retiring=going[1:]), going)
    last = going[:1]
    assert request_addresses(an_eni(last, 1), 2, (), last) == AddressRequest(2)
    assert not is_misasked(an_eni(last, 2), last)
    assert is_misasked(an_eni(fours(2), 2), last)
