"""The committed support table against its declaration, without a packet."""

from collections.abc import Callable
from pathlib import Path

import pytest

from openeni_testing.matrix import command
from openeni_testing.matrix.axes import COLUMNS, MODES, Proxy, Traffic
from openeni_testing.matrix.cells import LIMITS, Cell, cells, limit_of
from openeni_testing.matrix.command import PAGE
from openeni_testing.matrix.outcomes import ARRIVED, NOTHING, SEEN, table
from openeni_testing.matrix.page import committed, page
from openeni_testing.matrix.paths import PATHS
from openeni_testing.matrix.run import differences
from openeni_testing.matrix.sample import SAMPLE, chosen

AXES: dict[str, tuple[Callable[[Cell], object], set[object]]] = {
    "mode": (lambda cell: cell.mode, {mode.word for mode in MODES}),
    "column": (lambda cell: cell.column, {*COLUMNS}),
    "proxy": (lambda cell: cell.proxy, {*Proxy}),
    "traffic": (lambda cell: cell.traffic, {*Traffic}),
    "path": (lambda cell: cell.path, {*PATHS}),
}


def test_the_committed_table_has_exactly_the_declared_cells() -> None:
    assert committed(PAGE.read_text()).keys() == set(cells())


def test_every_committed_outcome_is_one_that_the_declaration_allows() -> None:
    found = committed(PAGE.read_text())
    assert list(differences(found, found)) == []


@pytest.mark.slow
def test_the_page_is_what_is_made_of_its_table() -> None:
    text = PAGE.read_text()
    assert page(committed(text)) == text


def test_no_path_is_declared_twice() -> None:
    assert len({path.name for path in PATHS}) == len(PATHS)


@pytest.mark.parametrize("axis", AXES)
def test_the_sample_has_every_value_of_every_axis(axis: str) -> None:
    value, values = AXES[axis]
    assert {value(cell) for key in SAMPLE for cell in chosen(key)} == values


def test_every_reason_is_that_of_a_cell() -> None:
    assert {limit_of(cell) for cell in cells()} - {None} == {*LIMITS}


def test_a_changed_outcome_is_a_difference() -> None:
    found = committed(PAGE.read_text())
    arriving = next(cell for cell in found if limit_of(cell) is None and cell.path.keeps_client)
    refused = next(cell for cell in found if limit_of(cell))
    assert list(differences({arriving: NOTHING}, found))
    assert list(differences({arriving: SEEN.format("node")}, found))
    assert list(differences({arriving: "another machine answers"}, found))
    assert list(differences({arriving: found[arriving]}, {}))
    assert list(differences({refused: ARRIVED}, found))
    assert list(differences(found, found)) == []


@pytest.mark.slow
def test_a_run_without_one_of_the_cells_fails_and_writes_no_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = committed(PAGE.read_text())
    written = tmp_path / "support.md"
    monkeypatch.setattr(command, "PAGE", written)
    lacking = dict(list(found.items())[1:])
    assert command.take_over(table(lacking)) == 1
    assert not written.exists()
    assert command.take_over(table(found)) == 1  # no page to compare it with
    assert command.take_over(table(found)) == 0
    assert committed(written.read_text()) == found
