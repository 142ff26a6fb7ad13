"""Print a report: as text for people, or as JSON or YAML for programs."""

import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeAlias, TypeVar

import msgspec
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

R = TypeVar("R")  # anything that msgspec encodes
Line: TypeAlias = str | Text | Table
LEAST_WIDTH = 100  # of tables that go to a file or a pipe


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


def show(report: R, output: Format, lines: Callable[[R], Iterable[Line]]) -> None:
    """Print the report; `lines` are its text."""
    if output is Format.JSON:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    elif output is Format.YAML:
        sys.stdout.write(
            yaml.safe_dump(msgspec.to_builtins(report), sort_keys=False, allow_unicode=True)
        )
    else:
        _print(lines(report))


def _print(lines: Iterable[Line]) -> None:
    """Print lines whole, however long, so that they can be searched and copied."""
    console = Console(width=None if sys.stdout.isatty() else LEAST_WIDTH, highlight=False)
    for line in lines:
        if isinstance(line, Table):
            console.print(line)
        else:
            console.print(line, markup=False, soft_wrap=True)


def table(*heads: str) -> Table:
    """Return an empty table in the style of kubectl's."""
    found = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for head in heads:
        found.add_column(head, overflow="fold")
    return found


def bold(text: str) -> Text:
    return Text(text, style="bold")


def counted(count: int, what: str) -> str:
    """Return a number of things in words, such as `2 ports`."""
    return f"{count} {what}{'' if count == 1 else 's'}"
