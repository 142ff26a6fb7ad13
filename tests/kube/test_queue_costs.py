"""What a key costs the queue grows like the logarithm of the keys that wait: times are compared."""

import random
from math import log2

import pytest

from openeni_kube.result import Done, RequeueAfter
from openeni_kube.workqueue import Backoff, WorkQueue

FEW, MANY = 64, 4096


class Counted(float):
    """A time that counts how often it is compared with another."""

    compared = 0

    def __lt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) < float(other)

    def __gt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) > float(other)

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return isinstance(other, float) and float(self) == float(other)

    def __hash__(self) -> int:
        return hash(float(self))


def filled(count: int) -> WorkQueue[int]:
    """Return a queue in which so many keys wait, due at times in no order."""
    queue: WorkQueue[int] = WorkQueue(Backoff())
    times = random.Random(count).sample(range(count), count)  # noqa: S311
    for key, at in enumerate(times):
        queue.add(key, Counted(at))
    return queue


@pytest.mark.parametrize("count", [FEW, MANY])
def test_the_next_due_key_is_found_without_a_search(count: int) -> None:
    queue = filled(count)
    Counted.compared = 0
    assert [queue.next_due() for _ in range(100)] == [0.0] * 100
    assert Counted.compared <= 100 * 3


@pytest.mark.parametrize("count", [FEW, MANY])
def test_a_key_that_is_taken_is_compared_with_few_others(count: int) -> None:
    queue = filled(count)
    Counted.compared = 0
    taken = [queue.take(count) for _ in range(count)]
    assert None not in taken
    assert queue.take(count) is None
    assert Counted.compared <= count * 4 * (log2(count) + 1)


@pytest.mark.parametrize("count", [FEW, MANY])
def test_adding_or_requeueing_a_key_compares_few_others(count: int) -> None:
    queue = filled(count)
    Counted.compared = 0
    for n in range(100):
        key = queue.take(count)
        assert key is not None
        queue.add(key, Counted(n))
        queue.finish(key, RequeueAfter(5) if n % 2 else Done(), Counted(n), 0.5)
    assert Counted.compared <= 100 * 8 * (log2(count) + 1)
