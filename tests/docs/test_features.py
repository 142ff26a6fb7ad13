"""The table of features claims nothing that no test shows."""

import ast
from pathlib import Path

from openeni_docs.features import Feature, State, count, faults, features, page
from openeni_testing.objects import REPOSITORY


def functions(path: Path) -> frozenset[str]:
    if path.suffix != ".py":
        return frozenset()
    walked = ast.walk(ast.parse(path.read_text()))
    return frozenset(node.name for node in walked if isinstance(node, ast.FunctionDef))


def test_every_evidence_is_there_and_every_no_has_its_reason() -> None:
    named = {evidence.partition("::")[0] for row in features() for evidence in row.evidence}
    there = {p: functions(REPOSITORY / p) for p in named if (REPOSITORY / p).is_file()}
    assert list(faults(features(), there)) == []


def test_each_feature_stands_once() -> None:
    names = [row.feature for row in features()]
    assert len(names) == len(set(names)) >= 60


def test_the_page_has_each_row_and_the_count_of_its_rows() -> None:
    text = page()
    assert count(features()) in text
    for state in State:
        rows = sum(row.state is state for row in features())
        assert text.count(f" | {state} | ") == rows
        assert f"{rows} {state}" in count(features())


def test_what_is_wrong_with_a_row_is_named() -> None:
    rows = (
        Feature("a", State.YES),
        Feature("b", State.NO),
        Feature("c", State.PARTLY, "half of it", ("tests/test_x.py::test_gone",)),
        Feature("d", State.YES, evidence=("tests/test_y.py::test_y",)),
        Feature("e", State.YES, evidence=("tests/test_x.py::test_x", "docs/page.md")),
    )
    there = {"tests/test_x.py": frozenset({"test_x"}), "docs/page.md": frozenset[str]()}
    assert list(faults(rows, there)) == [
        "a: yes without evidence",
        "b: no without a reason",
        "c: there is no tests/test_x.py::test_gone",
        "d: there is no tests/test_y.py::test_y",
    ]
