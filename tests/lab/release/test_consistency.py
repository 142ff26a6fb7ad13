"""A release is refused while something of it does not agree, with what to do about it."""

from dataclasses import replace
from datetime import date
from typing import Any, Final

import pytest

from openeni_lab.release.consistency import Checkout, problems

TODAY: Final = date(2026, 11, 27)
CHANGELOG: Final = """\
# Changelog

## [Unreleased]

## [1.2.3] - 2026-11-27

### Added

- The first thing.

## [1.2.2] - 2026-10-01

- An older thing.
"""
GOOD: Final = Checkout(
    version="1.2.3",
    versions={"names.py": ("1.2.3",), "Chart.yaml": ("1.2.3", "1.2.3")},
    crd_versions={"crds/enis.yaml": "1.2.3"},
    changed=(),
    stale=(),
    changelog=CHANGELOG,
    today=TODAY,
)


def found(*, rehearsal: bool = False, **changes: Any) -> tuple[str, ...]:
    return problems(replace(GOOD, **changes), rehearsal=rehearsal)


def changelog(old: str, new: str) -> str:
    assert old in CHANGELOG
    return CHANGELOG.replace(old, new)


def test_a_checkout_in_which_all_agrees_is_released() -> None:
    assert found() == ()
    assert found(rehearsal=True) == ()


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3+build", "01.2.3", "1.2.3-", ""])
def test_a_version_that_no_tag_and_no_chart_may_have_is_refused(version: str) -> None:
    first, *_ = found(version=version)
    assert first.startswith(f"pyproject.toml: version {version!r} is not MAJOR.MINOR.PATCH")


def test_a_prerelease_is_a_version() -> None:
    text = changelog("[1.2.3]", "[1.2.3-rc.1]")
    versions = {"names.py": ("1.2.3-rc.1",)}
    assert found(version="1.2.3-rc.1", versions=versions, crd_versions={}, changelog=text) == ()


def test_each_file_with_another_version_is_named_once() -> None:
    versions = {"names.py": ("1.2.3",), "Chart.yaml": ("1.2.2", "1.2.2", "1.2.3")}
    crds = {"crds/enis.yaml": "1.2.1", "crds/podips.yaml": ""}
    ending = "instead of pyproject.toml's 1.2.3: run `make generate`"
    assert found(versions=versions, crd_versions=crds) == (
        f"Chart.yaml: 1.2.2 {ending}",
        f"crds/enis.yaml: 1.2.1 {ending}",
        f"crds/podips.yaml: no version {ending}",
    )


def test_a_file_that_has_lost_its_version_is_named() -> None:
    assert found(versions={"Chart.yaml": ()}) == (
        "Chart.yaml: no version was found: restore the file",
    )


def test_generated_files_that_are_stale_are_named_in_a_rehearsal_too() -> None:
    wanted = ("deploy/openeni.yaml: not what its sources say: run `make generate manifests`",)
    assert found(stale=("deploy/openeni.yaml",)) == wanted
    assert found(stale=("deploy/openeni.yaml",), rehearsal=True) == wanted


def test_what_is_not_committed_is_named_and_may_be_rehearsed() -> None:
    (line,) = found(changed=tuple("abcdefg"))
    assert line.startswith("not committed: a, b, c, d, e and 2 more: ")
    assert found(changed=("a",), rehearsal=True) == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# Changelog\n", "no section [1.2.3]: put `## [1.2.3] - 2026-11-27` below"),
        (changelog("[1.2.3]", "[1.2.4]"), "no section [1.2.3]: "),
        (changelog("- The first thing.\n", ""), "section [1.2.3] has no entry"),
        (changelog(" - 2026-11-27", ""), "section [1.2.3] has the date ''"),
        (changelog("2026-11-27", "2026-11-28"), "has the date '2026-11-28': write the day"),
        (changelog("2026-11-27", "soon"), "has the date 'soon'"),
        (
            changelog("[Unreleased]\n", "[Unreleased]\n\n- Something else.\n"),
            "[Unreleased] has entries, and all of this commit is released",
        ),
        (changelog("## [1.2.3]", "## [1.3.0] - 2026-11-01\n\n## [1.2.3]"), "[1.3.0] stands above"),
        (changelog("[1.2.2]", "[1.2.3]"), "2 sections [1.2.3]: join them"),
    ],
)
def test_a_changelog_that_does_not_tell_of_this_version_is_refused(text: str, says: str) -> None:
    (line,) = found(changelog=text)
    assert line.startswith("CHANGELOG.md: ")
    assert says in line
    assert found(changelog=text, rehearsal=True) == ()
