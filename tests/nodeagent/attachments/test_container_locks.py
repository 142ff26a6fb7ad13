"""Calls of one container are serialized; those of others do not wait."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from openeni_nodeagent.attachments.container_locks import ContainerLocks


def test_one_container_has_one_call_at_a_time_and_leaves_no_lock_behind() -> None:
    locks = ContainerLocks()
    counts = {"a": 0, "b": 0}

    def count(number: int) -> None:
        key = "ab"[number % 2]
        with locks.locked(key):
            before = counts[key]
            os.sched_yield()  # lets the other threads run
            counts[key] = before + 1

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(count, range(2000)))
    assert counts == {"a": 1000, "b": 1000}
    assert vars(locks)["_locks"] == {}  # or every container that ever was would keep one


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
    assert vars(locks)["_locks"] == {}  # or every container that ever was would keep one


def _note(locks: ContainerLocks, order: list[str]) -> None:
    with locks.locked("a"):
        order.append("second")
