"""Estimates with 95 % intervals: quantiles, ratios of quantiles, sums of medians. Pure.

Intervals are bootstrapped percentiles: the samples are drawn again with replacement, and the figure
is computed of each draw. That needs no assumption about their distribution, which has a long tail.
What was measured in one turn is drawn together, so that other load on the machine, which slows the
whole turn down, cancels out of a ratio.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

DRAWS: Final = 1000
_LOW, _HIGH = 0.025, 0.975
_SEED: Final = 1  # the same samples give the same interval
Figure = Callable[[Sequence[int]], float]  # of the samples with these indexes


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Estimate":
        """Return the same figure in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the value that this share of the samples does not exceed, interpolated."""
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def of_quantile(samples: Sequence[float], share: float = 0.5) -> Estimate:
    """Estimate a quantile, by default the median."""
    return _estimate(lambda drawn: quantile([samples[i] for i in drawn], share), len(samples))


def of_ratio(
    over: Sequence[float], *under: Sequence[float], share: float = 0.5, turns: int = 1
) -> Estimate:
    """Estimate a quantile of `over` by the sum of the same quantiles of all of `under`.

    The n-th samples of all are of one turn. With `turns`, so many equal parts of the samples are
    drawn as a whole instead: calls of one burst wait for each other.
    """
    size = len(over) // turns if turns > 1 else 1

    def ratio(drawn: Sequence[int]) -> float:
        chosen = [at for i in drawn for at in range(i * size, (i + 1) * size)]
        below = sum(quantile([samples[at] for at in chosen], share) for samples in under)
        return quantile([over[at] for at in chosen], share) / below

    if any(len(samples) != len(over) for samples in under):
        raise ValueError("a turn has one sample of each")
    return _estimate(ratio, len(over) // size)


@dataclass(frozen=True)
class Block:
    """Samples, and those of a unit that were measured in the same turns."""

    samples: Sequence[float]
    unit: Sequence[float]

    def median(self, drawn: Sequence[int]) -> float:
        """Return the median of the samples with these indexes, in medians of the unit."""
        return quantile([self.samples[i] for i in drawn], 0.5) / quantile(
            [self.unit[i] for i in drawn], 0.5
        )


def of_independent_ratio(over: Block, under: Block) -> Estimate:
    """Estimate the ratio of two medians that were not measured in the same turns."""
    dice = random.Random(_SEED)  # noqa: S311 - no secret
    above, below = range(len(over.samples)), range(len(under.samples))
    drawn = [
        over.median(dice.choices(above, k=len(above)))
        / under.median(dice.choices(below, k=len(below)))
        for _ in range(DRAWS)
    ]
    value = over.median(above) / under.median(below)
    return Estimate(value, quantile(drawn, _LOW), quantile(drawn, _HIGH))


def _estimate(figure: Figure, count: int) -> Estimate:
    dice = random.Random(_SEED)  # noqa: S311 - no secret
    drawn = [figure(dice.choices(range(count), k=count)) for _ in range(DRAWS)]
    return Estimate(figure(range(count)), quantile(drawn, _LOW), quantile(drawn, _HIGH))
