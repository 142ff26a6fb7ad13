"""Render docs/reference/crds.md: each kind's fields as its CRD has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from openeni_crds.meta import Json
from openeni_crds.schema import MODELS, definition
from openeni_docs.markdown import code, table

_HEADER: Final = """\
# The kinds, field by field

Made from crds/openeni_crds by `make generate`; change it there. `kubectl explain enipool.spec`
prints the same texts. What holds between fields and kinds is on the page [the API](../api.md).

A field in **bold** is required. *Immutable* means that the API server refuses a change; what a
change of any other field does is in [what may change](../api.md#what-may-change). Lists are written
`[]`, maps `{}`.
"""
_HEADS: Final = ("field", "type", "default", "")
_IMMUTABLE: Final = "self == oldSelf"


@dataclass(frozen=True)
class _Field:
    path: str
    schema: Json
    required: bool


def page() -> str:
    """Return docs/reference/crds.md."""
    return _HEADER + "".join(_kind(definition(kind)) for kind in MODELS)


def _kind(crd: Json) -> str:
    names, (version,) = crd["spec"]["names"], crd["spec"]["versions"]
    root = version["schema"]["openAPIV3Schema"]
    parts = "".join(
        f"\n### {names['kind']}: {part}\n\n{_cell(root['properties'][part]['description'])}\n\n"
        f"{table(_HEADS, map(_row, _fields(root['properties'][part], part)))}"
        for part in ("spec", "status")
    )
    intro = f"\n## {names['kind']}\n\n{root['description']}\n\n"
    return intro + table(("", ""), _facts(crd, version)) + parts + _rules(names["kind"], root)


def _facts(crd: Json, version: Json) -> Iterator[tuple[str, str]]:
    names = crd["spec"]["names"]
    words = [names["singular"], names["plural"], *names.get("shortNames", ())]
    selectable = [
        field["jsonPath"].removeprefix(".") for field in version.get("selectableFields", ())
    ]
    columns = version["additionalPrinterColumns"]
    wide = ", ".join(c["name"] for c in columns if c.get("priority"))
    yield "group and version", code(f"{crd['spec']['group']}/{version['name']}")
    yield "scope", crd["spec"]["scope"]
    yield "names for `kubectl`", ", ".join(map(code, words))
    if selectable:
        yield "fields for `--field-selector`", ", ".join(map(code, selectable))
    yield "columns", ", ".join(c["name"] for c in columns if not c.get("priority"))
    yield "more with `-o wide`", wide


def _fields(schema: Json, path: str) -> Iterator[_Field]:
    """Yield the fields below a schema, each before its own."""
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        field = _Field(f"{path}.{name}", child, name in required)
        yield field
        inner, mark = child, ""
        while "items" in inner or isinstance(inner.get("additionalProperties"), dict):
            mark += "[]" if "items" in inner else "{}"
            inner = inner.get("items") or inner["additionalProperties"]
        yield from _fields(inner, field.path + mark)


def _row(field: _Field) -> tuple[str, ...]:
    path = f"**{code(field.path)}**" if field.required else code(field.path)
    default = code(_literal(field.schema["default"])) if "default" in field.schema else ""
    text = _cell(field.schema.get("description", ""))
    immutable = any(r["rule"] == _IMMUTABLE for r in _validations(field.schema))
    return path, _type(field.schema), default, f"{text} *Immutable.*".strip() if immutable else text


def _type(schema: Json) -> str:
    if "items" in schema:
        most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
        return f"list of {_type(schema['items'])}{most}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{schema['type']} {low} to {high}"
    return (
        str(schema.get("format", schema["type"]))
        .replace("int64", "integer")
        .replace("int32", "integer")
    )


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        parts = cast("Json", value).items()
        return f"{{{', '.join(f'{key}: {_literal(part)}' for key, part in parts)}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _validations(schema: Json) -> list[Json]:
    found: list[Json] = schema.get("x-kubernetes-validations", [])
    return found


def _rules(kind: str, root: Json) -> str:
    rows = [
        (code(path or kind), _cell(rule["message"]))
        for path, schema in _places(root, "")
        for rule in _validations(schema)
        if rule["rule"] != _IMMUTABLE
    ]
    if not rows:
        return ""
    return f"\n### {kind}: rules\n\nThe API server refuses what breaks one of them.\n\n" + table(
        ("where", "what it says"), rows
    )


def _places(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    """Yield a schema and all below it, each with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _places(child, f"{path}.{name}".removeprefix("."))
    for part, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(part), dict):
            yield from _places(schema[part], path + mark)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
