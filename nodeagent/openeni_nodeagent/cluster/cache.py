"""Caches that an informer fills: one kind's objects as values, to be read by any thread."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from openeni_crds.meta import Json, ObjectMeta, decode
from openeni_crds.names import Kind

_log: Final = logging.getLogger(__name__)


class HasMetadata(Protocol):
    @property
    def metadata(self) -> ObjectMeta: ...


T = TypeVar("T", bound=HasMetadata)


def object_key(namespace: str, name: str) -> str:
    """Return the key of an object: namespace/name, or the name of a cluster-scoped one."""
    return f"{namespace}/{name}" if namespace else name


def by_name(meta: ObjectMeta) -> str:
    return object_key(meta.namespace, meta.name)


class Cache(Generic[T]):
    """Safe for several threads; the values are frozen."""

    def __init__(
        self,
        kind: Kind,
        into: type[T],
        key: Callable[[ObjectMeta], str] = by_name,
        alias: Callable[[ObjectMeta], str] | None = None,
    ) -> None:
        """`alias` returns a second key; an object that has it as its first comes before."""
        self.kind = kind
        self._into = into
        self._key = key
        self._alias = alias
        self._changed = threading.Condition()
        self._objects: dict[str, T] = {}
        self._aliases: dict[str, str] = {}  # second key -> first key
        self._listeners: list[Callable[[str], None]] = []

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the key of every object that changes or goes. It must not block."""
        self._listeners.append(listener)

    def put(self, body: Json) -> None:
        """Store an object (an informer's on_change); one that does not fit its model is removed."""
        try:
            value = decode(body, self._into)
        except msgspec.ValidationError as error:
            _log.error(
                "%s %s does not fit its schema and is ignored: %s",
                self.kind.name,
                body["metadata"]["name"],
                error,
            )
            self.remove(body)
            return
        key = self._key(value.metadata)
        with self._changed:
            self._drop(key)
            self._objects[key] = value
            if self._alias is not None and (alias := self._alias(value.metadata)) != key:
                self._aliases[alias] = key
            self._changed.notify_all()
        self._notify(key)

    def remove(self, body: Json) -> None:
        """Remove an object (an informer's on_delete)."""
        key = self._key(decode(body["metadata"], ObjectMeta))
        with self._changed:
            self._drop(key)
        self._notify(key)

    def get(self, key: str) -> T | None:
        with self._changed:
            return self._find(key)

    def all(self) -> tuple[T, ...]:
        with self._changed:
            return tuple(self._objects.values())

    def wait(self, key: str, seconds: float) -> T | None:
        """Return the object as soon as the cache has it; None after `seconds`."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while (found := self._find(key)) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            return found

    def _find(self, key: str) -> T | None:
        found = self._objects.get(key)
        return self._objects.get(self._aliases.get(key, "")) if found is None else found

    def _drop(self, key: str) -> None:
        """Remove an object, and its alias unless that leads to a newer one."""
        gone = self._objects.pop(key, None)
        if gone is not None and self._alias is not None:
            alias = self._alias(gone.metadata)
            if self._aliases.get(alias) == key:
                del self._aliases[alias]

    def _notify(self, key: str) -> None:
        for listener in self._listeners:
            listener(key)
