"""Random sequences: kept addresses stay their pods', every pod starts, and then nobody writes."""

import random
from collections.abc import Callable

import pytest

from openeni_testing.sticky.sequence import Sequence
from openeni_testing.sticky.world import StickyWorld

pytestmark = pytest.mark.usefixtures("carrier_is_lost_at_once")
Make = Callable[..., StickyWorld]
EVENTS = 25


def play(make_world: Make, seed: int) -> None:
    chosen = random.Random(seed)  # noqa: S311 no secret
    capacity = {
        "addressesPerENI": chosen.choice([2, 4, 8]),
        "minAvailable": chosen.choice([1, 2]),
        "maxENIsPerNode": chosen.choice([6, 8]),
        **chosen.choice([{}, {"maxAddressesPerNode": 4}, {"maxAddressesPerNode": 6}]),
    }
    sequence = Sequence(make_world(capacity=capacity), seed)
    try:
        sequence.play(EVENTS)
    finally:
        print(f"seed {seed}, {capacity}", *sequence.log, sep="\n")  # noqa: T201


@pytest.mark.parametrize("seed", range(4))
def test_a_sequence(make_world: Make, seed: int) -> None:
    play(make_world, seed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(100, 140))
def test_sequences(make_world: Make, seed: int) -> None:
    play(make_world, seed)
