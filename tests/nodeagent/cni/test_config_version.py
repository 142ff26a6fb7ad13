"""The executable's search for a configuration's version: as a JSON parser's, safe in garbage."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeni_nodeagent.cni.parsing import configured_version
from openeni_nodeagent.cni.protocol import NEWEST
from openeni_testing.agent.sanitized import SCAN_VERSIONS, sanitized

pytestmark = pytest.mark.slow

PLAIN = re.compile(r"[0-9A-Za-z.+-]{1,31}")


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sanitized(SCAN_VERSIONS, tmp_path_factory.mktemp("scan") / "scan")


def scan(scanner: Path, *documents: bytes) -> list[tuple[bool, str]]:
    """Return for each document whether it has a version, and the one that answers would repeat."""
    return [(flag == "1", version) for flag, version, _ in scanned(scanner, *documents)]


def are_objects(scanner: Path, *documents: bytes) -> list[bool]:
    """Return for each document whether it is taken for a JSON object."""
    return [is_object == "1" for _, _, is_object in scanned(scanner, *documents)]


def scanned(scanner: Path, *documents: bytes) -> list[list[str]]:
    given = b"".join(b"%d\n%s" % (len(d), d) for d in documents)
    done = subprocess.run([scanner], input=given, capture_output=True, timeout=60, check=False)
    assert not done.returncode, done.stderr.decode()
    return [line.split(" ") for line in done.stdout.decode().splitlines()]


def parsed(document: bytes) -> tuple[bool, str]:
    """Return the same by a JSON parser."""
    is_object = document.lstrip().startswith(b"{")
    found: Any = json.loads(document).get("cniVersion") if is_object else None
    plain = isinstance(found, str) and PLAIN.fullmatch(found) is not None
    return plain, str(found) if plain else NEWEST


@pytest.mark.parametrize(
    "text",
    [
        '{"cniVersion":"0.4.0"}',
        ' {\n"name" : "x" ,\t"cniVersion"\n:\r "1.0.0" } ',
        '{"prevResult":{"cniVersion":"0.4.0"},"cniVersion":"1.1.0"}',
        '{"plugins":[{"cniVersion":"0.4.0"}]}',
        '{"a":"\\"cniVersion\\":\\"0.4.0\\"","cniVersion":"1.0.0"}',
        '{"a":"}","b":"{","cniVersion":"1.0.0"}',
        '{"a":"\\\\","cniVersion":"1.0.0"}',
        '{"a":"cniVersion","b":"0.4.0"}',
        '{"cniVersion":{"cniVersion":"0.4.0"}}',
        '{"cniVersion":["0.4.0"]}',
        '{"cniVersion":"1.0.0","cniVersion":"1.1.0"}',
        '{"cniVersion":"1.0.0","cniVersion":null}',
        '{"cniVersion":"1.0.0","cniVersion":"a b"}',
        '{"cniVersion":"a\\"b"}',
        '{"cniVersion":""}',
        '{"cniVersion":"%s"}' % ("1" * 31),
        '{"cniVersion":"%s"}' % ("1" * 32),
        '{"cniversion":"0.4.0","cniVersions":["0.4.0"]}',
        '["cniVersion","0.4.0"]',
        '"cniVersion"',
        "{}",
    ],
)
def test_the_version_is_the_one_that_a_json_parser_finds(scanner: Path, text: str) -> None:
    assert scan(scanner, text.encode()) == [parsed(text.encode())]


def test_what_is_escaped_is_not_taken_over(scanner: Path) -> None:
    assert scan(scanner, b'{"cniVersion":"\\u0031.0.0"}') == [(False, NEWEST)]


def test_both_ends_repeat_the_same_version(scanner: Path) -> None:
    documents = [b'{"cniVersion":"%s"}' % v for v in (b"0.4.0", b"1.0.0", b"9.9", b"a b", b"")]
    documents += [b"{}", b"", b"[]", b'{"cniVersion":7}']
    assert [v for _, v in scan(scanner, *documents)] == [configured_version(d) for d in documents]


KEYS = st.sampled_from(["cniVersion", "name", 'a"b', "\\", "{", "]", ":", "cni", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["0.4.0", "1.1.0", '"', "\\", ":"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def test_in_any_document_it_is_the_one_that_a_json_parser_finds(scanner: Path) -> None:
    documents: list[bytes] = []

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.dictionaries(KEYS, VALUES, max_size=5), st.sampled_from([None, 1]))
    def collect(value: dict[str, Any], indent: int | None) -> None:
        documents.append(json.dumps(value, indent=indent).encode())

    collect()
    assert scan(scanner, *documents) == [parsed(document) for document in documents]
    assert all(are_objects(scanner, *documents))
    assert not any(are_objects(scanner, *(document[:-1] for document in documents)))
    assert not any(are_objects(scanner, *(b"[%b]" % document for document in documents)))


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "}", "[]", '"{}"', "nonsense", "{}{}", "{} x", '{"a', '{"}', "\ufeff{}", "{]"],
)
def test_what_has_not_the_brackets_of_one_object_is_none(scanner: Path, text: str) -> None:
    assert are_objects(scanner, text.encode()) == [False]


def test_space_around_an_object_does_not_matter(scanner: Path) -> None:
    assert are_objects(scanner, b' \n{"a" : [ {} , "}" ] } \r\n') == [True]


def test_whatever_the_bytes_are_the_answer_can_be_printed(scanner: Path) -> None:
    whole = b' {"a":[{"b":"\\"}"}],"cniVersion" : "1.0.0","c":"\\\\"} '
    documents = [whole[:end] for end in range(len(whole))]
    documents += [
        whole[:n] + bytes([b]) + whole[n + 1 :] for n in range(len(whole)) for b in (0, 34, 92)
    ]

    @settings(max_examples=2000, deadline=None, database=None)
    @given(
        st.binary(max_size=40)
        | st.text(alphabet='{}[]",:\\ cniVersion', max_size=60).map(str.encode)
    )
    def collect(document: bytes) -> None:
        documents.append(document)

    collect()
    found = scan(scanner, *documents)
    assert len(found) == len(documents)
    assert all(PLAIN.fullmatch(version) for _, version in found)
