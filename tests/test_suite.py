"""Signals end `make test` and `make load` as a whole, after the tests have cleaned up."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

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
