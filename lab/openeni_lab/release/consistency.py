"""What has to agree in a checkout before a release is made of it, as ordered rules. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from openeni_lab.release.changelog import UNRELEASED, section_of, sections

# https://semver.org, without build metadata, which no tag of an image may have.
VERSION: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)
_SHOWN: Final = 5  # files of a list, in a message


@dataclass(frozen=True)
class Checkout:
    """A checkout as a release sees it."""

    version: str  # of pyproject.toml
    versions: Mapping[str, tuple[str, ...]]  # those of other files, by path
    crd_versions: Mapping[str, str]  # the label of each CRD, by path
    changed: tuple[str, ...]  # paths that differ from the commit, or are not in it
    stale: tuple[str, ...]  # generated files that differ from their sources
    changelog: str
    today: date


def problems(checkout: Checkout, *, rehearsal: bool) -> tuple[str, ...]:
    """Return what must be put right first, one line each.

    A rehearsal may be held at any time: of what is changed, and of what is not released yet.
    """
    found = [*_versions(checkout), *_generated(checkout)]
    if not rehearsal:
        found += [*_clean(checkout), *_changelog(checkout)]
    return tuple(found)


def _versions(checkout: Checkout) -> Iterator[str]:
    if not VERSION.fullmatch(checkout.version):
        yield (
            f"pyproject.toml: version {checkout.version!r} is not MAJOR.MINOR.PATCH or "
            "MAJOR.MINOR.PATCH-PRERELEASE: change it there"
        )
    for path, versions in checkout.versions.items():
        for other in dict.fromkeys(v for v in versions if v != checkout.version):
            yield _other(path, other, checkout.version)
        if not versions:
            yield f"{path}: no version was found: restore the file"
    for path, version in checkout.crd_versions.items():
        if version != checkout.version:
            yield _other(path, version or "no version", checkout.version)


def _other(path: str, found: str, wanted: str) -> str:
    return f"{path}: {found} instead of pyproject.toml's {wanted}: run `make generate`"


def _generated(checkout: Checkout) -> Iterator[str]:
    for path in checkout.stale:
        yield f"{path}: not what its sources say: run `make generate manifests`"


def _clean(checkout: Checkout) -> Iterator[str]:
    if checkout.changed:
        rest = len(checkout.changed) - _SHOWN
        shown = ", ".join(checkout.changed[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
        yield f"not committed: {shown}: a release is made of a commit; commit or remove them"


def _changelog(checkout: Checkout) -> Iterator[str]:
    version, all_sections = checkout.version, sections(checkout.changelog)
    section = section_of(checkout.changelog, version)
    if section is None:
        yield (
            f"CHANGELOG.md: no section [{version}]: put `## [{version}] - "
            f"{checkout.today.isoformat()}` below `## [{UNRELEASED}]`"
        )
        return
    if not section.has_entries:
        yield f"CHANGELOG.md: section [{version}] has no entry: say what users notice"
    released = [one.version for one in all_sections if one.version != UNRELEASED]
    if released[0] != version:
        yield f"CHANGELOG.md: [{released[0]}] stands above [{version}]: the newest must be first"
    if released.count(version) > 1:
        yield f"CHANGELOG.md: {released.count(version)} sections [{version}]: join them"
    unreleased = section_of(checkout.changelog, UNRELEASED)
    if unreleased and unreleased.has_entries:
        yield (
            f"CHANGELOG.md: [{UNRELEASED}] has entries, and all of this commit is released: move "
            f"them to [{version}]"
        )
    if not _is_past(section.date, checkout.today):
        yield (
            f"CHANGELOG.md: section [{version}] has the date {section.date!r}: write the day of "
            f"the release, such as {checkout.today.isoformat()}"
        )


def _is_past(text: str, today: date) -> bool:
    try:
        return date.fromisoformat(text) <= today
    except ValueError:
        return False
