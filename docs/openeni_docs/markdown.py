"""Markdown of the generated pages."""

from collections.abc import Iterable


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; cells hold no line break."""
    lines = [tuple(heads), *map(tuple, rows)]
    head, *body = (f"| {' | '.join(line)} |\n" for line in lines)
    return f"{head}|{'---|' * len(lines[0])}\n{''.join(body)}"


def code(word: str) -> str:
    return f"`{word}`"
