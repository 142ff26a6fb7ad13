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
from openeni_kube.store import GoneError, Store, StoreError, UnreachableError, object_key
from openeni_kube.workqueue import Backoff

Handler = Callable[[Json], None]

BACKOFF: Final = Backoff(base=0.4, maximum=8.0, jitter=0.25)  # short: nothing is known meanwhile
_TIMEOUT: Final = 504  # also "too large resource version": etcd was restored from a backup

LOG: Final = logging.getLogger(__name__)


class Informer:
    """A daemon thread that follows the objects of one kind that the selectors match.

    The handlers run in that thread, one call at a time: they should note the object and return.
    After a gap `on_change` may be called with an object that has not changed, and `on_delete` with
    only its namespace, name and UID.
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
        watch_seconds: int = 300,
    ) -> None:
        self.synced = threading.Event()  # set after on_change has seen the whole first list
        self._store = store
        self._kind = kind
        self._on_change = on_change
        self._on_delete = on_delete
        self._selectors = {"field_selector": field_selector, "label_selector": label_selector}
        self._watch_seconds = watch_seconds
        self._known: dict[str, Json] = {}  # by key; metadata only
        self._last_event = time.monotonic()
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
        return time.monotonic() - self._last_event

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                began = self._last_event
                self._list_and_watch()
                failures = failures + 1 if self._last_event == began else 0
            except GoneError:
                LOG.info("%s: the watch is too old, listing again", self._kind.plural)
                self._version, failures = "", failures + 1
            except StoreError as error:
                failures += 1
                self._log_failure(error, failures)
                if not isinstance(error, UnreachableError) or error.status == _TIMEOUT:
                    self._version = ""  # the server rejected it: list again
            if failures:
                uniform = random.random()  # noqa: S311 - spreads load, no secret
                self._stopped.wait(BACKOFF.delay(failures - 1, uniform))

    def _list_and_watch(self) -> None:
        if not self._version:
            self._list()
        self._watch()

    def _log_failure(self, error: StoreError, failures: int) -> None:
        """Log at WARNING once per outage."""
        level = logging.WARNING if failures == 1 else logging.DEBUG
        LOG.log(level, "%s: watch failed, trying again: %s", self._kind.plural, error)

    def _list(self) -> None:
        page = self._store.list(self._kind, **self._selectors)
        self._last_event = time.monotonic()
        listed = {object_key(body): body["metadata"]["uid"] for body in page.items}
        for key, old in list(self._known.items()):
            if listed.get(key) != old["metadata"]["uid"]:  # gone, or another one of that name
                self._deleted(old)
        for body in page.items:
            self._changed(body)
        self._version = page.resource_version
        self.synced.set()

    def _watch(self) -> None:
        events = self._store.watch(
            self._kind, self._version, seconds=self._watch_seconds, **self._selectors
        )
        for event in events:
            self._last_event = time.monotonic()
            if self._stopped.is_set():
                return
            if event.type == "DELETED":
                self._deleted(event.object)
            elif event.type != "BOOKMARK":
                self._changed(event.object)
            self._version = event.object["metadata"]["resourceVersion"]

    def _changed(self, body: Json) -> None:
        self._known[object_key(body)] = _metadata_only(body)
        self._call_handler(self._on_change, body)

    def _deleted(self, body: Json) -> None:
        self._known.pop(object_key(body), None)
        self._call_handler(self._on_delete, body)

    def _call_handler(self, handler: Handler, body: Json) -> None:
        """Call a handler; its failure is logged and must not end the watch."""
        try:
            handler(body)
        except Exception:
            LOG.exception("%s %s: handler failed", self._kind.name, object_key(body))


def _metadata_only(body: Json) -> Json:
    """Return the part of an object that `on_delete` needs."""
    meta = body["metadata"]
    kept = {name: meta[name] for name in ("namespace", "name", "uid") if name in meta}
    return {"metadata": kept}
