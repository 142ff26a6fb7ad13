"""The API server in memory, with the semantics that openeni relies on.

`tests/crds/test_store_contract.py` runs on it and on the real one, so that it is held to facts.
What it does not do: CEL rules, namespaces' existence, grace periods of pods, garbage collection.
"""

import copy
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jsonpatch  # type: ignore[import-untyped]
import msgspec
from jsonpointer import JsonPointerException  # type: ignore[import-untyped]

from openeni_crds.meta import Json, decode
from openeni_crds.names import NODE, POD, Kind
from openeni_crds.schema import MODELS, definition
from openeni_crds.store import (
    ConflictError,
    GoneError,
    InvalidError,
    NotFoundError,
    Page,
    UnreachableError,
    WatchEvent,
)
from openeni_testing.fieldowners import ClashError, Owners, applied, flatten, unflatten, updated
from openeni_testing.selecting import selecting

Key = tuple[Kind, str, str]
_jsonpatch: Any = jsonpatch
# Set by the server alone, whatever a writer sends.
_SERVERS = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
_IDENTITY = ("name", "namespace", *_SERVERS)
_STATUS_SPLIT = frozenset({*MODELS, POD, NODE})


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
        self._changed = threading.Condition()

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

    # The protocol.

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        with self._turn():
            return copy.deepcopy(self._record((kind, namespace, name)).body)

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        selects = selecting(kind, field_selector, label_selector)
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
        selects = selecting(kind, field_selector, label_selector)
        deadline = time.monotonic() + seconds
        seen = int(resource_version)
        while True:
            with self._turn():
                if seen < self._forgotten:
                    raise GoneError(410, f"too old resource version: {seen}")
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
        wanted = flatten(_owned(body, kind, subresource), _schema(kind))
        with self._turn():
            if key not in self._records and not subresource:
                return self._born(key, body, {writer: frozenset(wanted)})
            record = self._record(key)
            _check_preconditions(meta, record.body)
            live = flatten(record.body, _schema(kind))
            try:
                flat, owners = applied(live, record.owners, writer, wanted, force=force)
            except ClashError as clash:
                raise ConflictError(409, f"Apply failed with conflicts: {clash}") from clash
            return self._changed_to(key, unflatten(flat), owners, subresource)

    def patch(
        self,
        kind: Kind,
        name: str,
        operations: Sequence[Mapping[str, object]],
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> Json:
        key = (kind, namespace, name)
        with self._turn():
            record = self._record(key)
            try:
                after = _jsonpatch.apply_patch(record.body, list(operations))
            except (_jsonpatch.JsonPatchException, JsonPointerException) as error:
                raise InvalidError(422, f"the patch does not fit: {error}") from error
            _check_preconditions(after["metadata"], record.body)
            schema = _schema(kind)
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
    def _turn(self) -> Iterator[None]:
        with self._changed:
            if self._outage:
                raise UnreachableError(0, "the store has an outage")
            yield

    def _record(self, key: Key) -> _Record:
        if key not in self._records:
            raise NotFoundError(404, f'{key[0].plural} "{key[2]}" not found')
        return self._records[key]

    def _news(self, kind: Kind, seen: int, deadline: float) -> list[_Change]:
        """Wait for changes of a kind, until a bookmark is due."""
        due = min(deadline, time.monotonic() + self._bookmark_seconds)
        while not self._outage:
            news = [c for c in self._history if c.version > seen and c.kind == kind]
            left = due - time.monotonic()
            if news or left <= 0:
                return news
            self._changed.wait(left)
        return []

    def _born(self, key: Key, body: Json, owners: Owners) -> Json:
        kind, namespace, _ = key
        fresh = copy.deepcopy(body)
        meta = {k: v for k, v in fresh["metadata"].items() if k not in _SERVERS and v}
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._now(), "generation": 1}
        fresh |= {"apiVersion": kind.api_version, "kind": kind.name, "metadata": meta}
        if kind in _STATUS_SPLIT and kind != NODE:
            fresh.pop("status", None)
        if kind == POD:
            fresh["status"] = {"phase": "Pending"}
        if kind.namespaced and not namespace:
            raise InvalidError(400, f"{kind.name}: metadata.namespace is required")
        return self._stored(key, _whole(kind, fresh), owners)

    def _changed_to(self, key: Key, wanted: Json, owners: Owners, subresource: str) -> Json:
        """Store what a writer may change of an object; nothing where nothing is changed."""
        kind = key[0]
        old = self._record(key).body
        body = _merged(kind, old, wanted, subresource)
        meta = body["metadata"]
        if meta.get("deletionTimestamp"):
            _check_no_new_finalizer(old, body)
            if not meta.get("finalizers"):
                self._records[key].body = body
                return self._gone(key)
        if body == old:
            self._records[key].owners = owners
            return copy.deepcopy(old)
        if _desired(body) != _desired(old):
            meta["generation"] += 1
        return self._stored(key, _whole(kind, body), owners)

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


def _schema(kind: Kind) -> Json:
    """Return the whole object's schema; of a kind that is not ours nothing is known."""
    if kind not in MODELS:
        return {}
    schema: Json = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _whole(kind: Kind, body: Json) -> Json:
    """Fill in the schema's defaults and hold the object to the model's bounds."""
    if kind not in MODELS:
        return body
    _fill(body, _schema(kind))
    try:
        decode(body, MODELS[kind])
    except msgspec.ValidationError as error:
        raise InvalidError(422, f"{kind.name} is invalid: {error}") from error
    return body


def _fill(body: Any, schema: Json) -> None:
    if isinstance(body, dict):
        for name, child in schema.get("properties", {}).items():
            if name not in body and "default" in child:
                body[name] = copy.deepcopy(child["default"])
            if name in body:
                _fill(body[name], child)
    if isinstance(body, list):
        for item in body:
            _fill(item, schema.get("items", {}))


def _desired(body: Json) -> Json:
    return {name: part for name, part in body.items() if name not in {"metadata", "status"}}


def _owned(body: Json, kind: Kind, subresource: str) -> Json:
    """Return the fields of an applied body that its writer comes to own."""
    if subresource:
        return {subresource: body.get(subresource, {})}
    meta = {name: part for name, part in body["metadata"].items() if name not in _IDENTITY}
    rest = {k: v for k, v in body.items() if k not in {"apiVersion", "kind", "metadata", "status"}}
    if kind not in _STATUS_SPLIT and "status" in body:
        rest["status"] = body["status"]
    return rest | ({"metadata": meta} if meta else {})


def _merged(kind: Kind, old: Json, wanted: Json, subresource: str) -> Json:
    """Return `old` with those parts of `wanted` that may be written this way."""
    if subresource:
        rest = {name: part for name, part in old.items() if name != subresource}
        return copy.deepcopy(rest | {k: v for k, v in wanted.items() if k == subresource})
    kept = {name: old["metadata"][name] for name in _IDENTITY if name in old["metadata"]}
    meta = {k: v for k, v in wanted["metadata"].items() if k not in _IDENTITY and v} | kept
    body = wanted | {"apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": meta}
    if kind in _STATUS_SPLIT:
        body = {k: v for k, v in body.items() if k != "status"}
        body |= {"status": old["status"]} if "status" in old else {}
    return copy.deepcopy(body)


def _check_preconditions(meta: Json, live: Json) -> None:
    """Raise ConflictError where a writer names another uid or version than the living one."""
    for name in ("uid", "resourceVersion"):
        if meta.get(name) and meta[name] != live["metadata"][name]:
            raise ConflictError(409, f"metadata.{name}: the object has been modified")


def _check_no_new_finalizer(old: Json, body: Json) -> None:
    new = set(body["metadata"].get("finalizers", ())) - set(old["metadata"].get("finalizers", ()))
    if new:
        raise InvalidError(
            422, f"metadata.finalizers: none can be added while deleting: {sorted(new)}"
        )
