"""Informers, over the store in memory and over a real API server that is restarted under them."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIS
from openeni_kube.client import KubeStore
from openeni_kube.store import Page, Store, UnreachableError, Watch
from openeni_kube.watches.informer import Informer
from openeni_testing.lab.api_server import ApiServer
from openeni_testing.objects import eni_body, unique
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


class RecordedEvents:
    """The events that an informer of `store` has delivered, in order."""

    def __init__(self, store: Store, node: str = "n1") -> None:
        self.store = store
        self.node = node
        self.events: list[tuple[str, str]] = []
        self.objects: list[Json] = []

    def change(self, body: Json) -> None:
        self.events.append(("change", body["metadata"]["name"]))
        self.objects.append(body)

    def delete(self, body: Json) -> None:
        self.events.append(("delete", body["metadata"]["name"]))
        self.objects.append(body)

    def create(self, name: str) -> Json:
        """Create an ENI and wait until its event is delivered."""
        made = self.store.create(ENIS, eni_body(name, node=self.node))
        wait_for(lambda: ("change", name) in self.events, f"{name} was delivered")
        return made

    def exactly(self, *events: tuple[str, str]) -> None:
        """Check that exactly these events were delivered before that of an object created now."""
        wait_for(lambda: len(self.events) >= len(events), f"the informer delivers {events}")
        last = unique("last")
        self.create(last)
        assert self.events == [*events, ("change", last)]


Start = Callable[..., tuple[Informer, RecordedEvents]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start informers that end with the test."""
    started: list[Informer] = []

    def one(store: Store, node: str = "n1", **options: Any) -> tuple[Informer, RecordedEvents]:
        recorded = RecordedEvents(store, node)
        handlers: dict[str, Any] = {"on_change": recorded.change, "on_delete": recorded.delete}
        informer = Informer(store, ENIS, **handlers | options)
        informer.start()
        started.append(informer)
        return informer, recorded

    yield one
    for informer in started:
        informer.stop()


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore(bookmark_seconds=0.1)


def state(name: str, word: str) -> Json:
    return {"metadata": {"name": name}, "status": {"state": word}}


def test_existing_objects_are_delivered_before_synced_and_later_events_after_it(
    memory: MemoryStore, start: Start
) -> None:
    memory.create(ENIS, eni_body("a"))
    informer, recorded = start(memory)
    assert informer.synced.wait(60)
    assert recorded.events == [("change", "a")]
    memory.create(ENIS, eni_body("b"))
    memory.apply(ENIS, state("a", "Ready"), manager="m", subresource="status")
    memory.delete(ENIS, "b")
    recorded.exactly(("change", "a"), ("change", "b"), ("change", "a"), ("delete", "b"))
    assert recorded.objects[2]["status"] == {"state": "Ready"}


def test_only_selected_objects_are_delivered(memory: MemoryStore, start: Start) -> None:
    informer, recorded = start(memory, "n2", field_selector="spec.nodeName=n2")
    assert informer.synced.wait(60)
    memory.create(ENIS, eni_body("a", node="n1"))
    memory.create(ENIS, eni_body("b", node="n2"))
    recorded.exactly(("change", "b"))


def test_watches_that_end_are_resumed_and_nothing_is_delivered_twice(
    memory: MemoryStore, start: Start
) -> None:
    _, recorded = start(memory, watch_seconds=0)
    for name in "abc":  # each in a watch of its own, after the one before was delivered
        recorded.create(name)
    recorded.exactly(*(("change", name) for name in "abc"))


def test_objects_deleted_in_a_gap_are_delivered_as_deleted(
    memory: MemoryStore, start: Start
) -> None:
    memory.create(ENIS, eni_body("gone"))
    old = memory.create(ENIS, eni_body("replaced"))
    informer, recorded = start(memory)
    assert informer.synced.wait(60)
    with_a_gap(memory, lambda: _replace(memory))
    recorded.exactly(
        ("change", "gone"),
        ("change", "replaced"),
        ("delete", "gone"),
        ("delete", "replaced"),
        ("change", "new"),
        ("change", "replaced"),
    )
    metadata = {"name": "replaced", "uid": old["metadata"]["uid"]}
    listed = recorded.objects[4]["metadata"]["resourceVersion"]  # of what was created last
    assert recorded.objects[3] == {"metadata": metadata | {"resourceVersion": listed}}


def _replace(memory: MemoryStore) -> None:
    memory.delete(ENIS, "gone")
    memory.delete(ENIS, "replaced")
    memory.create(ENIS, eni_body("replaced"))
    memory.create(ENIS, eni_body("new"))


def with_a_gap(memory: MemoryStore, change: Callable[[], None]) -> None:
    """Make a change that no watch sees, then compact the history."""
    with memory.unwatched():
        change()
        memory.compact()


def test_a_handler_that_fails_is_logged_and_the_next_object_is_delivered(
    memory: MemoryStore, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    names: list[str] = []

    def fail_for_a(body: Json) -> None:
        if body["metadata"]["name"] == "a":
            raise RuntimeError("no such thing as a")
        names.append(body["metadata"]["name"])

    memory.create(ENIS, eni_body("a"))
    memory.create(ENIS, eni_body("b"))
    start(memory, on_change=fail_for_a)
    wait_for(lambda: names == ["b"], "the second object was delivered")
    assert "no such thing as a" in caplog.text


def test_each_outage_is_logged_once_makes_it_old_and_passes(
    memory: MemoryStore, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def warnings() -> list[str]:
        return [r.message for r in caplog.records if r.levelno >= logging.WARNING]

    informer, recorded = start(memory)
    assert informer.synced.wait(60)
    memory.set_outage(True)
    wait_for(lambda: informer.age() > 1.5, "nothing was heard for a while")
    memory.set_outage(False)
    silent = informer.age()
    recorded.create("a")
    assert informer.age() < silent
    recorded.exactly(("change", "a"))
    assert warnings() == ["enis: watch failed, trying again: 0: the store has an outage"]
    memory.set_outage(True)
    wait_for(lambda: len(warnings()) == 2, "the next outage is logged")


def test_a_change_right_before_an_outage_is_delivered_after_it(
    memory: MemoryStore, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    informer, recorded = start(memory)
    assert informer.synced.wait(60)
    recorded.create("a")  # the watch waits for the next
    with memory.unwatched():
        memory.create(ENIS, eni_body("b"))
        memory.set_outage(True)
    wait_for(lambda: "has an outage" in caplog.text, "the watch has ended")
    memory.set_outage(False)
    recorded.exactly(("change", "a"), ("change", "b"))


def test_a_stopped_informer_delivers_nothing_more(memory: MemoryStore, start: Start) -> None:
    others = set(threading.enumerate())
    informer, recorded = start(memory)
    assert informer.synced.wait(60)
    (thread,) = set(threading.enumerate()) - others
    informer.stop()
    memory.create(ENIS, eni_body("a"))
    thread.join(60)
    assert not thread.is_alive()
    assert recorded.events == []


class Gate:
    """A store whose watches are refused while the gate is shut."""

    def __init__(self, store: KubeStore) -> None:
        self.create, self.get, self.version = store.create, store.get, store.version
        self._store = store
        self.open = threading.Event()
        self.open.set()
        self.lists = 0

    def list(self, *args: Any, **selectors: Any) -> Page:
        self.lists += 1
        return self._store.list(*args, **selectors)

    def watch(self, *args: Any, **options: Any) -> Watch:
        if not self.open.is_set():
            raise UnreachableError(0, "the gate is shut")
        return self._store.watch(*args, **options)


@pytest.fixture
def restarted(control_plane: ApiServer, real_store: KubeStore) -> Iterator[Callable[[], None]]:
    """Restart the API server; in the end it runs, whatever happened."""

    def restart() -> None:
        control_plane.stop()
        control_plane.run()
        wait_for(lambda: real_store.list(ENIS).resource_version, "our kinds are served again")

    yield restart
    control_plane.run()


@pytest.mark.cluster
def test_a_restart_of_the_api_server_in_mid_watch_loses_and_doubles_nothing(
    real_store: KubeStore, start: Start, restarted: Callable[[], None]
) -> None:
    """Where the server's cache begins after our version, each further list delivers all once."""
    gate: Any = Gate(real_store)
    node, before, after = unique("node"), unique("a"), unique("b")
    informer, recorded = start(gate, node, field_selector=f"spec.nodeName={node}")
    assert informer.synced.wait(60)
    recorded.create(before)
    lists = gate.lists
    restarted()
    recorded.create(after)
    times = 1 + gate.lists - lists
    recorded.exactly(*[("change", before)] * times, ("change", after))


@pytest.mark.cluster
def test_an_object_deleted_in_a_gap_that_the_api_server_forgot_is_delivered_as_deleted(
    real_store: KubeStore, start: Start, restarted: Callable[[], None]
) -> None:
    gate: Any = Gate(real_store)
    node, name, later = unique("node"), unique("a"), unique("b")
    informer, recorded = start(gate, node, field_selector=f"spec.nodeName={node}")
    assert informer.synced.wait(60)
    recorded.create(name)
    lists = gate.lists
    gate.open.clear()
    restarted()
    real_store.delete(ENIS, name)
    real_store.create(ENIS, eni_body(later, node=node))
    restarted()
    gate.open.set()
    recorded.exactly(("change", name), ("delete", name), ("change", later))
    assert gate.lists == lists + 1
