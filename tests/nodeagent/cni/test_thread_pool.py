"""Threads that run tasks: few begin at once, whatever the others wait for."""

import logging
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from openeni_nodeagent.cni import server, thread_pool
from openeni_nodeagent.cni.thread_pool import ThreadPool
from openeni_testing.agent.clock import Clock
from openeni_testing.waiting import wait_for

MOST, AT_ONCE = 8, 2
SOURCE = Path(server.__file__).with_name("openeni.c")
LONG, SHORT = 600.0, 0.01  # for which a task is young


@contextmanager
def started(most: int, at_once: int, young_seconds: float) -> Generator[ThreadPool]:
    pool = ThreadPool("test", most, at_once, young_seconds)
    pool.start()
    yield pool
    assert pool.stop(60) == 0


class Holding:
    """Tasks that run until they are told to end."""

    def __init__(self, pool: ThreadPool) -> None:
        self.pool = pool
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.most = self.running = 0
        self._lock = threading.Lock()

    def submit(self, count: int) -> None:
        for _ in range(count):
            self.pool.submit(self._hold)

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=60)

    def _hold(self) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.begun.release()
        self.go_on.wait(60)
        with self._lock:
            self.running -= 1


def most_at_once(pool: ThreadPool) -> int:
    """Return how many of many tasks ran at once, once all of them have begun."""
    tasks = Holding(pool)
    tasks.submit(AT_ONCE)
    tasks.wait_for(AT_ONCE)
    tasks.submit(50)
    assert not tasks.begun.acquire(timeout=0.1), "another one has begun"
    tasks.go_on.set()
    tasks.wait_for(50)
    return tasks.most


def test_few_tasks_run_at_once_and_all_of_them_do() -> None:
    with started(MOST, AT_ONCE, LONG) as pool:
        assert most_at_once(pool) == AT_ONCE


def test_a_task_that_waits_lets_others_begin_up_to_the_number_of_threads() -> None:
    with started(MOST, AT_ONCE, SHORT) as pool:
        waiting = Holding(pool)
        waiting.submit(MOST + 1)
        waiting.wait_for(MOST)
        waiting.go_on.set()
        waiting.wait_for(1)
    assert waiting.most == MOST


def test_a_task_begins_while_all_that_began_before_it_hang() -> None:
    with started(MOST, AT_ONCE, SHORT) as pool:
        hanging, other = Holding(pool), threading.Event()
        hanging.submit(AT_ONCE)
        hanging.wait_for(AT_ONCE)
        pool.submit(other.set)
        assert other.wait(60)
        hanging.go_on.set()


def test_as_many_tasks_begin_at_once_in_threads_that_exist_as_in_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that have waited too long make room: the clock goes no further until they have."""
    clock = Clock.of(monkeypatch, thread_pool)
    with started(20, 10, LONG) as pool:
        timer = pool._must_wait  # pyright: ignore[reportPrivateUsage]
        for _ in ("new", "idle"):
            tasks = Holding(pool)
            tasks.submit(10)
            tasks.wait_for(10)
            clock.now += LONG
            tasks.submit(10)
            with timer:
                timer.notify()  # it runs by another clock
            tasks.wait_for(10)
            tasks.go_on.set()
            wait_for(lambda: not pool.busy(), "all have ended")


def test_what_has_waited_is_counted_no_more_when_it_ends() -> None:
    with started(MOST, AT_ONCE, SHORT) as pool:
        waiting = Holding(pool)
        waiting.submit(MOST)
        waiting.wait_for(MOST)
        waiting.go_on.set()
        pool.young_seconds = LONG
        assert most_at_once(pool) == AT_ONCE


def test_tasks_begin_in_the_order_of_their_submission() -> None:
    begun: list[int] = []
    with started(MOST, 1, LONG) as pool:
        for number in range(100):
            pool.submit(partial(begun.append, number))
    assert begun == list(range(100))


class Refusing:
    """Stands for Thread.start or its constructor: refuses so many times, or for ever."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str, times: int = -1) -> None:
        self._times = times
        original = getattr(threading.Thread, name)

        def refuse(thread: threading.Thread, *given: object, **named: object) -> None:
            if self._times:
                self._times -= 1
                raise RuntimeError("can't start new thread")
            original(thread, *given, **named)

        patch.setattr(threading.Thread, name, refuse)


def test_a_pool_serves_with_fewer_threads_when_no_more_can_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with started(4, 4, LONG) as pool:
        first, others = Holding(pool), threading.Semaphore(0)
        first.submit(1)
        first.wait_for(1)
        Refusing(monkeypatch, "start")
        for _ in range(3):
            pool.submit(others.release)
        assert "1 threads serve meanwhile" in caplog.text
        first.go_on.set()
        for _ in range(3):
            assert others.acquire(timeout=60)
        monkeypatch.undo()


@pytest.mark.parametrize("what", ["start", "__init__"])
def test_a_thread_that_cannot_be_started_for_a_moment_strands_no_task(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(MOST, AT_ONCE, SHORT) as pool:
        hanging, other = Holding(pool), threading.Event()
        hanging.submit(AT_ONCE)
        hanging.wait_for(AT_ONCE)
        Refusing(monkeypatch, what, 3)
        pool.submit(other.set)  # and nothing after it
        assert other.wait(60)
        hanging.go_on.set()
        monkeypatch.undo()


def test_without_any_thread_the_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with started(MOST, AT_ONCE, LONG) as pool:
        Refusing(monkeypatch, "start", 1)
        with pytest.raises(RuntimeError):
            pool.submit(lambda: None)
        done = threading.Event()
        pool.submit(done.set)
        assert done.wait(60)


def test_a_pool_that_is_stopped_leaves_no_thread() -> None:
    with started(MOST, AT_ONCE, LONG) as pool:
        pool.submit(lambda: None)
    named = "test-"
    for thread in threading.enumerate():
        if thread.name.startswith(named):
            thread.join(60)
            assert not thread.is_alive()


def test_a_probe_is_asked_before_its_executable_gives_up_however_many_calls_wait() -> None:
    (seconds,) = re.findall(r"#define QUERY_SECONDS (\d+)", SOURCE.read_text())
    assert int(seconds) > server.THREADS / server.AT_ONCE * server.WORK_SECONDS


def test_a_pool_keeps_a_thread_whose_task_failed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, thread_pool.__name__)
    pool = ThreadPool("one", 1, 1, LONG)
    done = threading.Event()
    names: list[None] = []
    pool.submit(lambda: names[0])
    pool.submit(done.set)
    assert done.wait(60)
    assert "IndexError" in caplog.text
    assert pool.stop(60) == 0


def test_a_pool_starts_no_more_threads_than_it_may_and_ends_what_was_submitted() -> None:
    pool = ThreadPool("two", 2, 2, LONG)
    names: set[str] = set()
    for _ in range(200):
        pool.submit(lambda: names.add(threading.current_thread().name))
    assert pool.stop(60) == 0
    assert names <= {"two-0", "two-1"}


def test_it_is_busy_while_tasks_wait_or_have_begun_lately() -> None:
    with started(MOST, AT_ONCE, LONG) as pool:
        assert not pool.busy()
        tasks = Holding(pool)
        tasks.submit(AT_ONCE + 1)
        tasks.wait_for(AT_ONCE)
        assert pool.busy()
        tasks.go_on.set()
        tasks.wait_for(1)
        wait_for(lambda: not pool.busy(), "all have ended")


def test_a_task_that_waits_for_something_keeps_it_busy_for_a_moment_only() -> None:
    with started(MOST, AT_ONCE, SHORT) as pool:
        tasks = Holding(pool)
        tasks.submit(1)
        tasks.wait_for(1)
        wait_for(lambda: not pool.busy(), "it is young no longer")
        tasks.go_on.set()
