"""What became of the packets of each cell, as text that is committed: one letter for a cell."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from openeni_testing.matrix.axes import COLUMNS, MODES, Proxy
from openeni_testing.matrix.cells import Cell, cells

Outcome: TypeAlias = str
Outcomes: TypeAlias = Mapping[Cell, Outcome]

NOTHING: Final = "no answer"
ARRIVED: Final = "works"  # traffic that does not say whom the server saw
SEEN: Final = "works, seen as the {}"
LETTERS: Final[Mapping[Outcome, str]] = {
    ARRIVED: "w",
    SEEN.format("client"): "c",
    SEEN.format("client's ENI"): "e",
    SEEN.format("server's ENI"): "s",
    SEEN.format("node"): "n",
    NOTHING: "-",
}
_OUTCOMES: Final = {letter: outcome for outcome, letter in LETTERS.items()}
_ABSENT: Final = "."  # ipvs has no worlds of one family alone
_UNKNOWN: Final = "?"
_WIDTH: Final = 64
_GAP: Final = "  "
_COLUMNS: Final = tuple((mode.word, column.name) for mode in MODES for column in COLUMNS)


def works(outcome: Outcome) -> bool:
    return outcome.startswith(ARRIVED)


def table(outcomes: Outcomes) -> str:
    """Return the lines of all declared cells, those that are missing with a question mark."""
    lines: list[str] = []
    for proxy in Proxy:
        lines += [f"[{proxy}]".ljust(_WIDTH) + _head(), *_rows(outcomes, proxy), ""]
    return "\n".join(lines)


def parse(text: str) -> dict[Cell, Outcome]:
    """Return the outcomes in the lines of `table`. Raises ValueError for what is not declared."""
    declared = {_place(cell): cell for cell in cells()}
    found: dict[Cell, Outcome] = {}
    proxy = ""
    for line in filter(None, text.splitlines()):
        if line.startswith("["):
            proxy = line[1:].partition("]")[0]
            continue
        row, letters = line[:_WIDTH].rstrip(), line[_WIDTH:].replace(" ", "")
        for column, letter in zip(_COLUMNS, letters, strict=True):
            if letter == _ABSENT:
                continue
            place = (proxy, row, *column)
            if place not in declared or letter not in _OUTCOMES:
                raise ValueError(f"{place}: {letter}")
            found[declared[place]] = _OUTCOMES[letter]
    return found


def _rows(outcomes: Outcomes, proxy: Proxy) -> Iterator[str]:
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for cell in cells():
        if cell.proxy is proxy:
            _, row, mode, column = _place(cell)
            letter = LETTERS.get(outcomes.get(cell, ""), _UNKNOWN)
            rows.setdefault(row, {})[mode, column] = letter
    for row, letters in rows.items():
        of_modes = (
            "".join(letters.get((mode.word, column.name), _ABSENT) for column in COLUMNS)
            for mode in MODES
        )
        yield row.ljust(_WIDTH) + _GAP.join(of_modes)


def _head() -> str:
    return _GAP.join(mode.word.removeprefix("IPVlan").ljust(len(COLUMNS)) for mode in MODES)


def _place(cell: Cell) -> tuple[str, str, str, str]:
    return str(cell.proxy), f"{cell.path.name}: {cell.traffic}", cell.mode, cell.column.name
