"""Informers that have heard nothing for long, that hang, and that get answers of no sense."""

import logging
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIS, Kind
from openeni_kube.store import Page, StoreError, UnreachableError, Watch, WatchEvent
from openeni_kube.watches.informer import SILENCE_SECONDS, Informer
from openeni_testing.objects import eni_body
from openeni_testing.started_informers import ManualClock, Start
from openeni_testing.store.memory import MemoryStore
from openeni_testing.store.quiet import QuietStore
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


def test_in_an_outage_it_is_old_and_not_stalled(
    start: Start, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore(bookmark_seconds=0.1)
    informer = start(store, lambda _: None)
    assert informer.synced.wait(60)
    store.set_outage(True)
    wait_for(lambda: "watch failed, trying again" in caplog.text, "the outage is noticed")
    clock.now = 1000
    wait_for(lambda: not informer.stalled(), "it tries again")
    assert informer.age() == 1000
    assert informer.unreachable()
    store.set_outage(False)
    wait_for(lambda: not informer.unreachable(), "it reaches the store")


class NoWatches(MemoryStore):
    """A store that answers, but for watches: it refuses them, or ends each with an error."""

    def __init__(self, *, opens: bool) -> None:
        super().__init__(bookmark_seconds=0.1)
        self._opens = opens

    def watch(self, *_: Any, **__: Any) -> Watch:
        if self._opens:
            return Watch(self._fail(), lambda: None)
        raise UnreachableError(502, "a balancer takes no watch")

    def _fail(self) -> Iterator[WatchEvent]:
        yield from ()
        raise UnreachableError(500, "the watch has failed")


@pytest.mark.parametrize("opens", [True, False])
def test_where_only_watches_fail_the_api_server_is_reached(
    start: Start, caplog: pytest.LogCaptureFixture, opens: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    informer = start(NoWatches(opens=opens), lambda _: None)
    for failures in range(1, 4):
        wait_for(lambda: caplog.text.count("watch failed") >= failures, "it fails")  # noqa: B023
        assert not informer.unreachable()


def test_an_outage_is_logged_again_every_ten_minutes(
    start: Start, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of the last half hour always has it."""
    caplog.set_level(logging.DEBUG)

    def logged(level: int) -> int:
        return sum(r.levelno == level and "watch failed" in r.message for r in caplog.records)

    store = MemoryStore(bookmark_seconds=0.1)
    store.set_outage(True)
    start(store, lambda _: None)
    wait_for(lambda: logged(logging.WARNING) == 1, "the outage is noticed")
    clock.now = 599
    earlier = logged(logging.DEBUG)
    wait_for(lambda: logged(logging.DEBUG) > earlier + 1, "it tries again")
    assert logged(logging.WARNING) == 1
    clock.now = 600
    wait_for(lambda: logged(logging.WARNING) == 2, "the outage is logged again")


def test_it_is_stalled_while_a_handler_hangs(start: Start, clock: ManualClock) -> None:
    hangs, release = threading.Event(), threading.Event()

    def hang(_: Json) -> None:
        hangs.set()
        release.wait(60)

    store = MemoryStore(bookmark_seconds=0.1)
    store.create(ENIS, eni_body("a"))
    informer = start(store, hang)
    assert hangs.wait(60)
    assert not informer.stalled()
    clock.now = 1000
    assert informer.stalled()
    release.set()
    wait_for(lambda: not informer.stalled(), "it goes on")


class GarbledOnce(MemoryStore):
    """A store whose first list is something else, as from a proxy in between."""

    def __init__(self) -> None:
        super().__init__(bookmark_seconds=0.1)
        self.garbled = True

    def list(self, kind: Kind, **selectors: Any) -> Page:
        if not self.garbled:
            return super().list(kind, **selectors)
        self.garbled = False
        return Page(({"error": "try later"},), "")


def test_an_answer_that_is_no_list_is_logged_and_the_list_repeated(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    store, seen = GarbledOnce(), list[Json]()
    made = store.create(ENIS, eni_body("a"))
    informer = start(store, seen.append)
    assert informer.synced.wait(60)
    assert seen == [made]
    assert "enis: watch failed unexpectedly, listing again" in caplog.text


def test_a_watch_that_opens_is_an_answer_of_the_api_server(
    start: Start, clock: ManualClock
) -> None:
    store = QuietStore()
    informer = start(store, lambda _: None)
    wait_for(lambda: store.opened == 1, "it watches")
    clock.now = 70
    assert informer.age() == 70
    store.ends.set()
    wait_for(lambda: store.opened == 2, "it watches again")
    wait_for(lambda: informer.age() == 0, "the API server has answered")


def test_a_watch_that_tells_nothing_for_long_is_not_believed(
    start: Start, clock: ManualClock
) -> None:
    """The API server opens one from a version that etcd, restored from a backup, has not yet."""
    store, seen = QuietStore(), list[Json]()
    start(store, seen.append)
    wait_for(lambda: store.opened == 1, "it watches")
    made = store.create(ENIS, eni_body("a"))
    clock.now = SILENCE_SECONDS
    store.ends.set()
    wait_for(lambda: store.opened == 2, "it watches again")
    assert seen == []
    clock.now += 1
    store.ends.set()
    wait_for(lambda: seen == [made], "it lists again", seconds=30)


class BusyStore(MemoryStore):
    """A store that refuses watches for a while, and ends those that it takes soon."""

    def __init__(self, status: int, refusals: int = 2) -> None:
        super().__init__(bookmark_seconds=0.1)
        self.status = status
        self.refusals = refusals
        self.lists = self.watches = 0

    def list(self, kind: Kind, **selectors: Any) -> Page:
        self.lists += 1
        return super().list(kind, **selectors)

    def watch(self, *args: Any, **selectors: Any) -> Watch:
        if self.refusals:
            self.refusals -= 1
            raise StoreError(self.status, "not now")
        self.watches += 1
        return super().watch(*args, **selectors | {"seconds": 0.05})


@pytest.mark.parametrize(("status", "lists"), [(429, 1), (401, 1), (403, 1), (418, 3)])
def test_a_refused_watch_costs_a_list_only_if_its_version_may_be_the_reason(
    start: Start, status: int, lists: int
) -> None:
    store, seen = BusyStore(status), list[Json]()
    start(store, seen.append)
    wait_for(lambda: not store.refusals, "it tries again")
    store.create(ENIS, eni_body("a"))
    wait_for(lambda: seen, "it watches")
    assert store.lists == lists


def _is_watched_again(store: BusyStore, watches: int) -> bool:
    """Return True once a whole watch has ended since."""
    return store.watches > watches + 2


def test_bookmarks_are_no_silence(start: Start, clock: ManualClock) -> None:
    store = BusyStore(0, refusals=0)
    start(store, lambda _: None)
    for _ in range(4):
        seen = store.watches
        wait_for(partial(_is_watched_again, store, seen), "it watches again")
        clock.now += SILENCE_SECONDS - 50
    assert store.lists == 1


def test_watches_that_end_at_once_are_not_opened_without_a_pause(start: Start) -> None:
    store = QuietStore()
    pauses: list[float] = []

    def now() -> float:
        store.ends.set()
        return 0.0

    informer = Informer(store, ENIS, on_change=lambda _: None, on_delete=lambda _: None, clock=now)
    waited = informer.__dict__["_stopped"].wait

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return bool(waited(0.001))

    informer.__dict__["_stopped"].wait = wait
    informer.start()
    wait_for(lambda: len(pauses) >= 5, "it backs off")
    informer.stop()
    assert pauses[4] > 4 * pauses[0]
