"""`make test-again` runs the few tests that failed, and those alone."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from openeni_testing import again

TESTS: Final = """
import pytest

@pytest.mark.xdist_group("a lab")
@pytest.mark.parametrize("word", ["a@b", "c.d", "e[f]"])
def test_words(word): assert word == "c.d"

@pytest.fixture
def broken():
    yield
    assert 0

class TestClass:
    def test_inside(self, broken): pass
"""
FAILED: Final = [
    "tests/part/test_some.py::TestClass::test_inside",
    "tests/part/test_some.py::test_words[a@b]",
    "tests/part/test_some.py::test_words[e[f]]",
]


class Runs:
    """What was to be run again."""

    def __init__(self, code: int = 0) -> None:
        self.words: list[Sequence[str]] = []
        self._code = code

    def __call__(self, words: Sequence[str]) -> int:
        self.words.append(words)
        return self._code


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose tests were run; three have failed."""
    root = tmp_path_factory.mktemp("project")
    folder = root / "tests" / "part"
    folder.mkdir(parents=True)
    (folder / "test_some.py").write_text(TESTS)
    words = "--numprocesses=1 --dist=loadgroup --junit-xml=here.xml -p no:cacheprovider tests"
    argv = [sys.executable, "-m", "pytest", *words.split()]
    subprocess.run(argv, cwd=root, check=False, timeout=60)
    return root


def test_what_failed_is_run_again_by_its_name_and_named(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Runs()
    assert again.main(root, root, run) == 0
    (words,) = run.words
    assert sorted(words) == sorted([*FAILED, "--numprocesses=0"])
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "3 tests collected" in found.stdout
    said = capfd.readouterr().out
    assert "UNSTEADY" in said
    assert FAILED[0] in said


def test_what_fails_again_has_failed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert again.main(root, root, Runs(code=2)) == 1
    assert "FAILED AGAIN" in capsys.readouterr().out


def test_many_failures_are_believed_at_once(root: Path, tmp_path: Path) -> None:
    run = Runs()
    for part in ("one", "other"):
        (tmp_path / f"{part}.xml").write_bytes((root / "here.xml").read_bytes())
    assert again.main(tmp_path, root, run) == 1
    assert run.words == []


def test_a_suite_that_failed_without_a_test_has_failed(tmp_path: Path) -> None:
    run = Runs()
    assert again.main(tmp_path, tmp_path, run) == 1
    assert run.words == []
