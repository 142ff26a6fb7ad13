"""A statement of provenance names what was built and from what; nobody has signed it."""

import base64
import json
from dataclasses import replace
from typing import Final

from openeni_lab.release.provenance import Build, envelope, statement, text

BUILD: Final = Build(
    version="1.2.3",
    revision="c" * 40,
    source="https://forge.example/openeni",
    base="",
    builder="https://forge.example/builders/release",
    dependencies={"b.lock": "2" * 64, "a.lock": "1" * 64},
    products={"operator.tar": "4" * 64, "chart.tgz": "3" * 64},
)


def test_it_has_what_in_toto_and_slsa_require() -> None:
    said = statement(BUILD)
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    assert said["subject"] == [
        {"name": "chart.tgz", "digest": {"sha256": "3" * 64}},
        {"name": "operator.tar", "digest": {"sha256": "4" * 64}},
    ]
    predicate = said["predicate"]
    definition = predicate["buildDefinition"]
    assert set(predicate) == {"buildDefinition", "runDetails"}
    assert {"buildType", "externalParameters", "resolvedDependencies"} == set(definition)
    assert predicate["runDetails"]["builder"]["id"] == BUILD.builder
    assert definition["externalParameters"]["version"] == "1.2.3"


def test_it_is_built_from_a_commit_and_from_locked_packages() -> None:
    source, *locked = statement(BUILD)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": "c" * 40}
    assert source["uri"] == "git+https://forge.example/openeni"
    assert [one["name"] for one in locked] == ["a.lock", "b.lock"]


def test_nothing_is_made_up_where_the_publisher_says_nothing() -> None:
    predicate = statement(replace(BUILD, source="", builder=""))["predicate"]
    source, *_ = predicate["buildDefinition"]["resolvedDependencies"]
    assert "uri" not in source
    assert predicate["runDetails"]["builder"]["id"].endswith("/unnamed-builder")


def test_the_envelope_waits_for_a_signature_of_the_very_statement() -> None:
    payload = text(statement(BUILD)).encode()
    made = envelope(payload)
    assert made["signatures"] == []
    assert made["payloadType"] == "application/vnd.in-toto+json"
    assert base64.b64decode(made["payload"]) == payload
    assert json.loads(payload) == statement(BUILD)


def test_equal_builds_have_equal_statements() -> None:
    other = replace(BUILD, products=dict(sorted(BUILD.products.items())))
    assert text(statement(BUILD)) == text(statement(other))
