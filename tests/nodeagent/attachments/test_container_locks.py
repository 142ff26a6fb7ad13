"""Calls of one container are serialized; those of others do not wait, and none waits for ever."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from openeni_nodeagent.attachments.container_locks import ContainerLocks
from openeni_nodeagent.cni.call import StoppingError
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_testing.waiting import wait_for


def soon() -> float:
    return time.monotonic() + 60


def test_one_container_has_one_call_at_a_time_and_leaves_no_lock_behind() -> None:
    locks = ContainerLocks()
    counts = {"a": 0, "b": 0}

    def count(number: int) -> None:
        key = "ab"[number % 2]
        with locks.locked(key, soon()):
            before = counts[key]
            os.sched_yield()  # lets the other threads run
            counts[key] = before + 1

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(count, range(2000)))
    assert counts == {"a": 1000, "b": 1000}
    assert vars(locks)["_running"] == set()  # or every container that ever was would keep one


def test_another_container_does_not_wait() -> None:
    locks = ContainerLocks()
    with locks.locked("a"), locks.locked("b"):
        pass


def test_a_waiting_call_continues_when_the_one_before_it_fails() -> None:
    locks = ContainerLocks()
    order: list[str] = []
    waiting = threading.Thread(target=lambda: _note(locks, order))

    def fail() -> None:
        with locks.locked("a"):
            waiting.start()
            order.append("first")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    waiting.join(60)
    assert order == ["first", "second"]
    assert vars(locks)["_running"] == set()


def test_a_call_waits_no_longer_than_its_deadline_and_a_repair_not_at_all() -> None:
    locks = ContainerLocks()
    with locks.locked("a"):
        for deadline in (0.0, time.monotonic() + 0.05):
            with pytest.raises(CNIError, match="another call of container a") as raised:
                _enter(locks, deadline)
            assert raised.value.code == Code.TRY_AGAIN


def test_calls_that_wait_are_woken_when_the_agent_stops() -> None:
    locks = ContainerLocks()
    found: list[Exception] = []

    def wait() -> None:
        try:
            _enter(locks, soon())
        except StoppingError as error:
            found.append(error)

    with locks.locked("a"):
        waiting = [threading.Thread(target=wait) for _ in range(3)]
        for thread in waiting:
            thread.start()
        locks.stop()
        wait_for(lambda: len(found) == 3, "all have been woken")
        for thread in waiting:
            thread.join(60)


def _enter(locks: ContainerLocks, deadline: float) -> None:
    with locks.locked("a", deadline):
        pass


def _note(locks: ContainerLocks, order: list[str]) -> None:
    with locks.locked("a", soon()):
        order.append("second")
