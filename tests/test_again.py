"""`make test-again` runs the few tests that failed, and those alone."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from openeni_testing import again, suite

pytestmark = pytest.mark.slow

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
        self.seed = ""
        self._code = code

    def __call__(self, words: Sequence[str]) -> int:
        self.words.append(words)
        self.seed = os.environ.get(suite.SEED, "")
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


def copied(root: Path, to: Path, part: str = "here") -> Path:
    """Copy the report of the project's tests, as that of a part of the suite."""
    report = to / f"{part}.xml"
    report.write_bytes((root / "here.xml").read_bytes())
    codes = to / suite.CODES
    known: dict[str, int] = json.loads(codes.read_text()) if codes.exists() else {}
    codes.write_text(json.dumps(known | {part: 1}))
    return report


def test_what_failed_is_run_again_by_its_name_and_named(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Runs()
    report = copied(root, tmp_path)
    (tmp_path / "fast.xml").write_bytes(report.read_bytes())  # of another run
    assert again.main(tmp_path, root, run) == 0
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
    assert not report.exists(), "another run's failures are its own"


def test_what_fails_again_has_failed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(root, tmp_path)
    assert again.main(tmp_path, root, Runs(code=2)) == 1
    assert "FAILED AGAIN" in capsys.readouterr().out


def test_random_tests_do_again_what_they_did(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(suite.SEED, "other")
    copied(root, tmp_path)
    (tmp_path / suite.SEED).write_text("17")
    run = Runs()
    assert again.main(tmp_path, root, run) == 0
    assert run.seed == "17"


def test_many_failures_are_believed_at_once(root: Path, tmp_path: Path) -> None:
    run = Runs()
    for part in ("one", "other"):
        copied(root, tmp_path, part)
    assert again.main(tmp_path, root, run) == 1
    assert run.words == []


@pytest.mark.parametrize(
    "codes",
    [
        '{"here": null, "ipvlan": 0}',
        '{"here": 1, "ipvlan": 124, "coverage": 0}',
        '{"here": 1, "coverage": 2}',
    ],
)
def test_a_run_that_failed_for_other_reasons_too_has_failed(
    root: Path, tmp_path: Path, codes: str
) -> None:
    run = Runs()
    copied(root, tmp_path)
    (tmp_path / suite.CODES).write_text(codes)
    assert again.main(tmp_path, root, run) == 1
    assert run.words == []


def test_a_suite_that_failed_without_a_test_has_failed(tmp_path: Path) -> None:
    run = Runs()
    assert again.main(tmp_path, tmp_path, run) == 1
    assert run.words == []


def test_tests_that_share_what_was_not_set_up_are_run_again_as_one_failure(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    for name in ("test_lab", "test_other"):
        (tmp_path / "tests" / f"{name}.py").touch()
    cases = [("tests.test_lab", f"test_{n}") for n in range(11)] + [("tests.test_other", "test_it")]
    written = "".join(f'<testcase classname="{c}" name="{n}"><error/></testcase>' for c, n in cases)
    (tmp_path / "here.xml").write_text(f"<testsuite>{written}</testsuite>")
    (tmp_path / suite.CODES).write_text('{"here": 1}')
    run = Runs()
    assert again.main(tmp_path, tmp_path, run) == 0
    (words,) = run.words
    assert len(words) == len(cases) + 1
