"""The writes that attacks consist of, as values: who writes is chosen when it is done."""

from collections.abc import Callable
from typing import Any, Final, Literal

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODIPS
from openeni_kube.client import KubeStore
from openeni_testing.admission import bodies
from openeni_testing.admission.target import Place, Target

Write = Callable[[Target], object]
Who = Literal["agent", "operator", "alice"]
Side = Literal["mine", "other"]

REMOVE: Final = object()


def put(path: str, value: Any) -> list[Json]:
    """Return the JSON patch that sets or removes one field."""
    if value is REMOVE:
        return [{"op": "remove", "path": path}]
    return [{"op": "add", "path": path, "value": value}]


def store_of(target: Target, who: Who) -> KubeStore:
    found: KubeStore = getattr(target, who)
    return found


def place_of(target: Target, side: Side) -> Place:
    found: Place = getattr(target, side)
    return found


def node(path: str, value: Any, *, who: Who = "agent", side: Side = "mine", sub: str = "") -> Write:
    """Patch a Node."""
    return lambda t: store_of(t, who).patch(
        NODES, place_of(t, side).node, operations=put(path, value), subresource=sub
    )


def eni(path: str, value: Any, *, who: Who, side: Side = "mine") -> Write:
    """Patch an ENI; a path in /status goes through the subresource."""
    return lambda t: store_of(t, who).patch(
        ENIS,
        place_of(t, side).eni_name,
        operations=put(path, value),
        subresource=_subresource(path),
    )


def podip(path: str, value: Any, *, who: Who, side: Side = "mine") -> Write:
    """Patch a PodIP; a path in /status goes through the subresource."""

    def write(t: Target) -> object:
        meta = place_of(t, side).podip["metadata"]
        return store_of(t, who).patch(
            PODIPS,
            meta["name"],
            meta["namespace"],
            operations=put(path, value),
            subresource=_subresource(path),
        )

    return write


def pool(path: str, value: Any, *, who: Who) -> Write:
    """Patch the ENIPool; a path in /status goes through the subresource."""
    return lambda t: store_of(t, who).patch(
        ENIPOOLS, t.pool_name, operations=put(path, value), subresource=_subresource(path)
    )


def new_podip(change: Callable[[Json, Target], None], *, who: Who = "agent") -> Write:
    """Create the PodIP of a pod that has none, changed."""

    def write(t: Target) -> object:
        body = bodies.podip(t.bare, t.mine.node, t.mine.eni_name, t.pool_name)
        change(body, t)
        return store_of(t, who).create(PODIPS, body)

    return write


def new_eni(change: Callable[[Json, Target], None], *, who: Who) -> Write:
    """Create another ENI, changed."""

    def write(t: Target) -> object:
        body = bodies.eni("another", t.mine.node, t.pool)
        change(body, t)
        return store_of(t, who).create(ENIS, body)

    return write


def unchanged(body: Json, t: Target) -> None:
    """Change nothing."""


def _subresource(path: str) -> str:
    return "status" if path.startswith("/status") else ""
