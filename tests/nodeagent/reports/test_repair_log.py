"""However much others change, and however often, the log names some of it and counts the rest."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_nodeagent.datapath_api import (
    REPAIR_KINDS,
    Hold,
    NodeReport,
    NodeSnapshot,
    Repair,
    WantedNode,
)
from openeni_nodeagent.looks import repair_notes
from openeni_nodeagent.reports.repair_log import NAMED, WINDOW_SECONDS, RepairLog
from openeni_testing.agent.clock import Clock
from openeni_testing.agent.parts import AgentParts

LOOKS = st.lists(
    st.tuples(st.floats(0, 300), st.sampled_from(REPAIR_KINDS), st.integers(0, 3 * NAMED))
)


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


def test_what_was_counted_is_reported_after_its_window_whatever_is_repaired_then() -> None:
    log = RepairLog()
    for _ in range(NAMED + 2):
        log.lines(routes(1), 0.0)
    rule = Repair("rule", "rule 500 is missing")
    assert log.lines([rule], WINDOW_SECONDS - 1) == ["rule 500 is missing"]
    assert log.lines([], WINDOW_SECONDS) == ["2 more of kind route"]
    assert log.lines([], 3 * WINDOW_SECONDS) == []


def test_a_window_has_one_line_with_a_count() -> None:
    log = RepairLog()
    for _ in range(NAMED + 2):
        log.lines(routes(1), 0.0)
    assert log.lines([], WINDOW_SECONDS) == ["2 more of kind route"]
    assert len(log.lines(routes(NAMED + 3), WINDOW_SECONDS)) == NAMED
    assert log.lines([], 2 * WINDOW_SECONDS) == ["3 more of kind route"]


def test_a_look_that_repairs_nothing_reports_what_earlier_ones_have_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock.of(monkeypatch, repair_notes)
    parts = AgentParts(tmp_path)
    parts.create_objects()
    reconcile, repairs = parts.datapath.reconcile, routes(1)

    def repairing(snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        return replace(reconcile(snapshot, wanted, hold), repairs=tuple(repairs))

    monkeypatch.setattr(parts.datapath, "reconcile", repairing)
    for _ in range(NAMED + 2):
        parts.look()
    repairs.clear()
    clock.now += WINDOW_SECONDS
    parts.look()
    assert caplog.messages[-2:] == [
        "repaired: route 0 is missing",
        "repaired: 2 more of kind route",
    ]


def lines_of(
    kind: str, looks: list[tuple[float, str, int]], ends: float
) -> list[tuple[float, str]]:
    """Return the lines of one kind with their times, also of looks that end without repairs."""
    log, quiet = RepairLog(), [(ends, REPAIR_KINDS[0], 0)]
    return [
        (at, line)
        for at, of, count in [*sorted(looks), *quiet]
        for line in log.lines([Repair(of, f"a {of}")] * count, at)
        if line.endswith(kind)
    ]


@given(LOOKS)
def test_everything_is_named_or_counted_in_the_end(looks: list[tuple[float, str, int]]) -> None:
    for kind in REPAIR_KINDS:
        lines = [line for _, line in lines_of(kind, looks, 300 + WINDOW_SECONDS)]
        reported = sum(1 if line == f"a {kind}" else int(line.split()[0]) for line in lines)
        assert reported == sum(count for _, of, count in looks if of == kind)


@given(LOOKS)
def test_there_are_no_more_lines_than_the_windows_hold(looks: list[tuple[float, str, int]]) -> None:
    """A window begins with a line."""
    for kind in REPAIR_KINDS:
        windows = list[list[float]]()
        for at, _ in lines_of(kind, looks, 300.0):
            if not windows or at >= windows[-1][0] + WINDOW_SECONDS:
                windows.append([])
            windows[-1].append(at)
        assert all(len(times) <= NAMED + 1 for times in windows)
