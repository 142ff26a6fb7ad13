"""Look up in the CRDs' schemas whether a field exists that a page names."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from openeni_crds import names
from openeni_crds.display import SELECTABLE, SHORT_NAMES
from openeni_crds.names import ENIPOOLS, ENIS, PODIPS, Kind
from openeni_crds.schema import definition

Json = dict[str, Any]

KINDS: Final = (ENIPOOLS, ENIS, PODIPS)
SCHEMAS: Final[dict[Kind, Json]] = {
    kind: definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for kind in KINDS
}
NAMES: Final[dict[str, Kind]] = {
    word: kind
    for kind in KINDS
    for word in (kind.plural, kind.name.lower(), *SHORT_NAMES.get(kind.name, ()))
}
# Everything with openeni's domain in its name that a page may write.
KNOWN: Final = frozenset(
    {
        *(
            value
            for name, value in vars(names).items()
            if name.isupper() and isinstance(value, str)
        ),
        *(names.crd_name(kind) for kind in KINDS),
    }
)
_PATH: Final = re.compile(r"\.(?:spec|status)(?:\.\w+|\[[^]]*\])*")


def selectable(kind: Kind) -> set[str]:
    """Return the fields of a kind that `--field-selector` may name."""
    ours = (path.removeprefix(".") for path in SELECTABLE.get(kind.name, ()))
    return {*ours, "metadata.name", "metadata.namespace"}


def unknown_paths(kind: Kind, text: str) -> list[str]:
    """Return the paths in a jsonpath expression that objects of a kind cannot have."""
    return [path for path in _PATH.findall(text) if not _has(SCHEMAS[kind], _steps(path))]


def unknown_keys(kind: Kind, body: Any) -> list[str]:
    """Return the fields of an object, or of a part of one, that its kind does not have."""
    return list(_unknown(SCHEMAS[kind], body, ""))


def has_path(kind: Kind, path: str) -> bool:
    """Return whether the path of a JSON patch can be in an object of this kind."""
    return _has(SCHEMAS[kind], [step for step in path.split("/") if step])


def _steps(path: str) -> list[str]:
    return [step for step in re.sub(r"\[[^]]*\]", ".*", path).split(".") if step]


def _has(schema: Json, path: list[str]) -> bool:
    if not path:
        return True
    step, *rest = path
    if "items" in schema:  # an index, "-" at the end, or a filter
        return _has(schema["items"], rest if step in {"*", "-"} or step.isdecimal() else path)
    if step in schema.get("properties", {}):
        return _has(schema["properties"][step], rest)
    return isinstance(schema.get("additionalProperties"), dict) or schema["type"] == "string"


def _unknown(schema: Json, body: Any, path: str) -> Iterator[str]:
    if isinstance(body, list):
        for item in cast("Iterable[Any]", body):
            yield from _unknown(schema.get("items", {}), item, f"{path}[]")
    elif isinstance(body, dict) and "properties" in schema:
        for key, value in cast("Json", body).items():
            if key in schema["properties"]:
                yield from _unknown(schema["properties"][key], value, f"{path}.{key}")
            elif key not in {"apiVersion", "kind"} and not path.endswith("metadata"):
                yield f"{path}.{key}"
