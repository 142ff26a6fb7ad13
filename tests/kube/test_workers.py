"""Workers lose no key, run none twice at once, and go on after any failure."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from openeni_kube.result import Done, RequeueAfter, Result
from openeni_kube.workers import Workers, stop_all
from openeni_kube.workqueue import Backoff, one_lane
from openeni_testing.waiting import wait_for

Reconcile = Callable[[str], Result]
Make = Callable[..., Workers[str]]
QUICK = Backoff(base=0.01, maximum=0.03, jitter=0)


@pytest.fixture
def make() -> Iterator[Make]:
    """Make workers that end with the test."""
    made: list[Workers[str]] = []

    def one(
        reconcile: Reconcile,
        threads: int = 1,
        lane_of: Callable[[str], str] = one_lane,
        pause_of: Callable[[str], float] = lambda _: 0.0,
    ) -> Workers[str]:
        made.append(
            Workers(
                "test",
                reconcile,
                threads=threads,
                backoff=QUICK,
                lane_of=lane_of,
                pause_of=pause_of,
            )
        )
        return made[-1]

    yield one
    for workers in made:
        workers.stop(60)


@pytest.mark.parametrize("threads", [1, 4])
def test_every_add_is_followed_by_a_run_that_began_after_it(make: Make, threads: int) -> None:
    asked, seen = Counter[str](), dict[str, int]()
    running, twice = set[str](), list[str]()

    def reconcile(key: str) -> Result:
        if key in running:
            twice.append(key)
        running.add(key)
        seen[key] = asked[key]
        running.discard(key)
        return Done()

    workers = make(reconcile, threads)
    workers.start()

    def ask(key: str) -> None:
        for _ in range(300):
            asked[key] += 1
            workers.add(key)

    with ThreadPoolExecutor(5) as askers:
        list(askers.map(ask, "abcde"))
    wait_for(lambda: seen == dict(asked), "the last of each is seen")
    assert twice == []


def test_a_key_added_while_it_runs_runs_once_more(make: Make) -> None:
    runs: list[str] = []
    running, go_on = threading.Event(), threading.Event()

    def reconcile(key: str) -> Result:
        runs.append(key)
        running.set()
        assert go_on.wait(60)
        return Done()

    workers = make(reconcile)
    workers.start()
    workers.add("a")
    assert running.wait(60)
    for _ in range(3):
        workers.add("a")
    assert runs == ["a"]
    go_on.set()
    workers.add("last")
    wait_for(lambda: "last" in runs, "what came last has run")
    assert runs == ["a", "a", "last"]


def test_keys_run_in_the_order_in_which_they_are_due_and_the_earlier_time_wins(make: Make) -> None:
    runs: list[str] = []

    def reconcile(key: str) -> Result:
        runs.append(key)
        return Done()

    workers = make(reconcile)
    for key, after in (("c", 0.3), ("a", 0.1), ("b", 0.2), ("d", 500), ("c", 700), ("d", 0.4)):
        workers.add(key, after)
    workers.start()
    wait_for(lambda: len(runs) == 4, "all have run")
    assert runs == ["a", "b", "c", "d"]


def test_a_busy_thread_leaves_no_due_key_to_nobody(make: Make) -> None:
    """The thread that waited for the next due time may be the one that is busy when it comes."""
    runs: list[str] = []
    go_on = threading.Event()

    def reconcile(key: str) -> Result:
        if key == "slow":
            assert go_on.wait(60)
        runs.append(key)
        return RequeueAfter(0.2) if runs == ["first"] else Done()

    workers = make(reconcile, 2)
    workers.start()
    workers.add("first")
    wait_for(lambda: runs == ["first"], "the first has run and waits to be looked at again")
    workers.add("slow")
    wait_for(lambda: runs == ["first", "first"], "the other thread took it when it was due")
    go_on.set()


def test_a_result_says_when_the_key_is_looked_at_again(make: Make) -> None:
    results: list[Result] = [RequeueAfter(0), RequeueAfter(0.01), Done()]
    runs: list[str] = []

    def reconcile(key: str) -> Result:
        runs.append(key)
        return results[len(runs) - 1]

    workers = make(reconcile)
    workers.start()
    workers.add("a")
    wait_for(lambda: len(runs) == 3, "it has looked three times")


def test_an_unforeseen_error_is_logged_with_its_traceback_and_ends_nothing(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[str] = []

    def reconcile(key: str) -> Result:
        runs.append(key)
        if key == "bad" and runs.count("bad") < 3:
            raise ZeroDivisionError("of this key")
        return Done()

    workers = make(reconcile)
    workers.start()
    workers.add("bad")
    workers.add("good")
    wait_for(lambda: sorted(runs) == ["bad", "bad", "bad", "good"], "the other key, and it again")
    assert workers.alive()
    failed = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert [r.getMessage() for r in failed] == ["reconcile of bad failed unexpectedly"]
    assert "ZeroDivisionError: of this key" in caplog.text


def first_part(key: str) -> str:
    return key.partition("/")[0]


def test_a_lane_whose_threads_are_all_busy_holds_up_no_other(make: Make) -> None:
    runs: list[str] = []
    go_on = threading.Event()

    def reconcile(key: str) -> Result:
        if key.startswith("slow/"):
            assert go_on.wait(60)
        runs.append(key)
        return Done()

    workers = make(reconcile, 2, first_part)
    for n in range(60):
        workers.add(f"slow/{n}")
    workers.start()
    workers.add("quick/1")
    workers.add("quick/2")
    wait_for(lambda: sorted(runs) == ["quick/1", "quick/2"], "the other lane has done its work")
    go_on.set()
    wait_for(lambda: len(runs) == 62, "the slow lane has done its own")


@pytest.mark.parametrize("lane", ["", "new"])
def test_a_due_key_that_moves_to_another_lane_is_worked_on_there(make: Make, lane: str) -> None:
    """It has been due for longer than anything that this lane has been asked for."""
    lanes = {"first": "", "key": "paused"}
    done: list[str] = []

    def reconcile(key: str) -> Result:
        done.append(key)
        return Done()

    def pause_of(lane: str) -> float:
        return 3600.0 if lane == "paused" else 0.0

    workers = make(reconcile, lane_of=lanes.__getitem__, pause_of=pause_of)
    workers.start()
    workers.add("first")
    wait_for(lambda: done == ["first"], "its thread waits for the next key")
    workers.add("key")
    lanes["key"] = lane
    workers.add("key")
    wait_for(lambda: done == ["first", "key"], "it is worked on")


def test_a_lane_that_pauses_begins_nothing_and_holds_up_no_other(make: Make) -> None:
    runs: list[str] = []
    pauses = {"a": 0.01, "b": 0.0}

    def reconcile(key: str) -> Result:
        runs.append(key)
        return Done()

    def pause_of(lane: str) -> float:
        return pauses.get(lane, 0.0)

    workers = make(reconcile, 1, first_part, pause_of)
    workers.start()
    for key in ("a/1", "b/1", "b/2"):
        workers.add(key)
    wait_for(lambda: len(runs) == 2, "the lane that does not pause has run")
    assert sorted(runs) == ["b/1", "b/2"]
    pauses["a"] = 0.0
    wait_for(lambda: "a/1" in runs, "the pause is over")


def test_stopped_it_finishes_what_runs_and_begins_nothing(make: Make) -> None:
    runs: list[str] = []
    running, go_on = threading.Event(), threading.Event()

    def reconcile(key: str) -> Result:
        running.set()
        assert go_on.wait(60)
        runs.append(key)
        return Done()

    workers = make(reconcile)
    workers.start()
    workers.add("a")
    workers.add("b")
    assert running.wait(60)
    workers.stop(0)
    go_on.set()
    workers.stop(60)
    workers.add("c")
    assert runs == ["a"]


def test_one_that_never_began_can_be_stopped(make: Make) -> None:
    runs: list[str] = []

    def reconcile(key: str) -> Result:
        runs.append(key)
        return Done()

    workers = make(reconcile)
    workers.add("a")
    workers.stop(60)
    assert runs == []


def test_of_several_none_waits_for_another_to_end_before_it_stops(make: Make) -> None:
    """What the first runs ends only after the second has stopped."""
    ended: list[str] = []
    running = threading.Event()

    def nothing(_: str) -> Result:
        return Done()

    second = make(nothing)

    def reconcile(key: str) -> Result:
        running.set()
        wait_for(lambda: not second.alive(), "the second has stopped", 10)
        ended.append(key)
        return Done()

    first = make(reconcile)
    for workers in (first, second):
        workers.start()
    first.add("a")
    assert running.wait(60)
    stop_all([first, second], 60)
    assert ended == ["a"]
    assert not first.alive()
