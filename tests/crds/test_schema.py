"""The generated CRDs: up to date, and as design says every API of ours must be."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from openeni_crds import rules, schema
from openeni_crds.meta import Json
from openeni_crds.names import BUNDLE_VERSION, ENIS, PODIPS
from openeni_testing.objects import REPOSITORY

FILES = sorted((REPOSITORY / "crds").glob("*.yaml"))


def crd(path: Path) -> Json:
    body: Json = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    return body


def root(path: Path) -> Json:
    body: Json = crd(path)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return body


def parts(schema_: Json, place: str = "") -> Iterator[tuple[str, Json]]:
    """Every schema below this one but metadata's, with its path."""
    yield place, schema_
    for name, child in schema_.get("properties", {}).items():
        if (place, name) != ("", "metadata"):
            yield from parts(child, f"{place}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema_.get(word), dict):
            yield from parts(schema_[word], f"{place}[]")


def every_part(path: Path) -> list[tuple[str, Json]]:
    return list(parts(root(path)))


each_file = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def test_there_is_a_file_for_every_kind() -> None:
    assert {crd(p)["spec"]["names"]["kind"] for p in FILES} == {"ENIPool", "ENI", "PodIP"}


def test_the_files_are_what_the_models_say() -> None:
    assert schema.files().differing() == []


def test_a_drifted_or_missing_file_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = schema.files(tmp_path)
    assert files.run([]) == 0
    assert files.run(["--check"]) == 0
    drifted = [
        f"{schema.FOLDER}/openeni.io_enis.yaml",
        f"{schema.CHART_FOLDER}/openeni.io_podips.yaml",
    ]
    (tmp_path / drifted[0]).write_text("edited by hand")
    (tmp_path / drifted[1]).unlink()
    assert files.run(["--check"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == drifted
    assert all("run `python -m openeni_crds.schema`" in line for line in lines)
    assert files.run([]) == 0
    assert files.run(["--check"]) == 0


@each_file
def test_a_crd_says_of_which_version_it_is(path: Path) -> None:
    body = crd(path)
    metadata, own = body["metadata"], schema.digest(body["spec"])
    assert metadata["annotations"] == {"openeni.io/bundle-version": f"{BUNDLE_VERSION}+{own}"}
    assert metadata["labels"] == {"app.kubernetes.io/version": BUNDLE_VERSION}


@each_file
def test_whatever_a_crd_defines_is_in_its_digest(path: Path) -> None:
    spec = crd(path)["spec"]
    (version,) = spec["versions"]
    root = version["schema"]["openAPIV3Schema"]
    more = root["properties"] | {"novelty": {"type": "string"}}
    wider = version | {"schema": {"openAPIV3Schema": root | {"properties": more}}}
    changed = [
        spec | {"versions": [wider]},
        spec | {"names": spec["names"] | {"shortNames": ["x"]}},
    ]
    assert schema.digest(spec) not in map(schema.digest, changed)


def test_crds_package_and_all_charts_have_one_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    charts = [yaml.safe_load(p.read_text()) for p in (REPOSITORY / "helm").rglob("Chart.yaml")]
    versions = [version for c in charts for version in (c["version"], c["appVersion"])]
    versions += [d["version"] for c in charts for d in c.get("dependencies", ())]
    assert len(versions) == 8
    assert {project["version"], *versions} == {BUNDLE_VERSION}


@each_file
def test_every_part_has_a_type_and_nothing_is_a_boolean_that_may_get_a_third_value(
    path: Path,
) -> None:
    for place, part in every_part(path):
        allowed = {"object", "array", "string", "integer"}
        assert part["type"] in allowed | ({"boolean"} if place == ".spec.paused" else set()), place


@each_file
def test_every_string_list_map_and_number_is_bounded(path: Path) -> None:
    bounds: dict[str, Callable[[Json], bool]] = {
        "string": lambda p: "maxLength" in p or "enum" in p,
        "array": lambda p: p["maxItems"] <= 64,
        "integer": lambda p: "minimum" in p,
        "object": lambda p: "additionalProperties" not in p or "maxProperties" in p,
        "boolean": lambda _: True,
    }
    for place, part in every_part(path):
        assert bounds[part["type"]](part), place


@each_file
def test_every_list_says_how_it_is_merged(path: Path) -> None:
    for place, part in every_part(path):
        if part["type"] == "array":
            assert part["x-kubernetes-list-type"] in {"atomic", "map", "set"}, place


@each_file
def test_every_field_is_described(path: Path) -> None:
    for place, part in every_part(path):
        assert place.endswith("[]") or part.get("description"), place


@each_file
def test_every_description_is_a_sentence_for_kubectl_explain(path: Path) -> None:
    for place, part in every_part(path):
        text = part.get("description", "")
        assert not text or (text[0].isupper() or text[0] == "{"), place
        assert not text or text.endswith("."), place
        assert "  " not in text, place


def test_one_name_has_one_type_in_all_kinds() -> None:
    types: dict[str, set[str]] = {}
    for path in FILES:
        for place, part in every_part(path):
            name = place.rpartition(".")[2]
            if not name.endswith("[]") and place not in {".spec", ".status"}:
                types.setdefault(name, set()).add(part["type"])
    assert {name: found for name, found in types.items() if len(found) > 1} == {}


@each_file
def test_references_and_ids_say_what_they_are(path: Path) -> None:
    assert not {"pool", "eni", "node", "network", "subnet", "server"} & {
        place.rpartition(".")[2] for place, part in every_part(path) if part["type"] == "string"
    }


@each_file
def test_the_schema_is_structural(path: Path) -> None:
    foreign = {"$ref", "anyOf", "oneOf", "allOf", "not", "title", "nullable", "propertyNames"}
    for place, part in every_part(path):
        assert not foreign & part.keys(), place
        assert not ("properties" in part and "additionalProperties" in part), place
        assert "x-kubernetes-preserve-unknown-fields" not in part, place
        assert set(part.get("required", ())) <= part.get("properties", {}).keys(), place


@each_file
def test_a_status_has_no_defaults_and_needs_nothing_at_its_top(path: Path) -> None:
    status = root(path)["properties"]["status"]
    assert [place for place, part in parts(status) if "default" in part] == []
    assert "required" not in status


@each_file
def test_no_phase_is_stored_and_conditions_are_a_map_by_type(path: Path) -> None:
    status = root(path)["properties"]["status"]["properties"]
    assert "phase" not in status
    conditions = status["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    required = {"type", "status", "reason", "message", "lastTransitionTime"}
    assert set(conditions["items"]["required"]) == required  # as metav1.Condition
    assert conditions["items"]["properties"]["lastTransitionTime"]["format"] == "date-time"


@each_file
def test_durations_are_spelled_the_same_way_everywhere(path: Path) -> None:
    for place, part in parts(root(path)):
        for rule in part.get("x-kubernetes-validations", ()):
            if "duration(" in rule["rule"]:
                assert rule["rule"].startswith("self.matches('^([0-9]{1,4}h|"), place
                assert rule["message"].startswith("must be a duration such as "), place
                assert "pattern" not in part, f"{place}: two errors for one mistake"


@each_file
def test_every_rule_has_a_message_and_names_an_existing_field(path: Path) -> None:
    for place, part in parts(root(path)):
        for rule in part.get("x-kubernetes-validations", ()):
            assert rule["message"], place
            found: Any = part
            for name in rule.get("fieldPath", "").split(".")[1:]:
                found = found["properties"][name]


def test_every_rule_is_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {rule["message"] for p in FILES for _, part in parts(root(p)) for rule in _rules(part)}
    assert {r.message for each in rules.RULES.values() for r in each} == used
    for table in ("RULES", "REQUIRED", "LIST_MAPS"):
        with monkeypatch.context() as patch:
            patch.setattr(rules, table, {**getattr(rules, table), "PortSubnt.gateway": ()})
            with pytest.raises(KeyError, match=r"names what no kind has: PortSubnt\.gateway"):
                schema.generated()


def _rules(part: Json) -> list[Json]:
    found: list[Json] = part.get("x-kubernetes-validations", [])
    return found


@each_file
def test_every_kind_has_a_status_of_its_own_and_is_in_our_category(path: Path) -> None:
    spec = crd(path)["spec"]
    assert spec["names"]["categories"] == ["openeni"]
    assert spec["names"]["singular"] == spec["names"]["kind"].lower()
    assert spec["versions"][0]["subresources"] == {"status": {}}


def test_objects_can_be_selected_by_node() -> None:
    for kind in (ENIS, PODIPS):
        version = schema.definition(kind)["spec"]["versions"][0]
        assert {"jsonPath": ".spec.nodeName"} in version["selectableFields"]


METADATA: Json = {"properties": {"creationTimestamp": {"type": "date"}}}
STEP = re.compile(r"\.(\w+)|\[\d+\]|\[\?\(@\.(\w+)==\"\w+\"\)\]")


def paths_of(column: Json) -> list[str]:
    """Return the paths of a column: `['a', 'b']` shows the first of two fields that is there."""
    before, union, names = column["jsonPath"].partition("['")
    return (
        [f"{before}.{name}" for name in names.removesuffix("']").split("', '")]
        if union
        else [before]
    )


def field_at(schema_: Json, path: str) -> Json:
    """What a column's path leads to; `[0]` and `[?(@.type=="Ready")]` to an item of the list."""
    found = schema_ | {"properties": schema_["properties"] | {"metadata": METADATA}}
    assert "".join(step[0] for step in STEP.finditer(path)) == path
    for step in STEP.finditer(path):
        name, compared = step.groups()
        found = found["properties"][name] if name else found["items"]
        assert not compared or compared in found["properties"]
    return found


@pytest.mark.slow
@each_file
def test_every_column_shows_a_field_that_exists_as_what_it_is(path: Path) -> None:
    for column in crd(path)["spec"]["versions"][0]["additionalPrinterColumns"]:
        for place in paths_of(column):
            assert field_at(root(path), place)["type"] == column["type"], column


@each_file
def test_a_table_fits_a_terminal(path: Path) -> None:
    """Beside NAME, and NAMESPACE, kubectl shows what has no priority; more is for `-o wide`."""
    columns = crd(path)["spec"]["versions"][0]["additionalPrinterColumns"]
    names = [column["name"] for column in columns]
    assert len(set(names)) == len(names)
    assert names[-1] == "Age"
    assert "Ready" in names
    assert sum(len(c["name"]) + 3 for c in columns if not c.get("priority")) <= 100
