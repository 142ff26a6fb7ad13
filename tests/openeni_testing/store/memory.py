"""The API server in memory; `tests/kube/test_store_contract*.py` run on it and on the real one.

It does not do: CEL rules, namespaces' existence, grace periods of pods, garbage collection.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.store import (
    ConflictError,
    GoneError,
    InvalidError,
    NotFoundError,
    Page,
    UnreachableError,
    Watch,
    WatchEvent,
    object_key,
)
from openeni_testing.store.field_owners import (
    ClashError,
    Owners,
    applied,
    flatten,
    unflatten,
    updated,
)
from openeni_testing.store.object_rules import (
    born,
    check_no_new_finalizer,
    check_preconditions,
    copied,
    desired,
    merged,
    owned,
    schema_of,
    whole,
)
from openeni_testing.store.object_selectors import build_selector
from openeni_testing.store.watch_events import Change, WatchEnd, bookmark, events_of

Name = tuple[str, str]  # namespace and name
Key = tuple[Kind, Name]
_jsonpatch: Any = jsonpatch


@dataclass
class _Record:
    body: Json
    owners: Owners = field(default_factory=dict[str, frozenset[Any]])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class MemoryStore:
    """`store.Store` in memory. Safe to use from many threads; bodies are copied in and out."""

    def __init__(self, *, now: Callable[[], str] = _now, bookmark_seconds: float = 1.0) -> None:
        self._now = now
        self._bookmark_seconds = bookmark_seconds
        self._kinds: defaultdict[Kind, dict[Name, _Record]] = defaultdict(dict)
        self._kind_versions: dict[Kind, int] = {}
        self._history: list[Change] = []
        self._forgotten = 0  # changes up to this version are no longer known
        self._version = 0
        self._outage = False
        self._changed = threading.Condition(threading.RLock())

    # Faults that a test can cause.

    def compact(self) -> None:
        """Forget the history: a watch from an older version gets GoneError."""
        with self._changed:
            self._history.clear()
            self._forgotten = self._version

    def set_outage(self, outage: bool) -> None:
        """Begin or end an outage: watches end, every call raises UnreachableError."""
        with self._changed:
            self._outage = outage
            self._changed.notify_all()

    @contextmanager
    def unwatched(self) -> Generator[None]:
        """Let no watch see anything while something else happens."""
        with self._changed:
            yield

    def changed_at(self, kind: Kind) -> int:
        """Return the version that the last change of an object of the kind has made."""
        return self._kind_versions.get(kind, 0)

    # The protocol.

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        with self._turn():
            return copied(self._record((kind, (namespace, name))).body)

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        selects = build_selector(kind, field_selector, label_selector)
        with self._turn():
            found = sorted(self._kinds[kind].items(), key=itemgetter(0))
            items = tuple(copied(r.body) for _, r in found if selects(r.body))
            return Page(items, str(self._version))

    def pages(
        self, kind: Kind, *, field_selector: str = "", label_selector: str = ""
    ) -> Iterator[tuple[Json, ...]]:
        yield self.list(kind, field_selector=field_selector, label_selector=label_selector).items

    def list_versions(self, kind: Kind) -> Mapping[str, str]:
        items = self.list(kind).items
        return {object_key(body): body["metadata"]["resourceVersion"] for body in items}

    def version(self, kind: Kind) -> str:  # noqa: ARG002 of the protocol
        with self._turn():
            return str(self._version)

    def watch(
        self,
        kind: Kind,
        resource_version: str,
        *,
        field_selector: str = "",
        label_selector: str = "",
        seconds: int = 300,
    ) -> Watch:
        with self._turn():  # an outage is noticed when the watch is opened
            selects = build_selector(kind, field_selector, label_selector)
        end = WatchEnd(self._changed, time.monotonic() + seconds)
        return Watch(self._events(kind, int(resource_version), selects, end), end.now)

    def _events(
        self, kind: Kind, seen: int, selects: Callable[[Json], bool], end: WatchEnd
    ) -> Iterator[WatchEvent]:
        while True:
            with self._turn():
                news = self._news(kind, seen, end)
                if self._outage:  # no bookmark: it would skip what the watch has not passed on
                    return
                seen = self._version
            for change in news:
                yield from events_of(change, selects)
            yield bookmark(kind, seen)
            if time.monotonic() >= end.at:
                return

    def create(self, kind: Kind, body: Json) -> Json:
        body = copied(body)
        meta = body["metadata"]
        key = (kind, (meta.get("namespace", ""), meta["name"]))
        with self._turn():
            if self._found(key) is not None:
                raise ConflictError(409, f'{kind.plural} "{meta["name"]}" already exists')
            return self._born(key, body, {})

    def apply(
        self, kind: Kind, body: Json, *, manager: str, subresource: str = "", force: bool = True
    ) -> Json:
        body = copied(body)
        meta = body["metadata"]
        key = (kind, (meta.get("namespace", ""), meta["name"]))
        writer = f"{manager}/{subresource}"
        wanted = flatten(owned(body, kind, subresource), schema_of(kind))
        with self._turn():
            if self._found(key) is None and not subresource:
                return self._born(key, body, {writer: frozenset(wanted)})
            record = self._record(key)
            check_preconditions(meta, record.body, subresource)
            live = flatten(record.body, schema_of(kind))
            try:
                flat, owners = applied(live, record.owners, writer, wanted, force=force)
            except ClashError as clash:
                raise ConflictError(409, f"Apply failed with conflicts: {clash}") from clash
            return self._changed_to(key, unflatten(flat), owners, subresource)

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        operations: Sequence[Mapping[str, object]],
        subresource: str = "",
    ) -> Json:
        key = (kind, (namespace, name))
        with self._turn():
            record = self._record(key)
            try:
                after = _jsonpatch.apply_patch(copied(record.body), list(operations), in_place=True)
            except (_jsonpatch.JsonPatchException, JsonPointerException) as error:
                raise InvalidError(422, f"the patch does not fit: {error}") from error
            check_preconditions(after["metadata"], record.body, subresource)
            schema = schema_of(kind)
            owners = updated(record.owners, flatten(record.body, schema), flatten(after, schema))
            return self._changed_to(key, after, owners, subresource)

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        key = (kind, (namespace, name))
        with self._turn():
            record = self._found(key)
            if record is None or (uid and record.body["metadata"]["uid"] != uid):
                return
            if not record.body["metadata"].get("finalizers"):
                self._gone(key)
            elif "deletionTimestamp" not in record.body["metadata"]:
                body = copied(record.body)
                # the API server counts the beginning of deletion as a change of the spec
                # (apiserver registry/rest/delete.go, BeforeDelete)
                body["metadata"]["generation"] += 1
                body["metadata"]["deletionTimestamp"] = self._now()
                body["metadata"]["deletionGracePeriodSeconds"] = 0
                self._stored(key, body, record.owners)

    # How it works.

    @contextmanager
    def _turn(self) -> Generator[None]:
        with self._changed:
            if self._outage:
                raise UnreachableError(0, "the store has an outage")
            yield

    def _record(self, key: Key) -> _Record:
        record = self._found(key)
        if record is None:
            raise NotFoundError(404, f'{key[0].plural} "{key[1][1]}" not found')
        return record

    def _found(self, key: Key) -> _Record | None:
        return self._kinds[key[0]].get(key[1])

    def _news(self, kind: Kind, seen: int, end: WatchEnd) -> Sequence[Change]:
        """Wait for changes of a kind, until a bookmark is due."""
        due = time.monotonic() + self._bookmark_seconds
        while not self._outage:
            if seen < self._forgotten:
                raise GoneError(410, f"too old resource version: {seen}")
            news = [c for c in self._history if c.version > seen and c.kind == kind]
            left = min(due, end.at) - time.monotonic()
            if news or left <= 0:
                return news
            self._changed.wait(left)
        return ()

    def _born(self, key: Key, body: Json, owners: Owners) -> Json:
        return self._stored(key, born(key[0], body, self._now()), owners)

    def _changed_to(self, key: Key, wanted: Json, owners: Owners, subresource: str) -> Json:
        """Store what a writer may change of an object; nothing where nothing is changed."""
        kind = key[0]
        old = self._record(key).body
        body = merged(kind, old, wanted, subresource)
        meta = body["metadata"]
        if meta.get("deletionTimestamp"):
            check_no_new_finalizer(old, body)
            if not meta.get("finalizers"):
                self._record(key).body = body
                return self._gone(key)
        if body == old:
            self._record(key).owners = owners
            return copied(old)
        if desired(body) != desired(old):
            meta["generation"] += 1
        return self._stored(key, whole(kind, body), owners)

    def _stored(self, key: Key, body: Json, owners: Owners) -> Json:
        found = self._found(key)
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._kinds[key[0]][key[1]] = _Record(body, owners)
        self._noted(key[0], found.body if found else None, body)
        return copied(body)

    def _gone(self, key: Key) -> Json:
        self._version += 1
        body = self._kinds[key[0]].pop(key[1]).body
        body = body | {"metadata": body["metadata"] | {"resourceVersion": str(self._version)}}
        self._noted(key[0], body, None)
        return copied(body)

    def _noted(self, kind: Kind, before: Json | None, after: Json | None) -> None:
        change = Change(self._version, kind, copied(before), copied(after))
        self._history.append(change)
        self._kind_versions[kind] = self._version
        self._changed.notify_all()
