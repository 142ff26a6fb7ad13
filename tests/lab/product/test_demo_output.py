"""The demo's output: its times, the table of paths, and commands that work as printed."""

import io
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from openeni_lab.product.connectivity import Check, Place
from openeni_lab.product.demo_output import table, time_until_ready
from openeni_lab.product.reach import CheckResult
from openeni_lab.programs.sets import Yardstick

REPOSITORY = Path(__file__).parents[3]
ONE = Yardstick(200.0, 2)
RATIO = "3.5 times as long as building kube-apiserver alone (200 s)"


def results(paths: Sequence[str], *, answer: str = "") -> list[CheckResult]:
    checks = [Check(path, Place.GATEWAY, "", ("true",), "ok") for path in paths]
    return [CheckResult(check, ok=not answer, answer=answer) for check in checks]


def drawn(found: dict[str, list[CheckResult]]) -> list[list[str]]:
    """Return the rows of the table as its cells' text."""
    page = io.StringIO()
    Console(file=page, width=120).print(table(found))
    lines = [line for line in page.getvalue().splitlines() if "│" in line]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_each_result_stands_in_the_row_of_its_path_even_where_a_datapath_lacks_one() -> None:
    found = {
        "veth": results(["a", "b"]),
        "ipvlan-l2": results(["b", "c"], answer="no answer"),
    }
    assert drawn(found) == [
        ["a", "ok", "-"],
        ["b", "ok", "FAILED no answer"],
        ["c", "-", "FAILED no answer"],
    ]


def test_an_answer_with_brackets_is_printed_as_it_is() -> None:
    assert drawn({"veth": results(["a"], answer="[red]x[/] [nc]")}) == [
        ["a", "FAILED [red]x[/] [nc]"]
    ]


@pytest.mark.parametrize(
    ("preparation", "yardstick", "explained"),
    [
        (0.0, None, ""),
        (2.0, None, " (2 s of them preparation)"),
        (0.0, ONE, ""),
        (20.0, ONE, " (20 s of them preparation)"),  # nothing was built
        (
            640.4,
            ONE,
            f" (640 s of them preparation), {RATIO}",
        ),
    ],
)
def test_the_time_until_ready_includes_the_preparation_of_the_same_command(
    preparation: float, yardstick: Yardstick | None, explained: str
) -> None:
    line = time_until_ready(65.0, preparation, yardstick)
    assert line == f"ready after {65 + preparation:.0f} s{explained}"


def test_make_demo_counts_from_its_own_beginning() -> None:
    before = int(time.time())
    words = subprocess.run(
        ["make", "--dry-run", "demo"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()
    assert before <= int(words[words.index("--since") + 1]) <= time.time()
