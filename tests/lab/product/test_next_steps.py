"""Commands that are printed work as printed; what `down` says is what it did."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from openeni_lab import invocation, layout
from openeni_lab.invocation import called_as, command
from openeni_lab.lab import Lab
from openeni_lab.layout import Layout
from openeni_lab.product import next_steps
from openeni_testing.lab.bare_lab import bare_lab

LAB = Path(layout.PACKAGES) / "openeni_lab"
MINE = Layout("mine")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a program that prints its arguments, in the current folder, and be it."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a venv" / "bin" / "openeni-lab"
    path.parent.mkdir(parents=True)
    path.write_text(f'#!{shutil.which("sh")}\necho "$@"\n')
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path)])
    return path


def printed_by(lines: Sequence[str]) -> list[str]:
    return [
        subprocess.run(
            ["sh", "-ec", line], capture_output=True, text=True, check=True, timeout=20
        ).stdout
        for line in lines
    ]


@pytest.mark.parametrize("folder", [".", "a venv", "a venv/bin", "/"])
def test_every_printed_command_runs_in_the_folder_in_which_it_was_printed(
    program: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.parents[2] / folder)
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    shutil.copy(program, program.with_name("openeni"))
    assert printed_by(next_steps.commands(MINE)) == [
        "kubectl --name mine -- get enipool,eni,podip -A\n",
        f"--kubeconfig {MINE.kubeconfig} status\n",
        "exec --name mine -- openstack port list\n",
        "shell --name mine --node n1\n",
        "",
        "down --name mine\n",
    ]
    (first,) = printed_by([next_steps.first_pool(MINE)])
    *words, file = first.split()
    assert words == ["kubectl", "--name", "mine", "--", "apply", "-f"]
    assert "kind: ENIPool" in Path(file).read_text()
    assert printed_by([command("cache prune")]) == ["cache prune\n"]


def test_a_program_on_the_path_is_called_by_its_name(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(program.parent))
    assert command("up") == "openeni-lab up"


def test_a_module_is_called_as_a_module() -> None:
    assert called_as(LAB / "__main__.py") == f"{sys.executable} -m openeni_lab"


def test_another_program_names_the_one_beside_its_python(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    assert command("up") == "'a venv/bin/openeni-lab' up"
    program.unlink()
    assert command("up").endswith("python' -m openeni_lab up")


def test_the_default_lab_needs_no_name() -> None:
    assert not [line for line in next_steps.commands(Layout()) if "--name" in line]


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield a module's texts but for its docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)


def test_no_message_names_a_command_that_may_not_be_on_the_path() -> None:
    found = {
        (path.name, text)
        for path in LAB.rglob("*.py")
        for text in texts(ast.parse(path.read_text()))
        if f"`{invocation.PROGRAM} " in text
    }
    assert found == set()


def test_a_down_without_a_lab_says_that_there_was_nothing(tmp_path: Path) -> None:
    lab = Layout("mine", root=tmp_path / "labs")
    removed = Lab(lab).down()
    assert [*next_steps.after_down(lab, removed=removed)] == [
        "there is no lab 'mine': nothing was removed"
    ]
    assert not lab.root.exists()


@pytest.mark.root
def test_a_down_says_what_it_removed_what_stays_and_how_to_remove_that(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "a cache"
    cache.mkdir()
    monkeypatch.setenv("OPENENI_LAB_CACHE", str(cache))
    with bare_lab(tmp_path / "labs") as (lab, _):
        (lab.root / "machine.json").touch()
        removed = Lab(lab).down()
    other = lab.root / "other"
    other.mkdir()
    assert not [line for line in next_steps.after_down(lab, removed=removed) if "rm -r" in line]
    other.rmdir()
    first, kept, rest = next_steps.after_down(lab, removed=removed)
    assert str(lab.state) in first
    assert not lab.state.exists()
    assert all(str(place) in kept for place in (cache, lab.root))
    assert "`'a venv/bin/openeni-lab' cache prune`" in kept
    printed_by([rest.partition(": ")[2]])
    assert not cache.exists()
    assert not lab.root.exists()


def test_an_interruption_names_the_command_that_removes_the_lab(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), next_steps.removal_named(MINE):
        raise KeyboardInterrupt
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "`'a venv/bin/openeni-lab' down --name mine` removes the lab"
