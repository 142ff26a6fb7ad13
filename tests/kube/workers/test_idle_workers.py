"""Idle threads cost nothing: one waits for a lane's next key, the others for that one."""

import threading

import pytest

from openeni_kube.result import Done, RequeueAfter, Result
from openeni_kube.workers import Workers
from openeni_kube.workqueue import WorkQueue
from openeni_testing.waiting import wait_for

THREADS = 32


def test_one_idle_thread_wakes_up_for_a_key_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, runs, original = [0], [0], WorkQueue[str].next_due

    def counted(queue: WorkQueue[str], lane: str = "") -> float | None:
        looks[0] += 1
        return original(queue, lane)

    def reconcile(_: str) -> Result:
        runs[0] += 1
        return RequeueAfter(0.002)

    monkeypatch.setattr(WorkQueue, "next_due", counted)
    workers = Workers[str]("test", reconcile, threads=THREADS)
    workers.add("later", 3600)
    workers.add("often")
    workers.start()
    wait_for(lambda: runs[0] >= 100, "it has run often")
    workers.stop(60)
    assert looks[0] <= THREADS + 8 * runs[0]


def test_a_key_that_is_due_earlier_than_the_one_waited_for_runs_in_its_time() -> None:
    ran = [threading.Event() for _ in range(3)]

    def reconcile(key: str) -> Result:
        ran[int(key)].set()
        return Done()

    workers = Workers[str]("test", reconcile, threads=2)
    workers.add("0", 3600)
    workers.start()
    for key, after in (("1", 0.05), ("2", 0.01)):
        workers.add(key, after)
    for event in ran[1:]:
        assert event.wait(10)
    workers.add("0")
    assert ran[0].wait(10), "who waited for its old time has not kept it from running"
    workers.stop(60)
