"""docs/conditions.md documents every condition and every reason, and no others."""

import re

from openeni_crds.conditions import Reason, Type
from openeni_testing.objects import REPOSITORY

TEXT = (REPOSITORY / "docs" / "conditions.md").read_text()
HEAD, GOOD, *TABLES = TEXT.split("\n## ")


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_every_condition_is_documented_once() -> None:
    assert sorted(first_cells(HEAD)) == sorted(Type)


def test_every_reason_is_documented_once() -> None:
    documented = re.findall(r"`(\w+)`", GOOD) + [
        cell for table in TABLES for cell in first_cells(table)
    ]
    assert sorted(documented) == sorted(Reason)
