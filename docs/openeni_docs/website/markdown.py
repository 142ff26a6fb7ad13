r"""Turn GitHub's Markdown of a page into what mkdocs understands. Pure.

Python-Markdown wants a blank line before a list and four blanks before what belongs to its items,
and keeps the backslash of `\|` in code; GitHub wants none of it. Links to pages outside docs/ lead
to their place in the site; links to other files of the repository, which the site does not have,
become plain text.
"""

import posixpath
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from openeni_docs.website.pages import PROJECT

HOME: Final = "index.md"
_ITEM: Final = re.compile(r"^( *)([-*+]|\d+\.)( +)(?=\S)")
_FENCE: Final = re.compile(r"^ *(```|~~~)")
_INDENT: Final = 4
_MARK: Final = re.compile(r"^ *<!-- .* -->\n(?= *```)", re.MULTILINE)  # of a block, for tests
_LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"(`+)(.+?)\1")


def for_site(text: str, path: str, pages: Collection[str], files: Collection[str]) -> str:
    """Return a page as mkdocs reads it.

    `path` is the page's in the site, `pages` are all of the site's, `files` those of docs/ that are
    no pages, such as pictures.
    """
    links = _Links(path, pages, files)
    lines = links.rewritten(_MARK.sub("", text)).split("\n")
    return "\n".join(_Lines().converted(lines))


@dataclass
class _Lines:
    """Indents the contents of lists, and puts blank lines before lists and tables."""

    items: list[int] = field(default_factory=list[int])  # where the content of each begins
    fence: str = ""  # what ends the block of code that the line is in
    before: str = ""  # the line before

    def converted(self, lines: list[str]) -> Iterator[str]:
        for line in lines:
            yield from self._line(line) if line.strip() else [""]
            self.before = line.strip()

    def _line(self, line: str) -> Iterator[str]:
        own = len(line) - len(line.lstrip(" "))
        if self.fence:
            self.fence = "" if line.strip() == self.fence else self.fence
            yield self._indented(line, own)
            return
        item, fence = _ITEM.match(line), _FENCE.match(line)
        in_list = bool(self.items)
        if item or fence or not self.before or line.startswith("#"):
            while self.items and own < self.items[-1]:
                self.items.pop()
        if self.before and ((item and not in_list) or (_is_row(line) and not _is_row(self.before))):
            yield ""
        yield self._indented(_in_table(line) if _is_row(line) else line, own)
        self.fence = fence[1] if fence else ""
        if item:
            self.items.append(len(item[0]))

    def _indented(self, line: str, own: int) -> str:
        base = self.items[-1] if self.items else 0
        return " " * (_INDENT * len(self.items)) + line[min(own, base) :]


def _is_row(line: str) -> bool:
    return line.lstrip().startswith("|")


def _in_table(row: str) -> str:
    """Return a row in which code has a plain `|`, which divides no cells for Python-Markdown."""
    return _CODE.sub(lambda found: found[0].replace("\\|", "|"), row)


@dataclass(frozen=True)
class _Links:
    path: str
    pages: Collection[str]
    files: Collection[str]

    def rewritten(self, text: str) -> str:
        parts = re.split(r"(^ *```.*?^ *``` *$)", text, flags=re.MULTILINE | re.DOTALL)
        return "".join(
            part if number % 2 else _LINK.sub(self._link, part) for number, part in enumerate(parts)
        )

    def _link(self, found: "re.Match[str]") -> str:
        mark, text, target = found.groups()
        name, hash_, anchor = target.partition("#")
        if not name or "://" in name or name.startswith("mailto:"):
            return found[0]
        target = self._target(name)
        place = self._place(target)
        if place is None:  # mkdocs reports it, unless the site leaves it out
            folder = "." not in posixpath.basename(target)
            other_file = not target.startswith("docs/") and not target.endswith(".md")
            return str(text) if folder or other_file else found[0]
        if place == HOME and target != f"docs/{HOME}":
            hash_ = anchor = ""  # the README's headings are not those of the first page
        there = posixpath.relpath(place, posixpath.dirname(self.path) or ".")
        return f"{mark}[{text}]({there}{hash_}{anchor})"

    def _target(self, name: str) -> str:
        """Return where in the repository a link of this page leads."""
        folder = posixpath.dirname(self.path)
        of_docs = "" if folder == PROJECT else f"docs/{folder}"
        return posixpath.normpath(posixpath.join(of_docs, name))

    def _place(self, target: str) -> str | None:
        """Return where in the site a file of the repository is; None if it is not there."""
        if target == "README.md":
            return HOME
        inside = target.removeprefix("docs/")
        if target.startswith("docs/") and (inside in self.pages or inside in self.files):
            return inside
        top = f"{PROJECT}/{target}"
        return top if top in self.pages else None
