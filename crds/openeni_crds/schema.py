"""Write the CustomResourceDefinitions from the models, so that both cannot differ.

`python -m openeni_crds.schema` writes them; with `--check` it only names what is out of date. Each
names the digest of what it defines, and the operator knows those of its own build: the version is
the same for every build of a release.
msgspec turns the models into JSON schema; here that becomes the structural subset that Kubernetes
takes (no references, no null, no titles) with what `rules.py` adds.
"""

import hashlib
import json
import sys
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from openeni_crds import display, rules
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.generated_files import GeneratedFiles
from openeni_crds.meta import Json
from openeni_crds.names import (
    ANNOTATION_BUNDLE_VERSION,
    BUNDLE_VERSION,
    CATEGORY,
    CRDS,
    ENIPOOLS,
    ENIS,
    GROUP,
    LABEL_VERSION,
    PODIPS,
    Kind,
    crd_name,
    crd_version,
)
from openeni_crds.podip import PodIP

MODELS: Final = {ENIPOOLS: ENIPool, ENIS: ENI, PODIPS: PodIP}
_REPOSITORY: Final = Path(__file__).parents[2]
FOLDER: Final = "crds"
CHART_FOLDER: Final = "helm/openeni/charts/openeni-crds/templates"
DIGESTS: Final = "operator/openeni_operator/process/crd_digests.py"
_HEADER: Final = (
    "# Made from crds/openeni_crds by `python -m openeni_crds.schema`; change it there.\n"
)
_TEMPLATE: Final = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {name}
  {{{{- include "openeni-crds.metadata" (list . "{digest}") | nindent 2 }}}}"""
_DIGESTS: Final = """\
\"\"\"The digests of the CRDs of this operator's build.

Made by `python -m openeni_crds.schema`.
\"\"\"

from typing import Final

DIGESTS: Final = {{
{lines}}}
"""
_REFERENCE: Final = "#/"
# What a structural schema may not have, or says otherwise (apiextensions v1 JSONSchemaProps).
_FOREIGN: Final = frozenset({"title", "propertyNames", "$ref", "anyOf"})
_NAME_PATTERN: Final = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


@dataclass(frozen=True)
class _Models:
    """The JSON schemas of all structs, by struct."""

    definitions: dict[str, Json]
    used: set[str]  # keys of rules.py that were found

    def structural(self, schema: Json, place: str, *, defaults: bool) -> Json:
        """Return `schema`, found at `place` (a key of rules.RULES), as a structural schema."""
        struct, whole = self._inlined(schema)
        known = {key: value for key, value in whole.items() if key not in _FOREIGN}
        if "description" in known:  # a docstring comes with its line breaks
            known["description"] = " ".join(known["description"].split())
        if "enum" in known:
            known["type"] = "string"
        if known["type"] == "integer":
            known["format"] = "int32" if known.get("maximum", 2**31) < 2**31 else "int64"
        if "default" in known and not (defaults and _worth_saying(known)):
            del known["default"]
        self._children(known, struct or place, defaults=defaults)
        return known | self.marks(known, struct, place)

    def _inlined(self, schema: Json) -> tuple[str, Json]:
        """Follow references and optional types; the struct's name is "" where there is none."""
        struct = ""
        while "$ref" in schema or "anyOf" in schema:
            options: list[Json] = schema.get("anyOf", [schema])
            (target,) = (o for o in options if o.get("type") != "null")
            struct = target["$ref"].removeprefix(_REFERENCE) if "$ref" in target else struct
            found = self.definitions[struct] if "$ref" in target else target
            own = {k: v for k, v in schema.items() if k not in {"$ref", "anyOf"}}
            schema = {**found, **own}
        return struct, schema

    def marks(self, schema: Json, struct: str, place: str) -> Json:
        """Return what rules.py demands of this place."""
        marks: Json = {}
        for key in (place, struct):
            self._note(key, rules.RULES)
            for rule in rules.RULES.get(key, ()) if key else ():
                marks.setdefault("x-kubernetes-validations", []).append(_validation(rule))
        if schema["type"] == "array":
            marks |= self._list_type(place)
        if struct == "LabelSelector":
            marks["x-kubernetes-map-type"] = "atomic"
        if struct in rules.REQUIRED:
            self._note(struct, rules.REQUIRED)
            marks["required"] = sorted({*schema["required"], *rules.REQUIRED[struct]})
        return marks

    def _list_type(self, place: str) -> Json:
        if place in rules.LIST_MAPS:
            self._note(place, rules.LIST_MAPS)
            keys = list(rules.LIST_MAPS[place])
            return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}
        self._note(place, rules.LIST_SETS)
        return {"x-kubernetes-list-type": "set" if place in rules.LIST_SETS else "atomic"}

    def _note(self, key: str, table: Container[str]) -> None:
        if key in table:
            self.used.add(key)

    def _children(self, schema: Json, place: str, *, defaults: bool) -> None:
        if "properties" in schema:
            schema["properties"] = {
                name: self.structural(child, f"{place}.{name}", defaults=defaults)
                for name, child in schema["properties"].items()
            }
            if not schema["required"]:
                del schema["required"]
            if "default" in schema:  # the API server holds a default to the rules as it stands
                own = {k: v["default"] for k, v in schema["properties"].items() if "default" in v}
                schema["default"] = own | schema["default"]
        for part, mark in (("items", "[]"), ("additionalProperties", "{}")):
            if part in schema:
                schema[part] = self.structural(schema[part], place + mark, defaults=defaults)


def _worth_saying(schema: Json) -> bool:
    """Return whether a default says anything; {} of a struct whose fields have defaults does."""
    default = schema["default"]
    empty = default is None or default in ("", [], (), {})
    return not empty or (default == {} and "properties" in schema)


def _validation(rule: rules.Rule) -> Json:
    body: Json = {"rule": rule.rule, "message": rule.message, "reason": rule.reason}
    if rule.field:
        body["fieldPath"] = rule.field
    return body


def _root(kind: Kind, used: set[str]) -> Json:
    """Return the schema of a whole object; `metadata` is Kubernetes' own but for the name."""
    model = MODELS[kind]
    _, definitions = msgspec.json.schema_components((model,), ref_template=_REFERENCE + "{name}")
    models = _Models(definitions, used)
    root = definitions[model.__name__]
    properties: Json = {"metadata": _metadata(kind)} | {
        part: models.structural(root["properties"][part], part, defaults=part == "spec")
        for part in ("spec", "status")
    }
    body: Json = {
        "type": "object",
        "description": " ".join((model.__doc__ or "").split()),
        "required": ["spec"],
        "properties": properties,
    }
    return body | models.marks(body, kind.name, "")


def _metadata(kind: Kind) -> Json:
    body: Json = {"type": "object"}
    if kind.name in rules.NAME_LENGTHS:
        length = rules.NAME_LENGTHS[kind.name]
        name = {"type": "string", "maxLength": length, "pattern": _NAME_PATTERN}
        body["properties"] = {"name": name}
    return body


def _column(column: display.Column) -> Json:
    body: Json = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return body | ({"priority": 1} if column.wide else {})


def definition(kind: Kind, used: set[str] | None = None) -> Json:
    """Return the CustomResourceDefinition of a kind; `used` gets the keys of rules.py found."""
    names: dict[str, Any] = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": kind.name.lower(),
        "categories": [CATEGORY],
    }
    if kind.name in display.SHORT_NAMES:
        names["shortNames"] = list(display.SHORT_NAMES[kind.name])
    version: Json = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(c) for c in display.COLUMNS[kind.name]],
        "schema": {"openAPIV3Schema": _root(kind, set() if used is None else used)},
    }
    if kind.name in display.SELECTABLE:
        version["selectableFields"] = [{"jsonPath": p} for p in display.SELECTABLE[kind.name]]
    spec: Json = {
        "group": GROUP,
        "names": names,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "versions": [version],
    }
    return {
        "apiVersion": CRDS.api_version,
        "kind": CRDS.name,
        "metadata": {
            "annotations": {ANNOTATION_BUNDLE_VERSION: crd_version(digest(spec))},
            "labels": {LABEL_VERSION: BUNDLE_VERSION},
            "name": crd_name(kind),
        },
        "spec": spec,
    }


def digest(spec: Json) -> str:
    """Return 8 hexadecimal digits that stand for all that a CRD defines."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]


class _Plain(yaml.SafeDumper):
    """YAML without anchors: equal parts are written out, as `kubectl get -o yaml` does."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _for_the_chart(text: str, own: str) -> str:
    """Return a CRD as a template of the sub-chart, whose values decide on labels and `keep`."""
    head, mark, spec = text.removeprefix(_HEADER).partition("\nspec:\n")
    name = head.rpartition("\n  name: ")[2]
    return _HEADER + _TEMPLATE.format(name=name, digest=own) + mark + spec


def generated() -> dict[str, str]:
    """Return the paths of the files, below the repository, and what must be in them.

    Raises KeyError where rules.py names a field or a struct that no kind has.
    """
    used: set[str] = set()
    files: dict[str, str] = {}
    digests: dict[str, str] = {}
    for kind in MODELS:
        name = f"{GROUP}_{kind.plural}.yaml"
        body = definition(kind, used)
        own = digests[crd_name(kind)] = digest(body["spec"])
        text = _HEADER + yaml.dump(body, Dumper=_Plain, width=100, allow_unicode=True)
        files[f"{FOLDER}/{name}"] = text
        files[f"{CHART_FOLDER}/{name}"] = _for_the_chart(text, own)
    lines = "".join(f'    "{name}": "{own}",\n' for name, own in digests.items())
    files[DIGESTS] = _DIGESTS.format(lines=lines)
    unused = {*rules.RULES, *rules.REQUIRED, *rules.LIST_MAPS, *rules.LIST_SETS} - used
    if unused:
        raise KeyError(f"rules.py names what no kind has: {', '.join(sorted(unused))}")
    return files


def files(root: Path = _REPOSITORY) -> GeneratedFiles:
    """Return the CRDs as files of the repository at `root`."""
    command = "python -m openeni_crds.schema"
    return GeneratedFiles(root, generated(), "the models in crds/openeni_crds", command)


if __name__ == "__main__":
    sys.exit(files().run())
