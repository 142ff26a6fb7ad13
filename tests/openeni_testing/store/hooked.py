"""A store that calls a hook after each write, which may end the process there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.store import Page
from openeni_testing.store.memory import MemoryStore


class CrashError(BaseException):
    """The process ends here: nothing of the operator may catch it."""


@dataclass
class Countdown:
    """Ends the process after so many calls and writes; None: never."""

    left: int | None = None
    seen: int = 0

    def __call__(self, _: str) -> None:
        self.seen += 1
        if self.left is not None and self.seen > self.left:
            self.left = None
            raise CrashError


@dataclass
class HookedStore:
    """A store that calls `after_write` after each write, and `before_patch` before each patch."""

    store: MemoryStore
    before_patch: Callable[[str], None] = lambda _: None
    after_write: Callable[[str], None] = lambda _: None
    writes: list[str] = field(default_factory=list[str])
    reads: int = 0  # of single objects
    lists: list[str] = field(default_factory=list[str])  # their kinds, with field selectors

    def changed_at(self, kind: Kind) -> int:
        return self.store.changed_at(kind)

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        self.reads += 1
        return self.store.get(kind, name, namespace)

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        self.lists.append(f"{kind.name} {field_selector}")
        return self.store.list(kind, field_selector=field_selector, label_selector=label_selector)

    def pages(self, kind: Kind, **selectors: str) -> Iterator[tuple[Json, ...]]:
        return self.store.pages(kind, **selectors)

    def list_versions(self, kind: Kind) -> Mapping[str, str]:
        return self.store.list_versions(kind)

    def version(self, kind: Kind) -> str:
        return self.store.version(kind)

    def watch(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def create(self, kind: Kind, body: Json) -> Json:
        return self._wrote(f"create {kind.name}", self.store.create(kind, body))

    def apply(self, kind: Kind, body: Json, **arguments: Any) -> Json:
        return self._wrote(f"apply {kind.name}", self.store.apply(kind, body, **arguments))

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        operations: Sequence[Mapping[str, object]],
        subresource: str = "",
    ) -> Json:
        self.before_patch(kind.name)
        body = self.store.patch(
            kind, name, namespace, operations=operations, subresource=subresource
        )
        return self._wrote(f"patch {kind.name}", body)

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        self.store.delete(kind, name, namespace, uid=uid)
        self._wrote(f"delete {kind.name}", {})

    def _wrote(self, what: str, body: Json) -> Json:
        self.writes.append(what)
        self.after_write(what)
        return body
