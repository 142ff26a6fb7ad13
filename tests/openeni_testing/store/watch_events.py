"""The changes of the API server in memory, and what a watch shows of them."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.store import WatchEvent
from openeni_testing.store.object_rules import copied


@dataclass(frozen=True)
class Change:
    version: int
    kind: Kind
    before: Json | None
    after: Json | None


class WatchEnd:
    """When a watch ends; another thread may bring that forward."""

    def __init__(self, changed: threading.Condition, at: float) -> None:
        """`at` is a time of the monotonic clock, `changed` what the watch waits for."""
        self.at = at
        self._changed = changed

    def now(self) -> None:
        with self._changed:
            self.at = 0
            self._changed.notify_all()


def events_of(change: Change, selects: Callable[[Json], bool]) -> Iterator[WatchEvent]:
    """Yield what a watcher with this selector sees: leaving the selection is a deletion."""
    was = change.before is not None and selects(change.before)
    if change.after is not None and selects(change.after):
        yield WatchEvent("MODIFIED" if was else "ADDED", copied(change.after))
    elif was and change.before is not None:
        body = copied(change.before)
        body["metadata"]["resourceVersion"] = str(change.version)
        yield WatchEvent("DELETED", body)


def bookmark(kind: Kind, version: int) -> WatchEvent:
    meta = {"resourceVersion": str(version), "creationTimestamp": None}
    body: Json = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": meta}
    return WatchEvent("BOOKMARK", body)
