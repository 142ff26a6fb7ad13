"""etcd is restored from a backup under an informer, which sees it, or is told."""

import threading
from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIS, Kind
from openeni_kube.store import Page, Store, UnreachableError, Watch
from openeni_kube.watches.informer import Informer
from openeni_testing.objects import eni_body
from openeni_testing.started_informers import Start
from openeni_testing.store.memory import MemoryStore
from openeni_testing.store.quiet import QuietStore
from openeni_testing.waiting import wait_for


class RestoredStore(QuietStore):
    """A store that has lost its last changes."""

    lost = 0

    def list(self, kind: Kind, **selectors: Any) -> Page:
        return Page(super().list(kind, **selectors).items, self.version(kind))

    def version(self, kind: Kind) -> str:
        return str(int(super().version(kind)) - self.lost)


def telling(store: Store, told: list[str]) -> Informer:
    """Return an informer that notes what it calls, in order."""
    return Informer(
        store,
        ENIS,
        on_change=lambda _: told.append("change"),
        on_delete=print,
        on_rewind=lambda: told.append("rewind"),
        on_restored=lambda: told.append("restored"),
    )


def test_an_api_server_that_has_gone_back_is_noticed_as_soon_as_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its watches would be silent, and whoever compares versions is told before it lists."""
    store, told = RestoredStore(), list[str]()
    store.create(ENIS, eni_body("a"))
    informer = telling(store, told)
    informer.start()
    wait_for(lambda: store.opened == 1, "it watches")
    store.lost = 1
    store.ends.set()
    wait_for(lambda: "etcd was restored from a backup" in caplog.text, "it is noticed", seconds=30)
    wait_for(lambda: told == ["change", "rewind", "restored", "change"], "it lists again")
    informer.stop()


def test_one_that_another_has_found_stale_lists_again_though_its_watch_is_silent(
    start: Start,
) -> None:
    store, seen = MemoryStore(bookmark_seconds=3600), list[Json]()
    made = store.create(ENIS, eni_body("a"))
    informer = start(store, seen.append)
    wait_for(lambda: seen == [made], "it has listed")
    informer.relist()
    wait_for(lambda: seen == [made, made], "it has listed again")


def test_one_that_is_told_tells_whoever_compares_versions_and_no_informer() -> None:
    """Two that tell each other would list for ever."""
    store, told = MemoryStore(bookmark_seconds=3600), list[str]()
    store.create(ENIS, eni_body("a"))
    informer = telling(store, told)
    informer.start()
    wait_for(lambda: told == ["change"], "it has listed")
    informer.relist()
    wait_for(lambda: told == ["change", "rewind", "change"], "it has listed again")
    informer.stop()


class ToldWhileOpening(QuietStore):
    """A store under whose informer another one finds it restored before the watch is open."""

    informer: Informer | None = None

    def watch(self, *arguments: Any, **options: Any) -> Watch:
        if (informer := self.informer) is not None:
            self.informer = None
            informer.relist()
        return super().watch(*arguments, **options)


def test_one_that_is_told_before_its_watch_is_open_lists_again(start: Start) -> None:
    store, seen = ToldWhileOpening(), list[Json]()
    made = store.create(ENIS, eni_body("a"))
    informer = start(store, seen.append)
    wait_for(lambda: store.opened == 1, "it watches")
    store.informer = informer
    store.ends.set()
    wait_for(lambda: seen == [made, made], "it has listed again")


class StartingStore(MemoryStore):
    """A store that refuses the next lists."""

    refusals = 0

    def list(self, *args: Any, **selectors: Any) -> Page:
        if self.refusals:
            self.refusals -= 1
            raise UnreachableError(429, "storage is (re)initializing")
        return super().list(*args, **selectors)


def test_a_list_that_fails_is_no_answer_to_one_that_was_told_to_list_again(start: Start) -> None:
    store, seen = StartingStore(bookmark_seconds=0.1), list[Json]()
    made = store.create(ENIS, eni_body("a"))
    informer = start(store, seen.append)
    wait_for(lambda: seen == [made], "it has listed")
    store.refusals = 1
    informer.relist()
    wait_for(lambda: seen == [made, made], "it has listed again", seconds=20)
    assert store.refusals == 0


class StoppedIn(MemoryStore):
    """A store in one of whose calls the informer is stopped."""

    informer: Informer | None = None

    def __init__(self, call: str) -> None:
        super().__init__(bookmark_seconds=3600)
        self._call = call

    def list(self, *arguments: Any, **options: Any) -> Page:
        page = super().list(*arguments, **options)
        self._stop("list")
        return page

    def watch(self, *arguments: Any, **options: Any) -> Watch:
        watch = super().watch(*arguments, **options)
        self._stop("watch")
        return watch

    def _stop(self, call: str) -> None:
        if call == self._call and self.informer is not None:
            self.informer.stop()


@pytest.mark.parametrize(("call", "handled"), [("list", 0), ("watch", 1)])
def test_one_that_is_stopped_in_a_call_ends_and_handles_nothing_more(
    start: Start, call: str, handled: int
) -> None:
    store, seen, others = StoppedIn(call), list[Json](), set(threading.enumerate())
    store.create(ENIS, eni_body("a"))
    with store.unwatched():  # it cannot list yet
        store.informer = start(store, seen.append)
        (thread,) = set(threading.enumerate()) - others
    thread.join(60)
    assert not thread.is_alive()
    assert len(seen) == handled
