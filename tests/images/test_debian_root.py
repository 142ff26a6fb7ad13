"""The check that the listed Debian packages are complete."""

import pytest

from openeni_lab.images.stages.debian_root import missing

PYTHON = "Package: python\nVersion: 3\nDepends: libc6 (>= 2.41), a | b,\n zlib:any\n"
LIBC = "Package: libc6\nVersion: 2.41\n"
REST = "Package: b\nVersion: 1\nProvides: x, zlib (= 2)\nPre-Depends: libc6\n"


def test_a_dependency_is_met_by_a_name_an_alternative_or_what_a_package_provides() -> None:
    assert missing([PYTHON, LIBC, REST], frozenset()) == []


@pytest.mark.parametrize(
    ("records", "lacking"),
    [([PYTHON, LIBC], ["a | b", "zlib:any"]), ([PYTHON, REST], ["libc6", "libc6 (>= 2.41)"])],
)
def test_a_dependency_that_nothing_meets_is_named(records: list[str], lacking: list[str]) -> None:
    assert missing(records, frozenset()) == lacking


def test_a_dependency_may_be_left_out_or_be_in_the_layer_below() -> None:
    assert missing([PYTHON], frozenset({"zlib"}), [LIBC, REST.replace("zlib", "y")]) == []


def test_what_a_layer_below_lacks_is_that_layers_own_matter() -> None:
    assert missing([LIBC], frozenset(), [PYTHON]) == []
