"""Read from pages of docs their blocks of code, with the marks before them, and their commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_docs.website.pages import site_pages
from openeni_testing.objects import REPOSITORY

PAGES: Final = (REPOSITORY / "README.md", *site_pages(REPOSITORY).values())
_HISTORY: Final = frozenset({"CHANGELOG.md", "decisions"})  # they tell of former releases
CURRENT: Final = tuple(page for page in PAGES if not _HISTORY & {*page.parts})
SHELL: Final = ("sh", "console")
_BLOCK: Final = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>\w+: [\w-]+) -->\n *)?```(?P<language>\w*)\n"
    r"(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_INLINE: Final = re.compile(r"(?<!`)`((?:kubectl|helm|openeni|openstack|make) [^`\n]+)`(?!`)")
_INNER: Final = re.compile(r"\$\(((?:[^()]|\([^()]*\))*)\)")
_ENDS: Final = frozenset({"|", "||", "&&", ";", "&", "(", ")", "\n"})
_TARGETS: Final = frozenset({">", ">>", "<"})
_KEYWORDS: Final = frozenset({"do", "done", "then", "fi", "else", "until"})


@dataclass(frozen=True)
class Block:
    """A block of code; `mark` is the comment before it, such as `journey: install`."""

    language: str
    text: str
    mark: str = ""


@dataclass(frozen=True)
class Command:
    """A program with its words, as a shell passes them; a word may hold `$(...)`."""

    words: tuple[str, ...]

    @property
    def program(self) -> str:
        return self.words[0]

    def __str__(self) -> str:
        return shlex.join(self.words)


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a page, without the indentation that a list gives them."""
    for found in _BLOCK.finditer(text):
        indent = len(found["indent"])
        lines = (
            line[min(indent, len(line) - len(line.lstrip())) :]
            for line in found["text"].split("\n")
        )
        yield Block(found["language"], "\n".join(lines), found["mark"] or "")


def marked(kind: str) -> dict[str, str]:
    """Return the text of each block that is marked `kind: name`, by its name."""
    found = [block for page in PAGES for block in blocks(page.read_text())]
    return {
        block.mark.removeprefix(f"{kind}: "): block.text
        for block in found
        if block.mark.startswith(f"{kind}: ")
    }


def commands_of_page(page: Path) -> list[Command]:
    """Return every command of a page: those of its shell blocks, and those in its text."""
    text = page.read_text()
    shell = [block.text for block in blocks(text) if block.language in SHELL]
    inline = _INLINE.findall(_BLOCK.sub("", text))
    return [command for script in (*shell, *inline) for command in commands(script)]


def commands(script: str) -> Iterator[Command]:
    """Yield the commands of a script, also those in `$(...)`."""
    for inner in _INNER.findall(script):
        yield from commands(inner)
    outer = _INNER.sub("VALUE", script).replace("\\\n", " ")
    for line in _lines(outer):
        yield from _simple(line)


def _lines(script: str) -> Iterator[str]:
    """Yield the script's logical lines: one goes on while a quotation is open."""
    open_line = ""
    for line in script.split("\n"):
        open_line = f"{open_line}\n{line}" if open_line else line
        try:
            shlex.split(open_line, comments=True)
        except ValueError:
            continue
        yield open_line
        open_line = ""
    assert not open_line, f"a quotation has no end: {open_line}"


def _simple(line: str) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, ";"):
        if word in _ENDS:
            yield from _command(words)
            words = []
        else:
            words.append(word)


def _command(words: list[str]) -> Iterator[Command]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word in _TARGETS:
            skip = not skip
        elif kept or not (word in _KEYWORDS or re.match(r"\w+=", word)):
            kept.append(word)
    if kept[:1] == ["xargs"]:
        kept = _after_options(kept[1:])
    if kept and kept[0] != "for":
        yield Command(tuple(kept))


def _after_options(words: list[str]) -> list[str]:
    """Return the command of `xargs`: what follows its own options."""
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] == "-I" else words[1:]
    return words
