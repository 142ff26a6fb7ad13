"""docs/conditions.md names every condition, every reason and every rule, and no others."""

import re

from openeni_crds.conditions import Reason, Type
from openeni_operator.eni.lifecycle import RULES
from openeni_testing.objects import REPOSITORY

TEXT = (REPOSITORY / "docs" / "conditions.md").read_text()
HEAD, GOOD, *TABLES, ORDER = TEXT.split("\n## ")


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_every_condition_is_told_of_once() -> None:
    assert sorted(first_cells(HEAD)) == sorted(Type)


def test_every_reason_is_told_of_once() -> None:
    told = re.findall(r"`(\w+)`", GOOD) + [cell for table in TABLES for cell in first_cells(table)]
    assert sorted(told) == sorted(Reason)


def test_the_rules_are_told_of_in_their_order() -> None:
    names = [getattr(rule, "__name__", "") for rule in RULES]
    assert re.findall(r"`(\w+)`", ORDER) == names
