"""However much others change, and however often, the log names some of it and counts the rest."""

from hypothesis import given
from hypothesis import strategies as st

from openeni_nodeagent.datapath_api import REPAIR_KINDS, Repair
from openeni_nodeagent.reports.repair_log import NAMED, WINDOW_SECONDS, RepairLog


def routes(count: int) -> list[Repair]:
    return [Repair("route", f"route {number} is missing") for number in range(count)]


def test_what_is_repaired_now_and_then_is_named() -> None:
    log = RepairLog()
    for at in (0.0, 10.0, WINDOW_SECONDS, 5 * WINDOW_SECONDS):
        assert log.lines(routes(1), at) == ["route 0 is missing"]


def test_of_many_at_once_a_few_are_named_and_the_rest_is_counted() -> None:
    found = RepairLog().lines([*routes(500), Repair("rule", "rule 500 is missing")], 0.0)
    named = [repair.text for repair in routes(NAMED)]
    assert found == [*named, "495 more of kind route", "rule 500 is missing"]


def test_one_that_comes_again_and_again_is_named_a_few_times_and_then_counted() -> None:
    log = RepairLog()
    lines = [log.lines(routes(1), at / 10) for at in range(600)]
    assert [len(found) for found in lines] == [*([1] * NAMED), *([0] * (600 - NAMED))]
    assert log.lines(routes(1), WINDOW_SECONDS) == ["route 0 is missing", "595 more of kind route"]


@given(
    st.lists(st.tuples(st.floats(0, 300), st.sampled_from(REPAIR_KINDS), st.integers(1, 100))),
)
def test_there_are_no_more_lines_than_the_windows_hold(
    looks: list[tuple[float, str, int]],
) -> None:
    log = RepairLog()
    lines = [
        line
        for at, kind, count in sorted(looks)
        for line in log.lines([Repair(kind, "text")] * count, at)
    ]
    windows = 300 / WINDOW_SECONDS + 1
    assert len(lines) <= len(REPAIR_KINDS) * windows * 2 * NAMED
