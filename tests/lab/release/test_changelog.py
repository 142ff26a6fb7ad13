"""The notes of a release are its section of the changelog."""

from openeni_lab.release.changelog import Section, section_of, sections, with_absolute_links
from openeni_testing.objects import REPOSITORY

TEXT = """\
# Changelog

## [Unreleased]

## [1.1.0] - 2026-02-01

### Added

- One ([docs](docs/x.md#y)).

## [1.0.0] - 2026-01-01

- The first.
"""


def test_a_section_ends_where_the_next_begins() -> None:
    assert sections(TEXT) == (
        Section("Unreleased", "", ""),
        Section("1.1.0", "2026-02-01", "### Added\n\n- One ([docs](docs/x.md#y))."),
        Section("1.0.0", "2026-01-01", "- The first."),
    )
    assert [one.has_entries for one in sections(TEXT)] == [False, True, True]
    assert section_of(TEXT, "1.0.0") == sections(TEXT)[2]
    assert section_of(TEXT, "1.0") is None


def test_links_into_the_repository_lead_to_the_release() -> None:
    text = "[a](docs/x.md#y) [b](https://example.com/z) [c](#here)"
    wanted = "[a](at/docs/x.md#y) [b](https://example.com/z) [c](#here)"
    assert with_absolute_links(text, lambda path: f"at/{path}") == wanted


def test_the_changelog_of_this_repository_begins_with_what_is_not_released() -> None:
    first = sections((REPOSITORY / "CHANGELOG.md").read_text())[0]
    assert (first.version, first.date) == ("Unreleased", "")
