"""The Kubernetes API as operator and agent use it.

`KubeStore` (client.py) is the real one; tests of decisions use a store in memory that passes the
same contract suite. Every call has a timeout; none retries by itself: retries are the caller's
queue's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from openeni_crds.meta import Json
from openeni_crds.names import Kind

PAGE_SIZE: Final = 500  # objects in one response to a list


class StoreError(Exception):
    """The API server's answer was an error: `status` is HTTP's, `message` the server's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class NotFoundError(StoreError):
    """404: no such object (or no such kind: the CRDs are not installed)."""


class ConflictError(StoreError):
    """409: somebody wrote in between, or the name exists already. Look again."""


class GoneError(StoreError):
    """410: the resource version is too old to watch from. List again."""


class InvalidError(StoreError):
    """400 or 422: the object was refused; the message names the field."""


class UnreachableError(StoreError):
    """No answer, a refused connection, or a 5xx: nothing is known about the outcome."""


@dataclass(frozen=True)
class Page:
    """Objects of one list, and where a watch that continues it starts."""

    items: tuple[Json, ...]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Json


class Watch(Iterator[WatchEvent]):
    """The events of a watch, for one thread; any other may interrupt it."""

    def __init__(self, events: Iterator[WatchEvent], end: Callable[[], object]) -> None:
        """`end` is called by another thread: `events` end without waiting for the next one."""
        self._events = events
        self._end = end

    def __next__(self) -> WatchEvent:
        return next(self._events)

    def interrupt(self) -> None:
        """End it now, though its thread may be waiting for an event."""
        self._end()


def object_key(body: Json) -> str:
    """Return `name`, or `namespace/name` for a namespaced object."""
    metadata: Json = body["metadata"]
    namespace = metadata.get("namespace", "")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def same_version(resource_version: str) -> Json:
    """Return the operation that fails a patch if the object has another version by now."""
    return {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}


class Store(Protocol):
    """The API server. Bodies are JSON objects; names and namespaces are strings ("" for none)."""

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        """Raise NotFoundError when it is not there."""
        ...

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        """Return the objects of all namespaces, read page by page."""
        ...

    def pages(
        self, kind: Kind, *, field_selector: str = "", label_selector: str = ""
    ) -> Iterator[tuple[Json, ...]]:
        """Yield the objects of all namespaces page by page: for lists too long to be held."""
        ...

    def list_versions(self, kind: Kind) -> Mapping[str, str]:
        """Return the resource version of every object by its `object_key`. Cheaper than `list`."""
        ...

    def version(self, kind: Kind) -> str:
        """Return the resource version that the API server is at, of the kind's lists."""
        ...

    def watch(
        self,
        kind: Kind,
        resource_version: str,
        *,
        field_selector: str = "",
        label_selector: str = "",
        seconds: int = 300,
    ) -> Watch:
        """Open a watch; return its events until the server or `seconds` ends it, with bookmarks.

        Raise GoneError when `resource_version` is too old, here or with the first event; every
        other error of opening it is raised here. A stream silent beyond its time is ended, not
        waited for.
        """
        ...

    def create(self, kind: Kind, body: Json) -> Json:
        """Raise ConflictError when the name exists."""
        ...

    def apply(
        self, kind: Kind, body: Json, *, manager: str, subresource: str = "", force: bool = True
    ) -> Json:
        """Apply on the server: `body` names exactly the fields that `manager` owns."""
        ...

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        operations: Sequence[Mapping[str, object]],
        subresource: str = "",
    ) -> Json:
        """Patch with JSON patch (RFC 6902); a failed `test` raises InvalidError."""
        ...

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        """Delete in the background; an object that is gone, or has another uid, is no error.

        Raise ConflictError if it could not be deleted, and is still there with that uid.
        """
        ...
