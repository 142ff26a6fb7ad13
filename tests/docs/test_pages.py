"""The pages that are generated from the code: up to date, and complete."""

import re
from pathlib import Path

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.owners import CONDITIONS
from openeni_crds.reasons import REASONS, SECTIONS
from openeni_docs import conditions, lifecycle
from openeni_docs.__main__ import files
from openeni_docs.eni_rules import entries
from openeni_operator.eni.lifecycle import RULES


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_the_pages_are_what_the_code_says() -> None:
    assert files().differing() == []


def test_a_page_edited_by_hand_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = files(tmp_path)
    assert made.run([]) == 0
    assert made.run(["--check"]) == 0
    (tmp_path / "docs/lifecycle.md").write_text("edited by hand")
    assert made.run(["--check"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("docs/lifecycle.md")
    assert line.endswith("run `PYTHONPATH=docs python -m openeni_docs`")


def test_every_condition_and_every_reason_has_one_row() -> None:
    overview, *sections = conditions.page().split("\n## ")
    assert sorted(first_cells(overview)) == sorted(Type)
    assert sorted(cell for s in sections for cell in first_cells(s)) == sorted(Reason)


def test_every_condition_and_every_reason_has_a_setter_and_a_meaning() -> None:
    assert [t for t, entry in CONDITIONS.items() if not (entry.owners and entry.true_when)] == []
    assert [r for r, entry in REASONS.items() if not (entry.setters and entry.meaning)] == []


def test_a_reason_says_what_to_do_unless_all_is_well() -> None:
    without = [r for r, entry in REASONS.items() if not entry.remedy]
    assert sorted(without) == sorted(SECTIONS["All is well"])


def test_a_condition_has_one_owner_on_each_kind() -> None:
    for type_, entry in CONDITIONS.items():
        kinds = [owner.kind for owner in entry.owners]
        assert len(set(kinds)) == len(kinds), type_


def test_the_rules_are_in_the_order_in_which_they_are_asked() -> None:
    rules = [entry.name for entry in entries()]
    assert rules == [getattr(rule, "__name__", "") for rule in RULES]
    table = lifecycle.page().partition("## A pool")[0]
    assert first_cells(table) == rules


def test_every_rule_has_a_purpose() -> None:
    assert [entry.name for entry in entries() if not entry.purpose.endswith(".")] == []


def test_a_rule_shows_what_the_functions_return_that_it_calls() -> None:
    rules = {entry.name: (set(entry.steps), set(entry.waits)) for entry in entries()}
    assert rules["detect_loss"] == ({"ForgetPort"}, {Reason.PORT_LOST})
    assert rules["finish_deletion"] == ({"RemoveFinalizer"}, {Reason.DELETING})
    assert rules["restore_tags"] == ({"TagPort"}, set())
    assert rules["keep_attached_duplicates"] == (
        {"DetachPort", "DeletePort", "ReleaseAddresses"},
        {
            Reason.DELETING,
            Reason.ATTACHED_ELSEWHERE,
            Reason.PORT_CHANGED,
            Reason.OUTCOME_UNKNOWN,
        },
    )
