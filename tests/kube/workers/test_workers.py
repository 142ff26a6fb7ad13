"""Workers lose no key, run none twice at once, and go on after any failure."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from openeni_kube.result import Done, RequeueAfter, Result
from openeni_kube.workers import Workers, stop_all
from openeni_testing.waiting import wait_for

Make = Callable[..., Workers[str]]


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


def test_what_does_not_end_is_seen(make: Make) -> None:
    running, go_on = threading.Event(), threading.Event()

    def reconcile(key: str) -> Result:
        if key == "hangs":
            running.set()
            assert go_on.wait(60)
        return Done()

    workers = make(reconcile, 2)
    assert workers.longest() == 0
    workers.start()
    workers.add("hangs")
    assert running.wait(60)
    workers.add("other")
    seen = workers.longest()
    wait_for(lambda: workers.longest() > seen, "it grows")
    go_on.set()
    wait_for(lambda: workers.longest() == 0, "it has ended")


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
