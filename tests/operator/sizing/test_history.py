"""What a process remembers of demand and refills: bounded, windowed, and from zero at its start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.sizing.history import (
    ARRIVALS_WINDOW,
    MAX_REFILL,
    PEAK_STEPS,
    NodeHistory,
    PoolHistory,
    RefillTimes,
)

HOUR = 3600.0


NOBODY = frozenset[str]()


def pods(*names: str) -> frozenset[str]:
    return frozenset(names)


def begun() -> PoolHistory:
    """Return the history of a pool whose nodes were all looked at; only n1 has been there."""
    history = PoolHistory()
    history.note_waiting("n1", NOBODY, 0)
    history.begun = True
    return history


def test_each_pod_counts_once_when_it_comes() -> None:
    history = begun()
    for second, waiting in enumerate([pods("a"), pods("a", "b"), pods("b"), pods("b", "c")]):
        history.note_waiting("n1", waiting, second)
    assert history.nodes["n1"].expected(100, 10) == 1, "three in five minutes"
    assert history.nodes["n1"].expected(ARRIVALS_WINDOW, 10) == 3


def test_pods_that_waited_before_the_process_began_are_no_arrivals() -> None:
    history = PoolHistory()
    history.note_waiting("n1", pods(*"abcdefgh"), 0)
    assert history.nodes["n1"].expected(MAX_REFILL, 1) == 0
    history.begun = True
    history.note_waiting("n2", pods("x"), 2)
    assert history.nodes["n2"].expected(MAX_REFILL, 3) == 1, "the node is new, and so is the pod"


def test_arrivals_are_forgotten() -> None:
    history = begun()
    history.note_waiting("n1", pods(*"abcdef"), 100)
    assert history.nodes["n1"].expected(MAX_REFILL, 101) == 6
    assert history.nodes["n1"].expected(MAX_REFILL, 100 + ARRIVALS_WINDOW + 10) == 0


def test_a_node_that_leaves_is_forgotten() -> None:
    history = begun()
    history.note_waiting("n2", NOBODY, 0)
    history.forget_node("n1")
    assert set(history.nodes) == {"n2"}


@given(st.lists(st.integers(0, 9), max_size=400), st.floats(1, 2000))
def test_a_history_stays_small(levels: list[int], step: float) -> None:
    node = NodeHistory(0.0)
    for number, level in enumerate(levels):
        node.note_level(level, number * step, HOUR)
        node.note_waiting(frozenset({str(number)}), number * step)
        node.expected(60, number * step)
    assert len(node.peaks.values) <= PEAK_STEPS + 2
    assert len(node.arrivals.values) <= ARRIVALS_WINDOW / 10 + 1


@given(
    st.lists(st.tuples(st.floats(0, 900), st.integers(0, 30)), min_size=1, max_size=40),
    st.floats(10, 4000),
)
def test_the_peak_is_at_least_every_level_of_the_window(
    looks: list[tuple[float, int]], window: float
) -> None:
    node, now, seen = NodeHistory(0.0), 0.0, list[tuple[float, int]]()
    for pause, level in looks:
        now += pause
        node.note_level(level, now, window)
        seen.append((now, level))
    peak = node.peak(now, window)
    if now < window:
        assert peak is None
        return
    assert peak is not None
    assert peak >= highest(seen, now - window)
    assert peak <= highest(seen, now - window * (1 + 2 / PEAK_STEPS))


def highest(seen: list[tuple[float, int]], since: float) -> int:
    """Return the highest level since then: each holds until the next look."""
    ends = [*(at for at, _ in seen[1:]), float("inf")]
    return max(level for (_, level), end in zip(seen, ends, strict=True) if end >= since)


def test_a_level_holds_until_the_next_look() -> None:
    node = NodeHistory(0.0)
    node.note_level(12, 0, HOUR)
    node.note_level(4, 2 * HOUR, HOUR)
    assert node.peak(2 * HOUR, HOUR) == 12, "it was 12 until now"
    assert node.peak(2 * HOUR + 1, HOUR) == 12
    node.note_level(4, 3.2 * HOUR, HOUR)
    assert node.peak(3.2 * HOUR, HOUR) == 4


@given(st.floats(0, HOUR), st.floats(10, HOUR))
def test_the_time_of_the_reclaim_is_told(drop: float, window: float) -> None:
    node = NodeHistory(0.0)
    node.note_level(12, 0, window)
    node.note_level(4, drop, window)
    due = drop + node.seconds_until_peak_below(12, drop, window)
    assert due >= drop + window - window / PEAK_STEPS - 1e-6
    assert due <= drop + window * (1 + 1 / PEAK_STEPS) + 1e-6
    node.note_level(4, due + 1e-3, window)
    assert node.peak(due + 1e-3, window) == 4


def test_a_refill_lasts_from_its_request_until_nothing_lacks() -> None:
    times = RefillTimes()
    times.note("a", 10, lacking=True)
    times.note("a", 15, lacking=True)
    times.note("a", 20, lacking=False)
    assert times.average == 10
    times.note("a", 30, lacking=True)
    times.note("a", 50, lacking=False)
    assert times.average == pytest.approx(13)


def test_an_eni_that_goes_or_takes_too_long_is_no_measure() -> None:
    times = RefillTimes()
    for name in "ab":
        times.note(name, 0, lacking=True)
    times.forget("a")
    times.note("a", 5, lacking=False)
    times.note("b", MAX_REFILL + 1, lacking=False)
    assert times.average == 0
