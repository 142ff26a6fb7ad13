"""The pages of docs/reference and the pictures have all that the code has."""

import re

from openeni_crds import names
from openeni_docs.pictures.drawings import drawings
from openeni_docs.reference import cloud_calls, crds, environment
from openeni_docs.reference import names as names_page
from openeni_operator.cloud.access_rules import ACCESS_RULES
from openeni_testing.pages.schemas import SCHEMAS


def test_every_name_that_others_see_has_a_row() -> None:
    prefixes = ("ANNOTATION_", "LABEL_", "TAINT_", "FINALIZER_", "TAG_C", "TAG_E")
    seen = {value for name, value in vars(names).items() if name.startswith(prefixes)}
    rows = names_page.page()
    assert [name for name in sorted(seen) if f"`{name}" not in rows] == []


def test_every_variable_that_the_executable_reads_has_a_row() -> None:
    section = environment.page().partition("## The CNI executable")[2].partition("\n## ")[0]
    assert {*re.findall(r"^\| `(\w+)`", section, re.MULTILINE)} == environment.read_by_executable()


def test_every_field_of_a_kind_has_a_row() -> None:
    rows = crds.page()
    for schema in SCHEMAS.values():
        for part in ("spec", "status"):
            fields = schema["properties"][part]["properties"]
            assert [f for f in fields if f"`{part}.{f}`" not in rows] == []


def test_every_call_of_the_cloud_has_a_row() -> None:
    rows = re.findall(r"^\| \w+ \| `(\w+) ", cloud_calls.page(), re.MULTILINE)
    assert rows == [rule.method for rule in ACCESS_RULES]


def test_a_picture_says_what_it_shows_and_fetches_nothing() -> None:
    for name, text in drawings().items():
        assert re.search(r"<title>\w.*</title>", text), name
        assert re.findall(r"(?:href|src)=|url\((?!#)", text) == [], name
