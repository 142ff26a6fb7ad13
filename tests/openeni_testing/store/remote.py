"""A store of one process for another: agents that are killed need an API server that lives.

One call a connection, over a unix socket; errors travel as values. A watch is a connection that
stays open.
"""

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Final

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube import store as errors
from openeni_kube.store import Page, Store, StoreError, UnreachableError, Watch

_OPENED: Final = "opened"  # a watch; its events follow
_EVENT: Final = "event"  # of a watch; more follow
_END: Final = "end"


def serve(store: Store, path: Path) -> None:
    """Serve until the process ends."""
    listener = Listener(str(path), "AF_UNIX", backlog=64)
    threading.Thread(target=_listen, args=(listener, store), daemon=True).start()


def _listen(listener: Listener, store: Store) -> None:
    while True:
        connection = listener.accept()
        threading.Thread(target=_answer, args=(connection, store), daemon=True).start()


def _answer(connection: "Connection[Any, Any]", store: Store) -> None:
    """A killed caller is no error."""
    with connection:
        try:
            method, args, kwargs = connection.recv()
            try:
                result = getattr(store, method)(*args, **kwargs)
                if method == "watch":
                    connection.send((_OPENED, None))
                    for event in result:
                        connection.send((_EVENT, event))
                    result = None
                connection.send((_END, result))
            except StoreError as error:
                connection.send((type(error).__name__, (error.status, error.message)))
        except (OSError, EOFError):
            return


class RemoteStore:
    """`store.Store` over the socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        body: Json = self._call("get", kind, name, namespace)
        return body

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        page: Page = self._call(
            "list", kind, field_selector=field_selector, label_selector=label_selector
        )
        return page

    def pages(self, kind: Kind, **selectors: str) -> Iterator[tuple[Json, ...]]:
        yield self.list(kind, **selectors).items

    def list_versions(self, kind: Kind) -> Mapping[str, str]:
        versions: Mapping[str, str] = self._call("list_versions", kind)
        return versions

    def version(self, kind: Kind) -> str:
        found: str = self._call("version", kind)
        return found

    def watch(
        self,
        kind: Kind,
        resource_version: str,
        *,
        field_selector: str = "",
        label_selector: str = "",
        seconds: int = 300,
    ) -> Watch:
        call = self._stream(
            "watch",
            kind,
            resource_version,
            field_selector=field_selector,
            label_selector=label_selector,
            seconds=seconds,
        )
        next(call)  # it is open, or an error
        events = (event for word, event in call if word == _EVENT)
        return Watch(events, lambda: None)  # no test of another process interrupts one

    def create(self, kind: Kind, body: Json) -> Json:
        made: Json = self._call("create", kind, body)
        return made

    def apply(
        self, kind: Kind, body: Json, *, manager: str, subresource: str = "", force: bool = True
    ) -> Json:
        made: Json = self._call(
            "apply", kind, body, manager=manager, subresource=subresource, force=force
        )
        return made

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        operations: Sequence[Mapping[str, object]],
        subresource: str = "",
    ) -> Json:
        made: Json = self._call(
            "patch", kind, name, namespace, operations=operations, subresource=subresource
        )
        return made

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        self._call("delete", kind, name, namespace, uid=uid)

    def _call(self, method: str, *args: object, **kwargs: object) -> Any:
        ((_, value),) = self._stream(method, *args, **kwargs)
        return value

    def _stream(
        self, method: str, *args: object, **kwargs: object
    ) -> Generator[tuple[str, Any], None, None]:
        """Yield the answers to a call, the last with the word `_END`. Raises StoreError."""
        word = _EVENT
        value: Any = ()
        try:
            with Client(str(self._path), "AF_UNIX") as connection:
                connection.send((method, args, kwargs))
                while word in (_OPENED, _EVENT):
                    word, value = connection.recv()
                    if word in (_OPENED, _EVENT, _END):
                        yield word, value
        except (OSError, EOFError) as error:
            raise UnreachableError(0, str(error)) from None
        if word != _END:
            raise getattr(errors, word)(*value)
