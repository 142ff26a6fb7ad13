"""Write each chart's values.schema.json and docs/values.md from `values`, and the dashboards.

`PYTHONPATH=helm python -m openeni_chart.schema` writes them; with `--check` it only names what is
out of date.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from openeni_chart import dashboards
from openeni_chart.network_policies import NetworkPoliciesChart
from openeni_chart.section import Section
from openeni_chart.values import CRDChart, Values
from openeni_crds.generated_files import GeneratedFiles

Json = dict[str, Any]

REPOSITORY: Final = Path(__file__).parents[2]
VALUES: Final = REPOSITORY / "helm" / "openeni" / "values.yaml"
_DRAFT: Final = "http://json-schema.org/draft-07/schema#"  # every Helm 3 and 4 knows it
_HEADER: Final = """\
# The chart's values

Made from helm/openeni_chart/values.py by `make generate`; change it there.

Helm refuses every key that is not listed here (`values.schema.json`). Objects and arrays are of
Kubernetes' own types, which the API server checks. An object that you set is merged with its
default, key by key, and a key set to `null` is removed; an array replaces its default.

There is no `nameOverride` and no `fullnameOverride`: the kinds, the policies, the taint and the CNI
configuration of a node are one per cluster, so a second release under other names could not work.
"""


def schema(model: type[Section] = Values) -> Json:
    """Return the JSON schema that Helm holds a chart's values to."""
    return {"$schema": _DRAFT, **msgspec.json.schema(model)}


@dataclass(frozen=True)
class _Table:
    definitions: Json
    defaults: Json

    def sections(self) -> Iterator[str]:
        """Yield the page's parts, one for each map at the top."""
        top = self._resolved(schema())["properties"]
        for name, found in top.items():
            part = self._resolved(found)
            if "properties" in part:
                yield f"## `{name}`\n\n{_sentence(part)}\n\n{self._table(name, part)}"
        rest = {n: s for n, s in top.items() if "properties" not in self._resolved(s)}
        yield f"## Others\n\n{self._table('', {'properties': rest})}"

    def _table(self, place: str, section: Json) -> str:
        rows = "".join(f"| {' | '.join(row)} |\n" for row in self._rows(place, section))
        return f"| value | type | default | |\n|---|---|---|---|\n{rows}"

    def _rows(self, place: str, section: Json) -> Iterator[tuple[str, ...]]:
        for name, found in section["properties"].items():
            path, part = f"{place}.{name}".lstrip("."), self._resolved(found)
            if "properties" in part:
                yield from self._rows(path, part)
            else:
                yield f"`{path}`", _type(part), self._default(path), _sentence(part)

    def _default(self, path: str) -> str:
        found: Any = self.defaults
        for name in path.split("."):
            section: Json = found
            found = section.get(name, "")
        if found in ("", [], {}):
            return ""
        if isinstance(found, str):
            return f"`{found}`"
        text = json.dumps(found).replace('"', "")
        return f"`{text}`" if len(text) <= _MOST_TEXT else "see values.yaml"

    def _resolved(self, found: Json) -> Json:
        target = found.get("$ref", "").rpartition("/")[2]
        return {**self.definitions[target], **found} if target else found


_MOST_TEXT: Final = 60  # of a default in a row


def _type(part: Json) -> str:
    if "enum" in part:
        return ", ".join(f"`{choice}`" for choice in part["enum"])
    bounds = [f"{part[key]:g}" for key in ("minimum", "maximum") if key in part]
    return f"{part['type']} {' to '.join(bounds)}".strip()


def _sentence(part: Json) -> str:
    return " ".join(part.get("description", "").split())


def page() -> str:
    """Return docs/values.md."""
    table = _Table(schema()["$defs"], yaml.safe_load(VALUES.read_text()))
    return "\n".join((_HEADER, *table.sections()))


def _text(body: Json) -> str:
    return json.dumps(body, indent=2) + "\n"


def files(root: Path = REPOSITORY) -> GeneratedFiles:
    """Return the files, of the repository at `root`."""
    texts = {
        "helm/openeni/values.schema.json": _text(schema()),
        "helm/openeni/charts/openeni-crds/values.schema.json": _text(schema(CRDChart)),
        "helm/openeni/charts/openeni-network-policies/values.schema.json": _text(
            schema(NetworkPoliciesChart)
        ),
        "docs/values.md": page(),
        "docs/dashboards.md": dashboards.page(),
        **{f"helm/openeni/dashboards/{name}": text for name, text in dashboards.texts()},
    }
    source = "helm/openeni_chart or values.yaml"
    command = "PYTHONPATH=helm python -m openeni_chart.schema"
    return GeneratedFiles(root, texts, source, command)


if __name__ == "__main__":
    sys.exit(files().run())
