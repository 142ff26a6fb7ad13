"""The API server in memory; `tests/kube/test_store_contract.py` runs on it and on the real one.

It does not do: CEL rules, namespaces' existence, grace periods of pods, garbage collection.
"""

import copy
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException

from openeni_crds.meta import Json
from openeni_crds.names import NODES, PODS, Kind
from openeni_kube.store import (
    ConflictError,
    GoneError,
    InvalidError,
    NotFoundError,
    Page,
    UnreachableError,
    WatchEvent,
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
    SERVERS,
    STATUS_SPLIT,
    check_no_new_finalizer,
    check_preconditions,
    desired,
    merged,
    owned,
    schema_of,
    whole,
)
from openeni_testing.store.object_selectors import build_selector

Key = tuple[Kind, str, str]
_jsonpatch: Any = jsonpatch


@dataclass
class _Record:
    body: Json
    owners: Owners = field(default_factory=dict[str, frozenset[Any]])


@dataclass(frozen=True)
class _Change:
    version: int
    kind: Kind
    before: Json | None
    after: Json | None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class MemoryStore:
    """`store.Store` in memory. Safe to use from many threads; bodies are copied in and out."""

    def __init__(self, *, now: Callable[[], str] = _now, bookmark_seconds: float = 1.0) -> None:
        self._now = now
        self._bookmark_seconds = bookmark_seconds
        self._records: dict[Key, _Record] = {}
        self._history: list[_Change] = []
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

    # The protocol.

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        with self._turn():
            return copy.deepcopy(self._record((kind, namespace, name)).body)

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        selects = build_selector(kind, field_selector, label_selector)
        with self._turn():
            found = sorted((key[1:], r.body) for key, r in self._records.items() if key[0] == kind)
            items = tuple(copy.deepcopy(body) for _, body in found if selects(body))
            return Page(items, str(self._version))

    def watch(
        self,
        kind: Kind,
        resource_version: str,
        *,
        field_selector: str = "",
        label_selector: str = "",
        seconds: int = 300,
    ) -> Iterator[WatchEvent]:
        selects = build_selector(kind, field_selector, label_selector)
        deadline = time.monotonic() + seconds
        seen = int(resource_version)
        while True:
            with self._turn():
                news = self._news(kind, seen, deadline)
                seen = self._version
            for change in news:
                yield from _events(change, selects)
            yield _bookmark(kind, seen)
            if time.monotonic() >= deadline or self._outage:
                return

    def create(self, kind: Kind, body: Json) -> Json:
        meta = body["metadata"]
        key = (kind, meta.get("namespace", ""), meta["name"])
        with self._turn():
            if key in self._records:
                raise ConflictError(409, f'{kind.plural} "{meta["name"]}" already exists')
            return self._born(key, body, {})

    def apply(
        self, kind: Kind, body: Json, *, manager: str, subresource: str = "", force: bool = True
    ) -> Json:
        meta = body["metadata"]
        key = (kind, meta.get("namespace", ""), meta["name"])
        writer = f"{manager}/{subresource}"
        wanted = flatten(owned(body, kind, subresource), schema_of(kind))
        with self._turn():
            if key not in self._records and not subresource:
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
        key = (kind, namespace, name)
        with self._turn():
            record = self._record(key)
            try:
                after = _jsonpatch.apply_patch(record.body, list(operations))
            except (_jsonpatch.JsonPatchException, JsonPointerException) as error:
                raise InvalidError(422, f"the patch does not fit: {error}") from error
            check_preconditions(after["metadata"], record.body, subresource)
            schema = schema_of(kind)
            owners = updated(record.owners, flatten(record.body, schema), flatten(after, schema))
            return self._changed_to(key, after, owners, subresource)

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        key = (kind, namespace, name)
        with self._turn():
            record = self._records.get(key)
            if record is None or (uid and record.body["metadata"]["uid"] != uid):
                return
            if not record.body["metadata"].get("finalizers"):
                self._gone(key)
            elif "deletionTimestamp" not in record.body["metadata"]:
                body = copy.deepcopy(record.body)
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
        if key not in self._records:
            raise NotFoundError(404, f'{key[0].plural} "{key[2]}" not found')
        return self._records[key]

    def _news(self, kind: Kind, seen: int, deadline: float) -> Sequence[_Change]:
        """Wait for changes of a kind, until a bookmark is due."""
        due = min(deadline, time.monotonic() + self._bookmark_seconds)
        while not self._outage:
            if seen < self._forgotten:
                raise GoneError(410, f"too old resource version: {seen}")
            news = [c for c in self._history if c.version > seen and c.kind == kind]
            left = due - time.monotonic()
            if news or left <= 0:
                return news
            self._changed.wait(left)
        return ()

    def _born(self, key: Key, body: Json, owners: Owners) -> Json:
        kind, namespace, _ = key
        fresh = copy.deepcopy(body)
        meta = {k: v for k, v in fresh["metadata"].items() if k not in SERVERS and v}
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._now(), "generation": 1}
        fresh |= {"apiVersion": kind.api_version, "kind": kind.name, "metadata": meta}
        if kind in STATUS_SPLIT and kind != NODES:
            fresh.pop("status", None)
        if kind == PODS:
            fresh["status"] = {"phase": "Pending"}
        if kind.namespaced and not namespace:
            raise InvalidError(400, f"{kind.name}: metadata.namespace is required")
        return self._stored(key, whole(kind, fresh), owners)

    def _changed_to(self, key: Key, wanted: Json, owners: Owners, subresource: str) -> Json:
        """Store what a writer may change of an object; nothing where nothing is changed."""
        kind = key[0]
        old = self._record(key).body
        body = merged(kind, old, wanted, subresource)
        meta = body["metadata"]
        if meta.get("deletionTimestamp"):
            check_no_new_finalizer(old, body)
            if not meta.get("finalizers"):
                self._records[key].body = body
                return self._gone(key)
        if body == old:
            self._records[key].owners = owners
            return copy.deepcopy(old)
        if desired(body) != desired(old):
            meta["generation"] += 1
        return self._stored(key, whole(kind, body), owners)

    def _stored(self, key: Key, body: Json, owners: Owners) -> Json:
        before = self._records[key].body if key in self._records else None
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._records[key] = _Record(body, owners)
        self._noted(key[0], before, body)
        return copy.deepcopy(body)

    def _gone(self, key: Key) -> Json:
        self._version += 1
        body = self._records.pop(key).body
        body = body | {"metadata": body["metadata"] | {"resourceVersion": str(self._version)}}
        self._noted(key[0], body, None)
        return copy.deepcopy(body)

    def _noted(self, kind: Kind, before: Json | None, after: Json | None) -> None:
        change = _Change(self._version, kind, copy.deepcopy(before), copy.deepcopy(after))
        self._history.append(change)
        self._changed.notify_all()


def _events(change: _Change, selects: Callable[[Json], bool]) -> Iterator[WatchEvent]:
    """Yield what a watcher with this selector sees: leaving the selection is a deletion."""
    was = change.before is not None and selects(change.before)
    if change.after is not None and selects(change.after):
        yield WatchEvent("MODIFIED" if was else "ADDED", copy.deepcopy(change.after))
    elif was and change.before is not None:
        body = copy.deepcopy(change.before)
        body["metadata"]["resourceVersion"] = str(change.version)
        yield WatchEvent("DELETED", body)


def _bookmark(kind: Kind, version: int) -> WatchEvent:
    meta = {"resourceVersion": str(version), "creationTimestamp": None}
    body: Json = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": meta}
    return WatchEvent("BOOKMARK", body)
