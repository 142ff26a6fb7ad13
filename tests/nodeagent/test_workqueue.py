"""The agent's queue: nothing that was asked for is lost, nothing runs twice at once."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from openeni_nodeagent import workqueue
from openeni_nodeagent.workqueue import RetryError, WorkQueue
from openeni_testing.waiting import wait_for

Work = Callable[[str], float | None]
Make = Callable[[Work], WorkQueue]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make queues that end with the test."""
    made: list[WorkQueue] = []

    def one(work: Work) -> WorkQueue:
        made.append(WorkQueue("test", work))
        return made[-1]

    yield one
    for queue in made:
        queue.stop(60)


def test_every_add_is_followed_by_a_run_that_began_after_it(make: Make) -> None:
    asked, seen = Counter[str](), dict[str, int]()
    running = set[str]()

    def work(key: str) -> None:
        assert key not in running
        running.add(key)
        seen[key] = asked[key]
        running.discard(key)

    queue = make(work)
    queue.start()

    def ask(key: str) -> None:
        for _ in range(300):
            asked[key] += 1
            queue.add(key)

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(ask, "abcde"))
    wait_for(lambda: seen == dict(asked), "the last of each is seen")


def test_a_key_added_while_it_runs_runs_once_more(make: Make) -> None:
    runs: list[str] = []
    running, go_on = threading.Event(), threading.Event()

    def work(key: str) -> None:
        runs.append(key)
        running.set()
        assert go_on.wait(60)

    queue = make(work)
    queue.start()
    queue.add("a")
    assert running.wait(60)
    for _ in range(3):
        queue.add("a")
    assert runs == ["a"]
    go_on.set()
    queue.add("last")
    wait_for(lambda: "last" in runs, "what came last has run")
    assert runs == ["a", "a", "last"]


def test_keys_run_in_the_order_in_which_they_are_due_and_the_earlier_time_wins(make: Make) -> None:
    runs: list[str] = []
    queue = make(runs.append)
    for key, after in (("c", 0.3), ("a", 0.1), ("b", 0.2), ("d", 500), ("c", 700), ("d", 0.4)):
        queue.add(key, after)
    queue.start()
    wait_for(lambda: len(runs) == 4, "all have run")
    assert runs == ["a", "b", "c", "d"]


def test_work_says_when_it_wants_to_look_again(make: Make) -> None:
    looks = [0.0, 0.01, None]
    runs: list[str] = []

    def work(key: str) -> float | None:
        runs.append(key)
        return looks[len(runs) - 1]

    queue = make(work)
    queue.start()
    queue.add("a")
    wait_for(lambda: len(runs) == 3, "it has looked three times")


def test_what_fails_is_tried_again_later_and_later_and_success_forgets_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workqueue, "FIRST_DELAY", 0.1)
    monkeypatch.setattr(workqueue, "LONGEST_DELAY", 0.3)
    succeeds = [False, False, False, True, False, True]

    def work(key: str) -> float | None:
        if not succeeds.pop(0):
            raise RetryError("not now")
        return 0.0 if succeeds else None

    queue = make(work)
    queue.start()
    queue.add("a")
    wait_for(lambda: not succeeds, "it has succeeded again")
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warned == [f"a: not now; again in {after} s" for after in ("0.1", "0.2", "0.3", "0.1")]


def test_an_unforeseen_error_is_logged_with_its_traceback_and_ends_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workqueue, "FIRST_DELAY", 0.01)
    runs: list[str] = []

    def work(key: str) -> None:
        runs.append(key)
        if runs == ["bad"]:
            raise ZeroDivisionError("of this key")

    queue = make(work)
    queue.start()
    queue.add("bad")
    queue.add("good")
    wait_for(lambda: sorted(runs) == ["bad", "bad", "good"], "the other key, and it again")
    (record,) = caplog.records
    assert record.getMessage().startswith("bad failed")
    assert "ZeroDivisionError: of this key" in caplog.text


def test_stopped_it_finishes_what_runs_and_begins_nothing(make: Make) -> None:
    runs: list[str] = []
    running, go_on = threading.Event(), threading.Event()

    def work(key: str) -> None:
        running.set()
        assert go_on.wait(60)
        runs.append(key)

    queue = make(work)
    queue.start()
    queue.add("a")
    queue.add("b")
    assert running.wait(60)
    queue.stop(0)
    go_on.set()
    queue.stop(60)
    queue.add("c")
    assert runs == ["a"]


def test_one_that_never_began_can_be_stopped(make: Make) -> None:
    runs: list[str] = []
    queue = make(runs.append)
    queue.add("a")
    queue.stop(60)
    assert runs == []
