"""Informers pass the objects of one kind to handlers, in order, for as long as a program runs.

A list, then a watch that continues where the list ended. A watch that ends is resumed from the
last version seen; if that is too old, everything is listed again, and objects that are gone
meanwhile are passed on as deleted. The API server closes watches under load: that is no error.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.store import GoneError, Store, StoreError, UnreachableError
from openeni_kube.workqueue import Backoff

Key = tuple[str, str]  # namespace ("" for none), name
Handler = Callable[[Json], None]

BACKOFF: Final = Backoff(first=0.4, longest=8.0, jitter=0.25)  # short: nothing is known meanwhile
_TIMEOUT: Final = 504  # also "too large resource version": etcd was restored from a backup

_log = logging.getLogger(__name__)


def key_of(body: Json) -> Key:
    """Return what tells objects of one kind apart."""
    meta = body["metadata"]
    return meta.get("namespace", ""), meta["name"]


class Informer:
    """A daemon thread that follows the objects of one kind that the selectors match.

    The handlers run in that thread, one call at a time: they should note the object and return.
    After a gap `on_change` may be called with an object that has not changed, and `on_delete` with
    the object as it was last seen (its metadata only, unless `cache` keeps whole objects).
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
        cache: bool = False,
        watch_seconds: int = 300,
    ) -> None:
        self.synced = threading.Event()  # the first list has been told to on_change
        self._store = store
        self._kind = kind
        self._on_change = on_change
        self._on_delete = on_delete
        self._field_selector = field_selector
        self._label_selector = label_selector
        self._cache = cache
        self._watch_seconds = watch_seconds
        self._known: dict[Key, Json] = {}
        self._heard = time.monotonic()
        self._stopped = threading.Event()
        self._version = ""
        self._thread = threading.Thread(
            target=self._run, name=f"informer-{kind.plural}", daemon=True
        )

    def start(self) -> None:
        """Begin to list and watch; `synced` is set when the first list is in."""
        self._thread.start()

    def stop(self) -> None:
        """Call no more handlers. The thread ends at the server's next event or bookmark."""
        self._stopped.set()

    def age(self) -> float:
        """Return the seconds since the API server last answered; above 120 something is wrong."""
        return time.monotonic() - self._heard

    def get(self, name: str, namespace: str = "") -> Json | None:
        """Return the object as last seen; only with `cache`. It must not be changed in place."""
        return self._known.get((namespace, name))

    def snapshot(self) -> dict[Key, Json]:
        """Return all objects as last seen; only with `cache`. They must not be changed in place."""
        return dict(self._known)

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                began = self._heard
                self._turn()
                failures = failures + 1 if self._heard == began else 0
            except GoneError:
                _log.info("%s: the watch is too old, listing again", self._kind.plural)
                self._version, failures = "", failures + 1
            except StoreError as error:
                failures += 1
                self._note(error, failures)
            if failures:
                uniform = random.random()  # noqa: S311 - spreads load, no secret
                self._stopped.wait(BACKOFF.pause(failures - 1, uniform))

    def _turn(self) -> None:
        if not self._version:
            self._list()
        self._watch()

    def _note(self, error: StoreError, failures: int) -> None:
        """Log once per outage, and forget the place in the stream if the server refused it."""
        if not isinstance(error, UnreachableError) or error.status == _TIMEOUT:
            self._version = ""
        level = logging.WARNING if failures == 1 else logging.DEBUG
        _log.log(level, "%s: watch failed, trying again: %s", self._kind.plural, error)

    def _list(self) -> None:
        page = self._store.list(
            self._kind, field_selector=self._field_selector, label_selector=self._label_selector
        )
        self._heard = time.monotonic()
        there = {key_of(body): body["metadata"]["uid"] for body in page.items}
        for key, old in list(self._known.items()):
            if there.get(key) != old["metadata"]["uid"]:  # gone, or another one of that name
                self._deleted(old)
        for body in page.items:
            self._changed(body)
        self._version = page.resource_version
        self.synced.set()

    def _watch(self) -> None:
        events = self._store.watch(
            self._kind,
            self._version,
            field_selector=self._field_selector,
            label_selector=self._label_selector,
            seconds=self._watch_seconds,
        )
        for event in events:
            self._heard = time.monotonic()
            if self._stopped.is_set():
                return
            if event.type == "DELETED":
                self._deleted(event.object)
            elif event.type != "BOOKMARK":
                self._changed(event.object)
            self._version = event.object["metadata"]["resourceVersion"]

    def _changed(self, body: Json) -> None:
        self._known[key_of(body)] = body if self._cache else _remains(body)
        self._tell(self._on_change, body)

    def _deleted(self, body: Json) -> None:
        self._known.pop(key_of(body), None)
        self._tell(self._on_delete, body)

    def _tell(self, handler: Handler, body: Json) -> None:
        """Call a handler; its failure is its own and must not end the stream."""
        try:
            handler(body)
        except Exception:  # noqa: BLE001 - logged with its traceback
            _log.exception("%s %s: handler failed", self._kind.name, "/".join(key_of(body)))


def _remains(body: Json) -> Json:
    """Return the part of an object that `on_delete` needs."""
    meta = body["metadata"]
    kept = {name: meta[name] for name in ("namespace", "name", "uid") if name in meta}
    return {"metadata": kept}
