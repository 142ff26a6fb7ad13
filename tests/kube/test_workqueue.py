"""The queue loses nothing, doubles nothing, and backs off from what fails."""

import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from openeni_kube.result import Blocked, Done, RequeueAfter, Result, Retry
from openeni_kube.workqueue import Backoff, WorkQueue

KEYS = st.sampled_from("abc")
RESULTS: st.SearchStrategy[Result] = st.one_of(
    st.just(Done()),
    st.just(Blocked("x")),
    st.builds(RequeueAfter, st.floats(0, 10), st.just("x")),
    st.builds(Retry, st.just("x"), st.floats(0, 10)),
)


LANES = ("", "x")


class Queue(RuleBasedStateMachine):
    """What was asked for and not yet done must be due; what runs must not be given out again."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = dict[str, str]()  # of keys that are not in the first
        self.queue: WorkQueue[str] = WorkQueue(Backoff(), lambda key: self.lanes.get(key, ""))
        self.now = 0.0
        self.owed: set[str] = set()  # asked for, not begun since
        self.running: set[str] = set()

    @rule(key=KEYS, after=st.floats(0, 5))
    def ask(self, key: str, after: float) -> None:
        before = self._next_due()
        told = self.queue.add(key, self.now + after)
        assert told == self._earlier_than(before)
        self.owed.add(key)

    @rule(key=KEYS, lane=st.sampled_from(LANES))
    def move(self, key: str, lane: str) -> None:
        self.lanes[key] = lane

    @rule(lane=st.sampled_from(LANES))
    def begin(self, lane: str) -> None:
        key = self.queue.take(self.now, lane)
        if key is not None:
            assert key not in self.running
            assert key in self.owed
            self.running.add(key)
            self.owed.discard(key)

    @rule(result=RESULTS, uniform=st.floats(0, 0.99))
    def end(self, result: Result, uniform: float) -> None:
        if self.running:
            key = min(self.running)
            self.running.discard(key)
            before = self._next_due()
            told = self.queue.finish(key, result, self.now, uniform)
            assert told == self._earlier_than(before)
            if isinstance(result, RequeueAfter | Retry):
                self.owed.add(key)

    @rule(seconds=st.floats(0, 100))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def everything_owed_comes(self) -> None:
        due = [self.queue.next_due(lane) for lane in LANES]
        assert (due == [None, None]) == (not self.owed - self.running)

    def _next_due(self) -> dict[str, float]:
        due = {lane: self.queue.next_due(lane) for lane in LANES}
        return {lane: math.inf if at is None else at for lane, at in due.items()}

    def _earlier_than(self, before: dict[str, float]) -> str | None:
        """Return the lane whose next due time has become earlier: who waits for it must know."""
        return next((lane for lane, at in self._next_due().items() if at < before[lane]), None)


TestQueue = Queue.TestCase


def test_a_key_that_is_added_while_it_runs_runs_once_more() -> None:
    queue: WorkQueue[str] = WorkQueue(Backoff())
    queue.add("a", 0)
    assert queue.take(0) == "a"
    queue.add("a", 1)
    queue.add("a", 1)
    assert queue.take(9) is None
    queue.finish("a", Done(), 2, 0.5)
    assert queue.take(2) == "a"
    queue.finish("a", Done(), 2, 0.5)
    assert queue.take(99) is None


def test_an_earlier_time_wins() -> None:
    queue: WorkQueue[str] = WorkQueue(Backoff())
    queue.add("a", 10)
    queue.add("a", 3)
    queue.add("a", 20)
    assert queue.next_due() == 3


def test_the_load_of_work_lasts_until_it_has_ended() -> None:
    """So work that hangs is seen, even if it is the only work there is."""
    queue: WorkQueue[str] = WorkQueue(Backoff())
    queue.add("a", 10.0)
    queue.add("later", 1000.0)
    assert queue.load(9.0) == {"": (0, 0.0)}
    assert queue.load(12.0) == {"": (1, 2.0)}
    assert queue.take(12.0) == "a"
    queue.add("a", 13.0)
    assert queue.load(30.0) == {"": (0, 20.0)}
    queue.finish("a", Done(), 30.0, 0.5)
    assert queue.load(30.0) == {"": (1, 17.0)}
    assert queue.take(30.0) == "a"
    queue.finish("a", Done(), 31.0, 0.5)
    assert queue.load(31.0) == {"": (0, 0.0)}


def test_failures_in_a_row_double_the_pause_and_success_forgets_them() -> None:
    queue: WorkQueue[str] = WorkQueue(Backoff())
    pauses = list[float]()
    queue.add("a", 0)
    for result in (Retry("x"), Retry("x"), Retry("x"), Done(), Retry("x")):
        assert queue.take(1000) == "a"
        queue.finish("a", result, 1000, 0.5)
        pauses.append((queue.next_due() or 1000) - 1000)
        queue.add("a", 0)
    assert pauses == [1, 2, 4, 0, 1]


def test_what_the_cloud_asks_for_is_the_least_pause() -> None:
    queue: WorkQueue[str] = WorkQueue(Backoff())
    queue.add("a", 0)
    queue.take(0)
    queue.finish("a", Retry("x", after=30), 0, 0.5)
    assert queue.next_due() == 30


@given(st.integers(0, 10_000), st.floats(0, 0.999))
def test_a_pause_is_bounded(failures: int, uniform: float) -> None:
    assert 0.8 <= Backoff().delay(failures, uniform) <= 60 * 1.2
