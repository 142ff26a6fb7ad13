"""Plans of several nodes are carried out at the same time, and those that fail are not lost."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, PODS, Kind
from openeni_kube.store import InvalidError, UnreachableError
from openeni_operator.enipool.node_plans import run_tasks
from openeni_testing.controller.simulation import Simulation


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_tasks_are_run_so_many_at_a_time_and_answer_in_their_order(threads: int) -> None:
    lock, running, most = threading.Lock(), 0, 0
    together = threading.Barrier(threads)

    def task(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if number < threads:
            together.wait(30)  # the first ones see each other
        with lock:
            running -= 1
        return number

    assert run_tasks([partial(task, n) for n in range(20)], threads) == list(range(20))
    assert most == threads


def test_no_task_and_one_task_need_no_thread() -> None:
    assert run_tasks([], 8) == []
    assert run_tasks([threading.current_thread], 8) == [threading.current_thread()]


def test_a_failure_is_raised_once_every_task_has_ended() -> None:
    ended = list[int]()

    def task(number: int) -> None:
        if number == 1:
            raise ValueError(number)
        ended.append(number)

    with pytest.raises(ValueError, match="1"):
        run_tasks([partial(task, n) for n in range(6)], 2)
    assert sorted(ended) == [0, 2, 3, 4, 5]


def test_nodes_whose_enis_cannot_be_written_are_selected_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim = Simulation(nodes=2)

    def refuse(_kind: Kind, _body: Json) -> Json:
        raise InvalidError(422, "a policy of the cluster denies it")

    with monkeypatch.context() as patched:
        patched.setattr(sim.store, "create", refuse)
        sim.add_pool()
        sim.settle(5)
        status = sim.pool().status
        assert (status.node_counts.selected, status.node_counts.served) == (2, 2)
        ready = find(status.conditions, Type.READY)
        assert ready is None or ready.reason != Reason.WAITING_FOR_NODES
    sim.run_events(20)
    assert len(sim.ready()) == 2


def test_what_could_not_be_written_is_written_as_soon_as_it_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim = Simulation(nodes=2)
    sim.add_pool()
    sim.settle(60)
    patch = sim.store.patch

    def refuse(kind: Kind, name: str, *where: str, **what: Any) -> Json:
        if kind == ENIS and not what.get("subresource"):
            raise UnreachableError(0, "the API server is away")
        return patch(kind, name, *where, **what)

    tags: Json = {"op": "add", "path": "/spec/ports", "value": {"tags": ["a"]}}
    sim.api.patch(ENIPOOLS, "pods", operations=[tags])
    with monkeypatch.context() as patched:
        patched.setattr(sim.store, "patch", refuse)
        sim.run_events(5)
    sim.run_events(20)
    assert [eni.spec.port_tags for eni in sim.enis()] == [("a",), ("a",)]


def when_created(sim: Simulation, do: Callable[[], object]) -> None:
    """Do something once, while the operator creates the next ENI."""
    before = sim.store.after_write

    def after_write(what: str) -> None:
        before(what)
        if what == f"create {ENIS.name}":
            sim.store.after_write = before
            do()

    sim.store.after_write = after_write


def test_what_becomes_free_while_it_is_given_away_is_given_away_too() -> None:
    """Two ENIs end at about the same time, and two nodes wait for the end of the pool's limit."""
    sim = Simulation(nodes=4)
    sim.add_pool(limits={"maxENIs": 2}, capacity={"addressesPerENI": 2, "minAvailable": 0})
    for node in ("n1", "n2"):
        sim.add_pod(f"web-{node}", node)
    sim.settle(60)
    first, second = (eni.name for eni in sim.enis())
    for node in ("n3", "n4"):
        sim.add_pod(f"web-{node}", node)
    sim.run_events(60)
    assert len(sim.enis()) == 2

    def end(name: str) -> None:
        """Let the ENI be gone: nothing is left to do for its port."""
        unfinalized: Json = {"op": "remove", "path": "/metadata/finalizers"}
        sim.api.delete(ENIS, name)
        sim.api.patch(ENIS, name, operations=[unfinalized])
        sim.process.sync_state()

    for node in ("n1", "n2"):  # nobody needs them any more
        sim.api.delete(PODS, f"web-{node}", "default")
    when_created(sim, lambda: end(second))
    end(first)
    sim.run_events(20)
    assert {e.spec.node_name for e in sim.enis()} == {"n3", "n4"}
