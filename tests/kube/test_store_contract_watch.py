"""What openeni relies on of the API server's watches; the store in memory is held to the same."""

import threading
import time
from collections.abc import Callable

import pytest

from openeni_crds.names import ENIS
from openeni_kube.store import GoneError, Store, WatchEvent
from openeni_testing.objects import eni_body, port_status, status_of, unique
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

OPERATOR = "openeni-operator"


def collected(
    store: Store, version: str, enough: Callable[[list[WatchEvent]], bool], **selectors: str
) -> list[WatchEvent]:
    """Watch ENIs until enough was seen or a minute has passed; bookmarks are left out."""
    seen: list[WatchEvent] = []
    for event in store.watch(ENIS, version, seconds=60, **selectors):
        if event.type != "BOOKMARK":
            seen.append(event)
        if enough(seen):
            break
    return seen


def test_a_watch_tells_what_happened_since_a_version_in_order(store: Store) -> None:
    node, name = unique("node"), unique("eni")
    version = store.list(ENIS).resource_version
    store.create(ENIS, eni_body(name, node=node))
    store.apply(
        ENIS, status_of(name, port=port_status("a")), manager=OPERATOR, subresource="status"
    )
    store.delete(ENIS, name)
    seen = collected(store, version, lambda s: len(s) > 2, field_selector=f"spec.nodeName={node}")
    assert [e.type for e in seen] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(e.object["metadata"]["resourceVersion"]) for e in seen]
    assert versions == sorted(set(versions))
    assert seen[-1].object["metadata"]["name"] == name


def test_a_watch_tells_what_happens_while_it_is_open(store: Store) -> None:
    node, name = unique("node"), unique("eni")
    version = store.list(ENIS).resource_version
    seen: list[WatchEvent] = []
    watcher = threading.Thread(
        target=lambda: seen.extend(
            collected(store, version, bool, field_selector=f"spec.nodeName={node}")
        )
    )
    watcher.start()
    store.create(ENIS, eni_body(unique("other"), node=unique("node")))
    store.create(ENIS, eni_body(name, node=node))
    wait_for(lambda: bool(seen), "the watch has told of the new object")
    watcher.join()
    assert [e.object["metadata"]["name"] for e in seen] == [name]


def test_leaving_the_selection_looks_like_a_deletion(store: Store) -> None:
    name, rack = unique("eni"), unique("rack")
    body = eni_body(name)
    body["metadata"]["labels"] = {"rack": rack}
    version = store.list(ENIS).resource_version
    store.create(ENIS, body)
    away = [{"op": "replace", "path": "/metadata/labels/rack", "value": "another"}]
    store.patch(ENIS, name, operations=away)
    seen = collected(store, version, lambda s: len(s) == 2, label_selector=f"rack={rack}")
    assert [e.type for e in seen] == ["ADDED", "DELETED"]
    assert store.get(ENIS, name)["metadata"]["labels"] == {"rack": "another"}


def test_a_watch_ends_in_its_time(store: Store) -> None:
    began, version = time.monotonic(), store.list(ENIS).resource_version
    longer = threading.Thread(target=collected, args=(store, version, bool), daemon=True)
    longer.start()
    events = list(store.watch(ENIS, version, seconds=1))
    assert longer.is_alive()
    assert {e.type for e in events} <= {"BOOKMARK"}
    assert time.monotonic() - began >= 1
    store.create(ENIS, eni_body(unique("eni")))
    longer.join(60)
    assert not longer.is_alive()


def test_a_watch_that_another_thread_interrupts_ends_while_it_waits(store: Store) -> None:
    watch = store.watch(ENIS, store.list(ENIS).resource_version, seconds=3600)
    reader = threading.Thread(target=list, args=(watch,), daemon=True)
    reader.start()
    reader.join(0.2)
    assert reader.is_alive()
    watch.interrupt()
    reader.join(30)
    assert not reader.is_alive()
    watch.interrupt()  # it has ended: nothing
    assert store.list(ENIS).resource_version


def test_a_watch_from_a_forgotten_version_is_gone(store: Store) -> None:
    for _ in range(2):
        store.create(ENIS, eni_body(unique("eni")))
    if isinstance(store, MemoryStore):
        store.compact()  # the real one does not remember what was before its own start
    with pytest.raises(GoneError):
        next(iter(store.watch(ENIS, "1", seconds=4)))
