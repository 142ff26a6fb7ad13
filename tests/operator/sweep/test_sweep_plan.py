"""The sweep deletes only ports that are proven to be left over, and never many at once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.settings import OrphanMode
from openeni_operator.sweep.plan import (
    LOOK_INTERVAL,
    MIN_AGE,
    PortFacts,
    Verdict,
    first_seen,
    judge,
    plan,
)

ORPHAN = PortFacts("p1", proven=True, has_eni=False, age=MIN_AGE, agreed_for=LOOK_INTERVAL)
OWNED = replace(ORPHAN, has_eni=True)


@st.composite
def ports(draw: st.DrawFn) -> list[PortFacts]:
    """Draw the ports of one cloud, most of which have their ENI."""
    seconds = st.one_of(st.floats(0, 2000), st.sampled_from([MIN_AGE, LOOK_INTERVAL]))
    odd = draw(
        st.lists(
            st.builds(
                PortFacts,
                id=st.just(""),
                proven=st.booleans(),
                has_eni=st.booleans(),
                server_id=st.sampled_from(["", "", "s1"]),
                on_node=st.booleans(),
                age=st.one_of(st.none(), seconds),
                agreed_for=seconds,
            ),
            max_size=8,
        )
    )
    count = draw(st.integers(0, 60))
    mixed = draw(st.permutations([*odd, *[OWNED] * count, *[ORPHAN] * draw(st.integers(0, 9))]))
    return [replace(port, id=f"p{i}") for i, port in enumerate(mixed)]


@given(ports())
def test_only_unused_ports_with_proof_and_two_looks_are_deleted(found: list[PortFacts]) -> None:
    by_id = {port.id: port for port in found}
    for port_id in plan(found, OrphanMode.DELETE).deletions:
        port = by_id[port_id]
        assert port.proven
        assert not port.has_eni
        assert not port.server_id
        assert port.age is not None
        assert port.age >= MIN_AGE
        assert port.agreed_for >= LOOK_INTERVAL


@given(ports())
def test_never_more_than_a_tenth_is_deleted_at_once(found: list[PortFacts]) -> None:
    deleted = plan(found, OrphanMode.DELETE).deletions
    without_eni = [port for port in found if port.proven and not port.has_eni]
    if deleted:
        assert len(without_eni) <= max(3, len(found) / 10)
        assert any(port.has_eni for port in found)
    assert len(set(deleted)) == len(deleted) <= max(3, len(found) / 10)


@given(ports())
def test_a_report_deletes_nothing_and_names_the_same_ports(found: list[PortFacts]) -> None:
    dry, real = plan(found, OrphanMode.REPORT), plan(found, OrphanMode.DELETE)
    assert dry.deletions == ()
    assert dry.ports == real.ports
    if not real.too_many:
        assert real.deletions == dry.ports.get(Verdict.DELETE, ())


@pytest.mark.parametrize(("owned", "orphans"), [(1, 3), (27, 3), (36, 4), (90, 10)])
def test_as_many_as_the_limit_are_deleted_and_one_more_is_one_too_many(
    owned: int, orphans: int
) -> None:
    kept = [replace(OWNED, id=f"kept{i}") for i in range(owned)]
    left = [replace(ORPHAN, id=f"left{i}") for i in range(orphans)]
    assert len(plan(kept + left, OrphanMode.DELETE).deletions) == orphans
    one_more = plan([*kept, *left, replace(ORPHAN, id="more")], OrphanMode.DELETE)
    assert one_more.too_many
    assert one_more.deletions == ()


@pytest.mark.parametrize(
    "doubtful",
    [replace(ORPHAN, age=0), replace(ORPHAN, agreed_for=0), replace(ORPHAN, server_id="s")],
)
def test_ports_that_only_seem_to_be_left_over_count_against_the_limit(doubtful: PortFacts) -> None:
    """A wrong list of ENIs shows in ports of every kind."""
    seeming = [replace(doubtful, id=f"d{i}") for i in range(3)]
    assert plan([replace(OWNED, id="kept"), ORPHAN, *seeming], OrphanMode.DELETE).deletions == ()


def test_a_paused_pool_stops_deletions() -> None:
    found = [replace(OWNED, id="kept"), ORPHAN]
    assert plan(found, OrphanMode.DELETE).deletions == (ORPHAN.id,)
    assert plan(found, OrphanMode.DELETE, paused=True).deletions == ()


def test_an_empty_list_of_enis_is_not_believed() -> None:
    found = plan([ORPHAN], OrphanMode.DELETE)
    assert found.too_many
    assert found.deletions == ()


def test_an_eni_without_its_port_is_reported_after_the_second_look() -> None:
    lost = {"eni-2": LOOK_INTERVAL, "eni-1": LOOK_INTERVAL + 1, "eni-3": LOOK_INTERVAL - 1}
    assert plan([OWNED], OrphanMode.DELETE, lost).enis == ("eni-1", "eni-2")


@pytest.mark.parametrize(
    ("port", "verdict"),
    [
        (OWNED, Verdict.KEEP),
        (replace(OWNED, proven=False, age=None), Verdict.KEEP),
        (replace(ORPHAN, age=MIN_AGE - 1), Verdict.WAIT),
        (replace(ORPHAN, agreed_for=LOOK_INTERVAL - 1), Verdict.WAIT),
        (replace(ORPHAN, proven=False, agreed_for=0), Verdict.WAIT),
        (replace(ORPHAN, proven=False), Verdict.UNPROVEN),
        (replace(ORPHAN, age=None), Verdict.UNPROVEN),
        (replace(ORPHAN, server_id="s", on_node=True), Verdict.ON_NODE),
        (replace(ORPHAN, server_id="s"), Verdict.ON_SERVER),
        (replace(ORPHAN, server_id="s", proven=False), Verdict.UNPROVEN),
        (ORPHAN, Verdict.DELETE),
    ],
)
def test_each_rule_decides_where_those_before_it_do_not(port: PortFacts, verdict: Verdict) -> None:
    assert judge(port) is verdict


@pytest.mark.parametrize(
    "other",
    [
        OWNED,
        replace(ORPHAN, proven=False),
        replace(ORPHAN, server_id="s"),
        replace(ORPHAN, id="p2"),
    ],
)
def test_a_look_that_shows_something_else_begins_the_count_anew(other: PortFacts) -> None:
    seen = first_seen({}, [ORPHAN.situation], 100.0)
    seen = first_seen(seen, [other.situation], 700.0)
    assert first_seen(seen, [ORPHAN.situation, other.situation], 1300.0) == {
        ORPHAN.situation: 1300.0,
        other.situation: 700.0,
    }


def test_what_ages_by_itself_is_the_same_situation() -> None:
    later = replace(ORPHAN, age=2000.0, on_node=True, agreed_for=0.0)
    assert later.situation == ORPHAN.situation
