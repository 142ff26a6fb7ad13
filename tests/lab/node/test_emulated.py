"""A command in an emulated kernel, with a program in the place of the emulator."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openeni_lab.hypervisor.emulator import PROGRAM
from openeni_testing.lab.recording import executable

pytestmark = pytest.mark.root

# As guest_init.sh does: the folder is the second word after `--`, its messages go to a descriptor.
EMULATOR = """#!/bin/sh
for word; do
    case $word in
    *path=/dev/fd/*) messages=${word##*path=} ;;
    "quiet "*) words=${word##* -- } ;;
    esac
done
set -- $words
command=$(cat "$2/command")
echo openeni-guest-started > "$messages"
sh -c "$command" || code=$?
test "$code" = 99 || echo "openeni-guest-exit ${code:-0}" > "$messages"
"""
RUN = """
import os, sys
from pathlib import Path
from openeni_lab.node import kernel
from openeni_lab.programs.sets import Built
class Prepared:
    built = Built({"emulator": Path("/nowhere")}, {})
kernel.prepared.read = lambda _sets: Prepared
environment = {"PATH": os.environ["PATH"], "WORD": "two words"}
sys.exit(kernel.run_emulated(sys.argv[2:], environment, seconds=float(sys.argv[1]), keep=Path("/")))
"""


def run(folder: Path, script: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    stub = executable(folder / "bin" / PROGRAM, EMULATOR)
    return subprocess.run(
        [sys.executable, "-c", RUN, str(seconds), "sh", "-c", script],
        env={**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}", "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_command_runs_with_its_environment_and_its_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path, 'pwd; echo "$WORD"; exit 7')
    assert (done.returncode, done.stdout) == (7, f"{Path.cwd()}\ntwo words\n")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    assert run(tmp_path, "sleep 50", seconds=2).returncode == 124


def test_a_kernel_that_dies_is_no_success(tmp_path: Path) -> None:
    done = run(tmp_path, "exit 99")
    assert done.returncode == 125
    assert "the guest's kernel ended" in done.stderr
