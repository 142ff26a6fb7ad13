"""The operator's benchmark: what it concludes from its figures, and how it prints them."""

from dataclasses import replace
from typing import Any

import pytest

from openeni_operator.cloud.budget import CallType
from openeni_testing.operator_bench.measured import (
    OPERATOR,
    Growth,
    Restart,
    Samples,
    Size,
    count_types,
)
from openeni_testing.operator_bench.phases import Durations
from openeni_testing.operator_bench.report import exponent, page

RATES = {CallType.READ: 50.0, CallType.WRITE: 20.0, CallType.ATTACH: 20.0}
CALLS = {"create port": 400, "attach port": 400, "find port": 800, "get server": 100}
OTHERS = {"API server": 11.0, "cloud": 3.0}


def growth_of(seconds: float, calls: dict[str, int], cpu: dict[str, float]) -> Growth:
    """Return a growth whose calls were all made in its first half, at an even rate."""
    times = {o: [seconds / 2 * n / count for n in range(count)] for o, count in calls.items()}
    return Growth(seconds, times, cpu, {"ENI": 2000, "ENIPool": 40})


def size(nodes: int = 100, **changes: Any) -> Size:
    growth = growth_of(22.0, CALLS, {OPERATOR: 9.0, **OTHERS})
    restart = Restart(2.5, {"list ports": 1}, {"list ports": 1, "find subnets": 1}, 1.25, 90.0)
    measured = Size(
        nodes=nodes,
        enis=4 * nodes,
        podips=50 * nodes,
        growth=growth,
        idle=Samples((0.01, 0.004, 0.02)),
        busy=Samples((0.05, 0.06, 0.07)),
        events_per_second=50.0,
        reconciles_per_event={"ENIPool": 0.2},
        restart=restart,
        peak_mebibytes=120.0,
    )
    return replace(measured, **changes)


def cells(text: str, title: str, table: int = 0) -> list[str]:
    """Return the cells of a row by its first cell and the table of those that have such a row."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
    return rows[table].strip("| ").split(" | ")


def test_each_call_counts_against_its_budget() -> None:
    counts = count_types({**CALLS, "connect": 1, "tag port": 2, "detach port": 3})
    assert counts == {CallType.READ: 901, CallType.WRITE: 402, CallType.ATTACH: 403}


@pytest.mark.parametrize(
    ("calls", "bound"),
    [
        (CALLS, 20.0),
        ({**CALLS, "find port": 2400}, 50.0),
        ({**CALLS, "attach port": 800}, 40.0),
    ],
)
def test_the_bound_is_that_of_the_fullest_budget(calls: dict[str, int], bound: float) -> None:
    growth = growth_of(1.2 * bound, calls, {})
    assert growth.bound(RATES) == bound
    assert growth.ratio(RATES) == pytest.approx(1.2)


def test_changes_in_the_cloud_are_found_before_and_in_the_resync() -> None:
    restart = Restart(1.0, {"create port": 1, "find port": 5}, {"attach port": 2}, 0.0, 0.0)
    assert restart.cloud_writes == 3
    assert replace(restart, calls={}, resync_calls={"list ports": 1}).cloud_writes == 0


@pytest.mark.parametrize(
    ("before", "after", "factor", "expected"),
    [(2.0, 6.0, 3.0, 1.0), (2.0, 18.0, 3.0, 2.0), (5.0, 5.0, 3.0, 0.0)],
)
def test_growth_is_a_power_of_the_size(
    before: float, after: float, factor: float, expected: float
) -> None:
    assert exponent(before, after, factor) == pytest.approx(expected)


def test_a_figure_that_is_zero_has_no_growth() -> None:
    assert exponent(0.0, 3.0, 3.0) is None
    assert exponent(3.0, 0.0, 3.0) is None


def test_a_row_shows_the_spread_and_marks_what_is_over_its_target() -> None:
    row = cells(page([size()], Durations(), 2), "100")
    assert row[:6] == ["100", "400", "5,000", "22.0", "20.0", "1.10"]
    assert row[6:9] == ["120", "1.0 (0.4 to 2.0)", "6.0 (5.0 to 7.0)"]
    assert row[9:] == ["50", "2.5", "0", "2", "1.2"]
    over = size(peak_mebibytes=351.0, idle=Samples((0.021,)), busy=Samples((0.11,)))
    assert cells(page([over], Durations(), 2), "100")[6:9] == [
        "**351**",
        "**2.1 (2.1 to 2.1)**",
        "**11.0 (11.0 to 11.0)**",
    ]


def test_growth_over_linear_is_marked_and_one_size_has_none() -> None:
    sizes = [size(), size(200, peak_mebibytes=480.0)]
    text = page(sizes, Durations(), 2)
    assert cells(text, "peak RSS, MiB")[1:] == ["**x 4.00 (e 2.00)**"]
    assert cells(text, "restart, s")[1:] == ["x 1.00 (e 0.00)"]
    assert cells(text, "its changes in the cloud")[1:] == ["0 to 0"]
    assert "## Growth" not in page([size()], Durations(), 2)


def test_what_a_budget_leaves_unused_shows_when() -> None:
    assert growth_of(40.0, CALLS, {}).use(CallType.WRITE, 20.0) == (1.0,) * 5 + (0.0,) * 5
    text = page([size()], Durations(), 2)
    assert "| 100 | writes | 182% | 182% | 182% | 182% | 182% | 0% | 0% | 0% | 0% | 0% |" in text


def test_reconciles_are_counted_for_each_eni_and_each_event() -> None:
    text = page([size()], Durations(), 2)
    assert "| 100 | 5.00 | 0.10 | 0.00 | 0.20 |" in text


def test_the_others_bound_is_their_time_on_all_cores() -> None:
    text = page([size()], Durations(), 2)
    assert cells(text, "nodes", -1)[-2:] == ["of all cores", "bound of the others, s"]
    assert cells(text, "100", -1) == ["100", "9.0", "11.0", "3.0", "52%", "7.0"]
