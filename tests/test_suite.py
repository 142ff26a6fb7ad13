"""`make test` refuses names of no test; signals end it as a whole, after tests have cleaned up."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import MagicMock

import pytest

from openeni_testing import selection, suite
from openeni_testing.objects import REPOSITORY
from openeni_testing.suite import Part

pytestmark = pytest.mark.slow

# Tests that are interrupted: they take their time to clean up.
TESTS: Final = """
import signal, time
try:
    print("at work", flush=True)
    signal.pause()
except KeyboardInterrupt:
    time.sleep(1)
    print("cleaned up", flush=True)
"""
START: Final = """
import sys
from pathlib import Path
from openeni_testing import load, suite
tests = (sys.executable, "-c", sys.argv[1])
"""
SUITE: Final = """
suite.RESULTS = Path(sys.argv[2])
sys.exit(suite.main([], [suite.Part("here", "", prefix=tests)]))
"""
LOAD: Final = "sys.exit(load.main(tests))"
# A part whose report is its first argument.
REPORTS: Final = """
import sys
option = "--junit-xml="
(report,) = (word for word in sys.argv if word.startswith(option))
open(report.removeprefix(option), "w").write(sys.argv[1])
"""
PASSED: Final = "<testsuites><testsuite><testcase/></testsuite></testsuites>"


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ctrl_c(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGINT)


def cancel(process: "subprocess.Popen[str]") -> None:
    process.terminate()  # it alone, as CI and timeout(1) do


@pytest.mark.parametrize(
    ("program", "count", "end", "status"),
    [
        pytest.param(SUITE, 1, ctrl_c, 130, id="suite"),
        pytest.param(SUITE, 1, cancel, 143, id="suite, cancelled"),
        pytest.param(LOAD, 1 + (os.cpu_count() or 1), ctrl_c, 130, id="load"),
    ],
)
def test_a_signal_ends_all_of_it_without_a_traceback(
    program: str,
    count: int,
    end: Callable[["subprocess.Popen[str]"], None],
    status: int,
    tmp_path: Path,
) -> None:
    argv = [sys.executable, "-c", START + program, TESTS, str(tmp_path / "results")]
    with (
        (tmp_path / "errors").open("w+") as errors,
        subprocess.Popen(
            argv,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        running = children(process.pid)
        end(process)
        said, _ = process.communicate(timeout=60)
        errors.seek(0)
        assert (process.returncode, said, errors.read()) == (status, "cleaned up\n", "")
    assert len(running) == count
    assert not [pid for pid in running if Path(f"/proc/{pid}").exists()]


class Interrupted(subprocess.Popen[bytes]):
    """A process in whose lock a signal arrives whose handler raises: right after it was taken."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        lock = threading.Lock()
        vars(self)["_waitpid_lock"] = MagicMock(wraps=lock, acquire=partial(self._acquire, lock))

    def _acquire(self, lock: threading.Lock, *arguments: bool) -> bool:
        taken = lock.acquire(*arguments)
        if taken and not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            raise SystemExit(143)
        return taken


def test_while_a_part_runs_no_lock_is_held_that_its_end_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(suite, "CLEAN_UP_SECONDS", 1)
    monkeypatch.setattr(suite, "KILL_SECONDS", 1)
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    program = (sys.executable, "-c", f"{REPORTS}\nimport time\ntime.sleep(0.5)", PASSED)
    assert suite.run_parts([], [Part("here", "", prefix=program, covered=False)]) == 0


def make(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_name_that_is_no_test_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    done = make("test", "T=nosuch", f"VENV={venv}", f"PYTHON={sys.executable}")
    assert done.returncode == 2
    assert "make test: there are no tests in 'nosuch'" in done.stderr
    assert "T=tests/operator" in done.stderr
    assert done.stdout == ""
    assert not venv.exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["tests"],
        ["tests/test_suite.py", "tests/kube"],
        ["tests/test_suite.py::test_existing_tests_are_not_refused[words0]"],
        ["-k", "nosuch or other"],
        ["-x", "--maxfail=1", "tests/operator"],
    ],
)
def test_existing_tests_are_not_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert selection.main(words) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("operator", "no tests in 'operator'; is it T=tests/operator[?]"),
        ("test_suite", "no tests in 'test_suite'; is it T=tests/test_suite.py[?]"),
        (
            "test_existing_tests_are_not_refused",
            "T=tests/test_suite.py::test_existing_tests_are_not_refused[?]",
        ),
        ("README.md", "no tests in 'README.md'"),
        ("tests/kube::test_a", "'tests/kube' is a folder"),
        ("tests/kube/test_client.py::test_no" + "such", "client.py has no test 'test_nosuch'"),
    ],
)
def test_what_is_missing_is_named_with_what_may_be_meant(
    word: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert selection.main(["tests/operator", word]) == 1
    first, usage = capsys.readouterr().err.splitlines()
    assert re.search(complaint, first)
    assert usage == selection.USAGE


@pytest.mark.parametrize("code", [suite.USAGE_ERROR, suite.NOTHING])
def test_where_no_test_ran_there_is_no_coverage_to_print(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "RESULTS", tmp_path / "results")
    ends = (sys.executable, "-c", f"raise SystemExit({code})")
    assert suite.run_parts(["-k", "nosuch"], [Part("here", "", prefix=ends)]) == code
    assert capfd.readouterr() == ("", "")


def fault(tag: str, message: str) -> str:
    return PASSED.replace("<testcase/>", f"<testcase><{tag} message='{message}'/></testcase>")


@pytest.mark.parametrize(
    ("code", "report", "ends"),
    [
        pytest.param(0, PASSED, 0, id="passed"),
        pytest.param(1, fault("failure", "assert 0"), 1, id="failed"),
        pytest.param(0, "", 3, id="ended before its end"),
        pytest.param(1, "", 3, id="no kernel"),
        pytest.param(1, PASSED, 3, id="failed without a test"),
        pytest.param(0, fault("error", "internal error"), 3, id="a worker's internal error"),
        pytest.param(1, fault("failure", "worker gw0 crashed while running x"), 3, id="crashed"),
        pytest.param(suite.NOTHING, "", suite.NOTHING, id="no test"),
    ],
)
def test_a_part_ends_as_its_report_says_or_not_well(
    code: int, report: str, ends: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "RESULTS", tmp_path / "results")
    program = f"{REPORTS}\nsys.exit({code})"
    part = Part("here", "", prefix=(sys.executable, "-c", program, report), covered=False)
    assert suite.run_parts([], [part]) == ends


def test_random_tests_have_one_seed_in_a_run_which_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(suite.SEED, "of the caller")
    monkeypatch.delenv(suite.SEED)
    monkeypatch.setattr(suite, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(suite, "heed_signals", lambda: None)
    told = tmp_path / "told"
    program = f"{REPORTS}\nimport os; open({str(told)!r}, 'w').write(os.environ[{suite.SEED!r}])"
    part = Part("here", "", prefix=(sys.executable, "-c", program, PASSED), covered=False)
    assert suite.main([], [part]) == 0
    assert (tmp_path / "results" / suite.SEED).read_text() == told.read_text() != ""


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [([], {"most"}), ([suite.APART], {"apart"}), (["tests/kube"], {"most", "apart"})],
)
def test_a_part_with_a_run_of_its_own_is_left_out_but_for_chosen_tests(
    arguments: list[str], ran: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(suite, "heed_signals", lambda: None)  # they are this process's own

    def part(name: str, *, apart: bool) -> Part:
        writes = f"{REPORTS}\nopen({str(tmp_path / name)!r}, 'w')"
        return Part(
            name, "", prefix=(sys.executable, "-c", writes, PASSED), covered=False, apart=apart
        )

    assert suite.main(arguments, [part("apart", apart=True), part("most", apart=False)]) == 0
    assert {name for name in ("apart", "most") if (tmp_path / name).exists()} == ran


def test_a_share_is_one_of_each_part_with_a_run_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(suite, "heed_signals", lambda: None)
    writes = f"{REPORTS}\nopen(sys.argv[2], 'w').write(' '.join(sys.argv[3:]))"
    program = (sys.executable, "-c", writes, PASSED)
    parts = [
        Part(name, "", prefix=(*program, str(tmp_path / name)), apart=apart)
        for name, apart in (("guest", True), ("here", True), ("most", False))
    ]
    parts = [replace(part, covered=False, places=("all",)) for part in parts]
    assert suite.main([suite.APART, "--share=2/3"], parts) == 0
    for name in ("guest", "here"):
        assert (tmp_path / name).read_text().endswith(" --share=2/3 all")
    assert not (tmp_path / "most").exists()


@pytest.mark.parametrize("target", ["demo", "test", "fresh"])
def test_a_machine_without_python_is_told_which_package_has_it(target: str, tmp_path: Path) -> None:
    done = make(target, f"VENV={tmp_path / 'venv'}", "PYTHON=python3-nosuch")
    assert done.returncode == 2
    first, *_ = done.stderr.splitlines()
    assert first == "python3-nosuch is missing: apt-get install python3-venv"
    assert "Python 3.11" not in done.stderr


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make("prepare", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert f"openeni needs Python 3.11 or newer, {old} is older: set PYTHON=..." in done.stderr
