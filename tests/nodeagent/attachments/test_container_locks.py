"""Calls of one container take turns; those of others do not wait."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from openeni_nodeagent.attachments.container_locks import Turns


def test_one_key_is_held_by_one_at_a_time_and_leaves_nothing_behind() -> None:
    turns = Turns()
    counts = {"a": 0, "b": 0}

    def count(number: int) -> None:
        key = "ab"[number % 2]
        with turns.hold(key):
            before = counts[key]
            os.sched_yield()  # lets the other threads run
            counts[key] = before + 1

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(count, range(2000)))
    assert counts == {"a": 1000, "b": 1000}
    assert vars(turns)["_locks"] == {}  # or every container that ever was would keep one


def test_another_key_does_not_wait() -> None:
    turns = Turns()
    with turns.hold("a"), turns.hold("b"):
        pass


def test_who_waits_goes_on_when_the_holder_leaves_by_an_error() -> None:
    turns = Turns()
    order: list[str] = []
    waiting = threading.Thread(target=lambda: _note(turns, order))

    def fail() -> None:
        with turns.hold("a"):
            waiting.start()
            order.append("first")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    waiting.join(60)
    assert order == ["first", "second"]
    assert vars(turns)["_locks"] == {}  # or every container that ever was would keep one


def _note(turns: Turns, order: list[str]) -> None:
    with turns.hold("a"):
        order.append("second")
