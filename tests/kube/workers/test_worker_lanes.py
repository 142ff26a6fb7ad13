"""Workers in lanes: none waits for another's, and a pause is one lane's own."""

import threading
from collections.abc import Callable

import pytest

from openeni_kube.result import Done, Result
from openeni_kube.workers import Workers
from openeni_testing.waiting import wait_for

Make = Callable[..., Workers[str]]


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

    def pause_of(lane: str, _: float) -> float:
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

    def pause_of(lane: str, _: float) -> float:
        return pauses.get(lane, 0.0)

    workers = make(reconcile, 1, first_part, pause_of)
    workers.start()
    for key in ("a/1", "b/1", "b/2"):
        workers.add(key)
    wait_for(lambda: len(runs) == 2, "the lane that does not pause has run")
    assert sorted(runs) == ["b/1", "b/2"]
    pauses["a"] = 0.0
    wait_for(lambda: "a/1" in runs, "the pause is over")


def test_a_pause_is_told_for_how_long_the_first_key_is_overdue(make: Make) -> None:
    done = threading.Event()
    told: list[float] = []

    def reconcile(_: str) -> Result:
        done.set()
        return Done()

    def pause_of(_: str, overdue: float) -> float:
        told.append(overdue)
        return 0.01 if overdue < 0.1 else 0.0

    workers = make(reconcile, pause_of=pause_of)
    workers.start()
    workers.add("a")
    assert done.wait(60)
    assert told == sorted(told)
    assert told[-1] >= 0.1
