"""Server-side apply in small: who owns which field, and what applying does to the others.

The rules are those of https://kubernetes.io/docs/reference/using-api/server-side-apply/ as far as
openeni uses them. An object is taken apart into its leaves, each with its path; lists are leaves
unless the CRD says that they are maps or sets.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from openeni_crds.meta import Json

# What is true of every Kubernetes object, and of kinds whose schema is not ours.
_KNOWN_LISTS: dict[str, Json] = {
    "conditions": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    "finalizers": {"x-kubernetes-list-type": "set"},
    "ownerReferences": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"]},
}


@dataclass(frozen=True)
class Item:
    """An item of a list that is a map, by its keys."""

    keys: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """A value in a list that is a set."""

    value: str


@dataclass(frozen=True)
class Leaf:
    value: Any


Step = str | Item | Member
Path = tuple[Step, ...]
Flat = dict[Path, Any]
Owners = dict[str, frozenset[Path]]


class ClashError(Exception):
    """Other managers own these fields, with other values."""


def flatten(value: Any, schema: Json, path: Path = ()) -> Flat:
    """Return every leaf of `value` by its path; empty maps and lists are leaves."""
    whole: Any = value  # isinstance() makes a dict of unknowns of it, for pyright
    if isinstance(value, dict) and value:
        return _joined(
            flatten(child, _of_field(schema, name), (*path, name)) for name, child in whole.items()
        )
    if isinstance(value, list) and value:
        return _flatten_list(whole, schema, path)
    return {path: value}


def _flatten_list(items: list[Any], schema: Json, path: Path) -> Flat:
    kind = schema.get("x-kubernetes-list-type")
    if kind == "set":
        return {(*path, Member(each)): each for each in items}
    if kind != "map":
        return {path: items}
    keys = schema["x-kubernetes-list-map-keys"]
    return _joined(
        flatten(item, schema.get("items", {}), (*path, Item(tuple(item[k] for k in keys))))
        for item in items
    )


def _of_field(schema: Json, name: str) -> Json:
    found: Json = schema.get("properties", {}).get(name) or schema.get("additionalProperties", {})
    return found or _KNOWN_LISTS.get(name, {})


def _joined(parts: Iterable[Flat]) -> Flat:
    whole: Flat = {}
    for part in parts:
        whole |= part
    return whole


def unflatten(flat: Flat) -> Json:
    """Put an object together from its leaves."""
    tree: dict[Step, Any] = {}
    for path, value in flat.items():
        node = tree
        for step in path[:-1]:
            if not isinstance(node.get(step), dict):
                node[step] = {}
            node = node[step]
        if value not in ({}, []) or path[-1] not in node:
            node[path[-1]] = Leaf(value)
    whole: Json = _built(tree)
    return whole


def _built(tree: Any) -> Any:
    if isinstance(tree, Leaf):
        return tree.value
    if any(isinstance(step, Item | Member) for step in tree):
        return [_built(child) for child in tree.values()]
    return {step: _built(child) for step, child in tree.items()}


def applied(
    live: Flat, owners: Owners, manager: str, wanted: Flat, *, force: bool
) -> tuple[Flat, Owners]:
    """Return the leaves and owners after `manager` has applied `wanted`.

    What it owned and no longer names goes, unless somebody else owns it too. Raise ClashError when
    another manager owns a leaf that would change, unless `force` takes it over.
    """
    others = {name: paths for name, paths in owners.items() if name != manager}
    taken = {
        path
        for path, value in wanted.items()
        if path in live and live[path] != value and any(path in owned for owned in others.values())
    }
    if taken and not force:
        raise ClashError(", ".join(sorted(".".join(map(str, path)) for path in taken)))
    dropped = {
        path
        for path in owners.get(manager, frozenset()) - wanted.keys()
        if not any(path in owned for owned in others.values())
    }
    result = {path: value for path, value in live.items() if path not in dropped} | wanted
    after = {name: paths - taken for name, paths in others.items()}
    return result, after | {manager: frozenset(wanted)}


def updated(owners: Owners, before: Flat, after: Flat) -> Owners:
    """Return the owners after an update or patch: whoever changes a field takes it over."""
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return {name: paths - changed for name, paths in owners.items()}
