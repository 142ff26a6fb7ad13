"""The changes of the API server in memory, and what a watch shows of them."""

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
