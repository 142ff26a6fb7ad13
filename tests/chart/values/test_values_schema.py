"""values.yaml, its schema, its page and its types say the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from openeni_chart import schema
from openeni_chart.section import Section
from openeni_chart.values import Values

Json = dict[str, Any]

DEFAULTS: Json = yaml.safe_load(schema.VALUES.read_text())
OF_OTHERS = (
    "global",
    "enabled",
    "crds.global",
    "networkPolicies.global",
)  # of a chart that has this one as a sub-chart


def typed(model: type[Section], place: str = "") -> Iterator[str]:
    """Yield the path of every value that the types name."""
    for found in msgspec.structs.fields(model):
        path = f"{place}{found.encode_name}"
        if isinstance(found.type, type) and issubclass(found.type, Section):
            yield from typed(found.type, f"{path}.")
        elif path not in OF_OTHERS:
            yield path


def default(path: str) -> Any:
    found: Any = DEFAULTS
    for name in path.split("."):
        found = found[name]
    return found


def test_every_default_is_valid() -> None:
    msgspec.convert(DEFAULTS, Values)


@pytest.mark.parametrize("path", list(typed(Values)))
def test_every_value_has_a_default_and_a_row_in_the_docs(path: str) -> None:
    assert default(path) is not None
    assert f"| `{path}` |" in (schema.REPOSITORY / "docs" / "values.md").read_text()


def test_every_map_with_listed_keys_refuses_others() -> None:
    listed = [d for d in schema.schema()["$defs"].values() if "properties" in d]
    assert listed
    assert all(d["additionalProperties"] is False for d in listed)


def test_the_files_are_what_the_types_say() -> None:
    assert schema.files().differing() == []


def test_a_drifted_schema_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = schema.files(tmp_path)
    files.write()
    (tmp_path / "helm/openeni/values.schema.json").write_text("{}")
    assert files.run(["--check"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("helm/openeni/values.schema.json is not what")
    assert "openeni_chart.schema" in line
