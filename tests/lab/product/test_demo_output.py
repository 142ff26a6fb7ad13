"""The demo's output: its times, the table of paths, and commands that work as printed."""

import io
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from openeni_lab import layout
from openeni_lab.layout import Layout
from openeni_lab.product.connectivity import Check, Place
from openeni_lab.product.demo import table, time_until_ready
from openeni_lab.product.next_steps import called_as, commands
from openeni_lab.product.reach import CheckResult
from openeni_lab.programs.sets import Yardstick

REPOSITORY = Path(__file__).parents[3]
ONE = Yardstick(200.0, 2)


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
        (0.0, ONE, ", 0.3 times building kube-apiserver alone (200 s here)"),
        (
            640.4,
            ONE,
            " (640 s of them preparation), 3.5 times building kube-apiserver alone (200 s here)",
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


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a program that prints its arguments, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".venv" / "bin" / "lab of mine"
    path.parent.mkdir(parents=True)
    path.write_text(f'#!{shutil.which("sh")}\necho "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("folder", [".", ".venv", ".venv/bin", "/"])
def test_every_printed_command_runs_in_the_folder_in_which_it_was_printed(
    program: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.parents[2] / folder)
    said = [
        subprocess.run(["sh", "-ec", line], capture_output=True, text=True, check=True).stdout
        for line in commands(Layout("mine"), called_as(program))
    ]
    assert said == [
        "",
        "kubectl --name mine -- get enipool,eni,podip -A\n",
        "exec --name mine -- openstack port list\n",
        "shell --name mine --node n1\n",
        "down --name mine\n",
    ]


def test_a_program_on_the_path_is_called_by_its_name(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(program.parent))
    assert called_as(program) == "'lab of mine'"


def test_a_module_is_called_as_a_module() -> None:
    main = Path(layout.PACKAGES) / "openeni_lab" / "__main__.py"
    assert called_as(main) == f"{sys.executable} -m openeni_lab"


def test_the_default_lab_needs_no_name() -> None:
    assert not [line for line in commands(Layout(), "openeni-lab") if "--name" in line]
