"""Read the sections of CHANGELOG.md, in the format of Keep a Changelog. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

UNRELEASED: Final = "Unreleased"
_HEADING: Final = re.compile(r"^## \[([^\]]+)\](?: - (.*))?$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^[-*] ", re.MULTILINE)
_LINK: Final = re.compile(r"\]\((?![a-z]+:|#)([^)\s]+)\)")


@dataclass(frozen=True)
class Section:
    """What changed in one version; `date` is empty for what is not released yet."""

    version: str
    date: str
    text: str

    @property
    def has_entries(self) -> bool:
        return _ENTRY.search(self.text) is not None


def sections(changelog: str) -> tuple[Section, ...]:
    """Return the sections as they stand in the file: the newest first."""
    headings = [*_HEADING.finditer(changelog)]
    begins = [*(heading.start() for heading in headings), len(changelog)]
    return tuple(
        Section(heading[1], heading[2] or "", changelog[heading.end() : end].strip())
        for heading, end in zip(headings, begins[1:], strict=True)
    )


def section_of(changelog: str, version: str) -> Section | None:
    """Return the section of a version, or None."""
    return next((one for one in sections(changelog) if one.version == version), None)


def with_absolute_links(text: str, address: Callable[[str], str]) -> str:
    """Return a text whose links to files of the repository lead to `address` of their paths."""
    return _LINK.sub(lambda link: f"]({address(link[1])})", text)
