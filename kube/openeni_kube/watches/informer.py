"""Informers pass the objects of one kind to handlers, in order, for as long as a program runs.

A list, then a watch that continues where the list ended. A watch that ends is resumed from the
last version seen; if that is too old, everything is listed again, and objects that are gone
meanwhile are passed on as deleted. The API server closes watches under load: that is no error.

An etcd that was restored from a backup is noticed (history.py): a watch that ends before its time
may be resumed from a version of a lost history. If that is so, or after a silence, everything is
listed again. Whoever compares versions is told before: those of the lost history mean nothing any
more. Who has noticed tells the informers of other kinds, which may see no sign of it.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.problem_log import REPEAT_SECONDS
from openeni_kube.store import (
    GoneError,
    Page,
    Store,
    StoreError,
    UnreachableError,
    Watch,
    object_key,
)
from openeni_kube.watches.history import History
from openeni_kube.workqueue import Backoff

Handler = Callable[[Json], object]

# Longer than a list of several pages, or a watch that hears nothing before it is ended, can take.
STALLED_SECONDS: Final = 180.0
# In which a bookmark came, or two are missing: a watch without one is not believed.
SILENCE_SECONDS: Final = 150.0
BACKOFF: Final = Backoff(base=0.4, maximum=8.0, jitter=0.25)  # short: nothing is known meanwhile
EARLY_SHARE: Final = 0.9  # of its time, before which a watch has not ended by itself
# The request was refused for whose it is, or for now: its version may be as good as before.
_UNSEEN: Final = frozenset({401, 403, 429})
_TIMEOUT: Final = 504  # also "too large resource version": etcd was restored from a backup

LOG: Final = logging.getLogger(__name__)


class Informer:
    """A daemon thread that follows the objects of one kind that the selectors match.

    The handlers run in that thread, one call at a time: they should note the object and return.
    After a gap `on_change` may be called with an object that has not changed, and `on_delete` with
    only its namespace, name, UID, and the version of the first list that lacks it.
    """

    def __init__(
        self,
        store: Store,
        kind: Kind,
        *,
        on_change: Handler,
        on_delete: Handler,
        field_selector: str = "",
        label_selector: str = "",
        on_rewind: Callable[[], object] = lambda: None,
        on_restored: Callable[[], object] = lambda: None,
        on_listed: Callable[[Page], object] = lambda _: None,
        watch_seconds: int = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call `on_rewind` before a list of an API server whose versions have gone back.

        And `on_restored` after it, if this informer has found that out and was not told. Call
        `on_listed` before the objects of a list: others that are cached may have come and gone in a
        gap of the watches.
        """
        self.kind = kind
        self.synced = threading.Event()  # set after on_change has seen the whole first list
        self._store = store
        self._on_change = on_change
        self._on_delete = on_delete
        self._on_rewind = on_rewind
        self._on_restored = on_restored
        self._on_listed = on_listed
        self._selectors = {"field_selector": field_selector, "label_selector": label_selector}
        self._watch_seconds = watch_seconds
        self._history = History(store, kind)
        self._clock = clock
        self._last_answer = clock()
        self._last_attempt = clock()
        self._last_word = clock()  # a list, an event or a bookmark
        self._reached, self._unreachable = False, False  # in this attempt; since the last one
        # Relists that were asked for since the history was lost, and the last that a list served.
        self._relists, self._relisted = 0, 0
        self._watching: Watch | None = None
        self._interrupted = False  # the last watch ended early: the API server may be an older one
        self._stopped = threading.Event()
        self._version = ""
        self._thread = threading.Thread(
            target=self._run, name=f"informer-{kind.plural}", daemon=True
        )

    def start(self) -> None:
        """Begin to list and watch; `synced` is set when the first list is in."""
        self._thread.start()

    def stop(self) -> None:
        """Call no more handlers; the thread ends soon."""
        self._stopped.set()
        self._interrupt()

    def age(self) -> float:
        """Return the seconds since the API server last answered: watches end within minutes."""
        return self._clock() - self._last_answer

    def unreachable(self) -> bool:
        """Return True if no request of the last attempt was answered, unless by a 5xx."""
        return self._unreachable

    def stalled(self) -> bool:
        """Return True if its thread hangs or has ended, so that only a new process would help.

        Not while the API server is away, however old the last answer is: the thread keeps trying.
        """
        return self._clock() - max(self._last_answer, self._last_attempt) > STALLED_SECONDS

    def relist(self) -> None:
        """List again: another informer has found what this one cannot see any more.

        The API server was restored and has made up for the lost versions since, by our own writes.
        """
        self._relists += 1
        self._interrupt()

    def _interrupt(self) -> None:
        if (watch := self._watching) is not None:
            watch.interrupt()

    def _run(self) -> None:
        failures, warned_at = 0, -math.inf
        while not self._stopped.is_set():
            self._last_attempt, self._reached = self._clock(), False
            try:
                heard = self._list_and_watch()
                failures = 0 if heard else failures + 1  # a watch that ends at once tells nothing
                warned_at = warned_at if failures else -math.inf
            except GoneError:
                self._unreachable = False
                LOG.info("%s: the watch is too old, listing again", self.kind.plural)
                self._version, failures = "", failures + 1
            except StoreError as error:
                self._unreachable = isinstance(error, UnreachableError) and not self._reached
                failures += 1
                logged_lately = self._clock() - warned_at < REPEAT_SECONDS
                level = logging.DEBUG if logged_lately else logging.WARNING
                LOG.log(level, "%s: watch failed, trying again: %s", self.kind.plural, error)
                warned_at = warned_at if logged_lately else self._clock()
                if _is_rejected(error):
                    self._version = ""  # list again
            except Exception:  # an answer of another shape than the API's
                LOG.exception("%s: watch failed unexpectedly, listing again", self.kind.plural)
                self._version, failures = "", failures + 1
            if failures:
                uniform = random.random()  # noqa: S311 - spreads load, no secret
                self._stopped.wait(BACKOFF.delay(failures - 1, uniform))

    def _list_and_watch(self) -> bool:
        """Return True if the API server has told anything."""
        silent = self._clock() - self._last_word > SILENCE_SECONDS
        listed = not self._version or silent or self._is_stale() or self._may_be_lost()
        surely = listed and self._list()
        self._interrupted, begun = True, self._clock()
        heard = self._watch()
        self._interrupted = self._clock() - begun < EARLY_SHARE * self._watch_seconds
        return heard or surely

    def _may_be_lost(self) -> bool:
        if not self._interrupted:
            return False
        lost = self._history.is_lost()
        self._reached = True
        return lost

    def _is_stale(self) -> bool:
        return self._relisted != self._relists

    def _list(self) -> bool:
        """Return True unless it has answered, or shown, that the API server has gone back.

        Then another list may follow, and two servers of different states could have it so for long.
        """
        asked = self._relists
        told = asked != self._relisted
        if told:
            # Nothing shows it here, but whoever compares versions may have answers to own writes
            # that no watch has shown. Not after the list: those to writes since then are good.
            self._on_rewind()
        page = self._store.list(self.kind, **self._selectors)
        found = self._history.is_newer_than(page)
        if found:
            self._on_rewind()
            page = self._store.list(self.kind, **self._selectors)
        self._relisted = asked  # not before: a list that fails answers nothing
        self._answered()
        self._last_word = self._last_answer
        if self._stopped.is_set():
            return True
        if found:
            self._tell(page)
        self._history.begin(page)
        listed = {object_key(body): body["metadata"]["uid"] for body in page.items}
        for key, old in list(self._history.known.items()):
            if listed.get(key) != old["uid"]:  # gone, or another one of that name
                version = {"resourceVersion": page.resource_version}
                self._deleted({"metadata": old | version})
        self._on_listed(page)
        for body in page.items:
            self._changed(body)
        self._version = page.resource_version
        self.synced.set()
        return not (told or found)

    def _watch(self) -> bool:
        """Return True if an event or a bookmark came."""
        watch = self._store.watch(
            self.kind, self._version, seconds=self._watch_seconds, **self._selectors
        )
        self._answered()  # of a quiet cluster the first bookmark takes a minute
        self._watching = watch
        try:
            ended = self._is_stale() or self._stopped.is_set()  # before this could be interrupted
            return False if ended else self._pass_on(watch)
        finally:
            self._watching = None

    def _pass_on(self, watch: Watch) -> bool:
        heard = False
        for event in watch:
            heard = True
            self._answered()
            self._last_word = self._last_answer
            if self._stopped.is_set():
                return heard
            if event.type == "DELETED":
                self._deleted(event.object)
            elif event.type != "BOOKMARK":
                self._changed(event.object)
            self._version = event.object["metadata"]["resourceVersion"]
            self._history.add(event)
            if self._is_stale():
                return heard
        return heard

    def _answered(self) -> None:
        self._last_answer = self._clock()
        self._reached, self._unreachable = True, False

    def _tell(self, page: Page) -> None:
        LOG.error(
            "%s: the API server is at version %s after %d, or has older objects: etcd was "
            "restored from a backup",
            self.kind.plural,
            page.resource_version,
            self._history.newest,
        )
        self._on_restored()

    def _changed(self, body: Json) -> None:
        self._history.changed(body)
        self._call_handler(self._on_change, body)

    def _deleted(self, body: Json) -> None:
        self._history.deleted(body)
        self._call_handler(self._on_delete, body)

    def _call_handler(self, handler: Handler, body: Json) -> None:
        """Call a handler; its failure is logged and must not end the watch."""
        try:
            handler(body)
        except Exception:
            LOG.exception("%s %s: handler failed", self.kind.name, object_key(body))


def _is_rejected(error: StoreError) -> bool:
    """Return True if the API server takes no watch from the version that it was asked for."""
    if isinstance(error, UnreachableError):
        return error.status == _TIMEOUT
    return error.status not in _UNSEEN
