"""Find the site's pages, the navigation that lists them, and the anchors of their headings. Pure.

The navigation is that of mkdocs.yml, in which `folder/*.md` stands for every page of a folder.
"""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, TypeAlias

# Of mkdocs' `nav`: a page, or a title with its page or its entries.
Entry: TypeAlias = "str | dict[str, str | list[Entry]]"

PROJECT: Final = "project"  # the site's folder for pages that stand at the top of the repository
_FENCE: Final = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#+ +(.*?)\s*#*$", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^]]*)\]\([^)]*\)")


def anchor(heading: str) -> str:
    """Return GitHub's anchor of a heading: small letters, no punctuation, blanks as hyphens."""
    plain = _LINK.sub(r"\1", heading)
    return re.sub(r"[^\w -]", "", plain.lower()).replace(" ", "-")


def headings(text: str) -> list[str]:
    """Return the headings of a page, in its order."""
    return _HEADING.findall(without_fences(text))


def without_fences(text: str) -> str:
    """Return a page without its blocks of code."""
    return _FENCE.sub("", text)


def site_pages(repository: Path) -> dict[str, Path]:
    """Return every page of the site by its path there; the README is no page."""
    docs = repository / "docs"
    found = {str(p.relative_to(docs)): p for p in sorted(docs.rglob("*.md")) if _is_page(p)}
    top = {f"{PROJECT}/{p.name}": p for p in sorted(repository.glob("*.md"))}
    return found | {path: p for path, p in top.items() if p.name != "README.md"}


def _is_page(path: Path) -> bool:
    return "openeni_docs" not in path.parts


def expanded(nav: list[Entry], pages: Iterable[str]) -> list[Entry]:
    """Return the navigation with the pages in the place of each pattern."""
    return list(_expanded(nav, sorted(pages)))


def _expanded(nav: list[Entry], pages: list[str]) -> Iterator[Entry]:
    for entry in nav:
        if isinstance(entry, str):
            pattern = "*" in entry
            yield from (page for page in pages if fnmatchcase(page, entry)) if pattern else (entry,)
            continue
        ((title, target),) = entry.items()
        if isinstance(target, str):
            yield entry
        elif inner := list(_expanded(target, pages)):
            yield {title: inner}


def listed(nav: list[Entry]) -> Iterator[str]:
    """Yield the page of each entry of an expanded navigation."""
    for entry in nav:
        if isinstance(entry, str):
            yield entry
            continue
        for target in entry.values():
            yield from [target] if isinstance(target, str) else listed(target)
