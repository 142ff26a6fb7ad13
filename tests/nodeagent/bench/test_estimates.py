"""Estimates: what they are, how wide their intervals are, and what cancels out of a ratio."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeni_testing.node_bench.estimates import (
    Block,
    Estimate,
    of_independent_ratio,
    of_quantile,
    of_ratio,
    quantile,
)

SAMPLES = st.lists(st.floats(0.001, 1000), min_size=2, max_size=30)


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.5, 2.5), (0.99, 3.97), (1.0, 4.0), (0.25, 1.75)]
)
def test_a_quantile_is_interpolated(share: float, value: float) -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(value)


@settings(max_examples=20)
@given(SAMPLES)
def test_an_interval_lies_within_the_samples_and_is_the_same_again(samples: list[float]) -> None:
    found = of_quantile(samples)
    assert min(samples) <= found.low <= found.high <= max(samples)
    assert found == of_quantile(samples)


@settings(max_examples=20)
@given(SAMPLES)
def test_what_does_not_vary_has_no_interval(samples: list[float]) -> None:
    assert of_ratio([3 * s for s in samples], samples).value == pytest.approx(3)
    same = [samples[0]] * len(samples)
    assert of_quantile(same) == Estimate(samples[0], samples[0], samples[0])


def test_load_that_slows_a_whole_turn_down_does_not_show_in_a_ratio() -> None:
    dice = random.Random(4)  # noqa: S311 - no secret
    load = [dice.uniform(1, 10) for _ in range(40)]
    ratio = of_ratio([0.5 * x for x in load], load)
    assert ratio.low == pytest.approx(0.5)
    assert ratio.high == pytest.approx(0.5)
    steady = [1.0] * 40
    apart = of_independent_ratio(Block([0.5 * x for x in load], steady), Block(load, steady))
    assert apart.low < 0.45
    assert apart.high > 0.55


def test_a_machine_that_has_become_slower_does_not_show_in_a_ratio_by_a_unit() -> None:
    dice = random.Random(4)  # noqa: S311 - no secret
    before = [dice.uniform(1, 1.2) for _ in range(40)]
    after = [3 * x for x in before]
    found = of_independent_ratio(Block([0.5 * x for x in after], after), Block(before, before))
    assert (found.low, found.value, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_an_interval_holds_the_true_ratio_about_19_times_of_20() -> None:
    dice = random.Random(5)  # noqa: S311 - no secret
    held = 0
    for _ in range(30):
        ours = [dice.lognormvariate(0, 0.5) for _ in range(30)]
        theirs = [dice.lognormvariate(0, 0.5) for _ in range(30)]
        found = of_independent_ratio(Block(ours, [1.0] * 30), Block(theirs, [1.0] * 30))
        held += found.low <= 1 <= found.high
    assert held >= 25


def test_a_sum_of_medians_may_stand_below() -> None:
    found = of_ratio([6.0, 6.0, 6.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    assert found.value == 2.0


def test_calls_of_one_burst_are_drawn_together() -> None:
    ours, theirs = [1.0] * 50 + [3.0] * 50, [2.0] * 100
    apart, together = of_ratio(ours, theirs), of_ratio(ours, theirs, turns=2)
    assert (together.low, together.high) == (0.5, 1.5)
    assert together.value == apart.value == 1.0


def test_a_turn_without_one_of_its_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="one sample of each"):
        of_ratio([1.0, 2.0], [1.0])


def test_another_unit_is_of_the_interval_too() -> None:
    assert Estimate(1.0, 0.5, 2.0).times(1000) == Estimate(1000.0, 500.0, 2000.0)
