"""The two lanes in which missing sets are built, and their end."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from openeni_lab.machine.isolation import mount_points, unmount
from openeni_lab.prepare import build
from openeni_lab.programs.cache import BuildError, CacheEntry, building, locked
from openeni_lab.programs.sets import ProgramSet
from openeni_lab.progress import LogProgress, Progress
from openeni_testing.lab.recording import RecordedProgress
from openeni_testing.waiting import wait_for

SECONDS = 30.0


def test_a_failure_in_one_lane_ends_what_goes_on_in_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first error is raised, after the other lane has cleaned up."""
    at_work, cleaned_up = threading.Event(), threading.Event()

    def build_one(_builder: object, one: ProgramSet, _progress: Progress) -> None:
        if one.name == "helm":
            at_work.wait(SECONDS)
            raise BuildError("the disk is full")

    def long_job(progress: Progress) -> None:
        progress.start("a lab of its own", 60)
        at_work.set()
        try:
            while True:
                progress.note("still at it")
        finally:
            cleaned_up.set()

    monkeypatch.setattr(build.Builder, "_build", build_one)
    with pytest.raises(BuildError, match="the disk is full"):
        build.build(["helm", "kubectl"], LogProgress(), tmp_path, after={"kubectl": long_job})
    assert cleaned_up.is_set()


ENTRY = CacheEntry("thing", "1", (b"an input",))
BUILDER = """
import sys
from pathlib import Path
from openeni_lab.prepare.build import build
from openeni_lab.programs.cache import CacheEntry
from openeni_lab.programs.sets import SETS
from openeni_lab.progress import LogProgress
class Thing:
    name, entry = "thing", CacheEntry("thing", "1", (b"an input",))
    def build(self, workshop):
        (workshop.entry / "half").touch()
        with workshop.step("compile", 1) as step:
            step.run(["sh", "-c", sys.argv[2]], cwd=workshop.entry)
SETS["thing"] = Thing()
build(["thing"], LogProgress(), Path(sys.argv[1]))
"""
# Like make's and Go's compilers a process of a process, and even in a session of its own.
COMPILER = "exec 3> {pipe}; setsid sh -c 'echo at work >&3; sleep 300' & sleep 300"


@pytest.mark.root
def test_a_killed_builder_ends_its_compilers_and_leaves_nothing_that_is_taken_for_an_entry(
    tmp_path: Path,
) -> None:
    pipe, cache = tmp_path / "pipe", tmp_path / "cache"
    os.mkfifo(pipe)
    argv = [sys.executable, "-c", BUILDER, str(cache), COMPILER.format(pipe=pipe)]
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(reading, "rb", buffering=0) as compilers:
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as builder:
            wait_for(lambda: compilers.read() == b"at work\n", "the compiler to work")
            builder.kill()
        # The file ends when every process that can write to it has ended.
        wait_for(lambda: compilers.read() == b"", "its compilers to end with it", 20)
    half = ENTRY.folder(cache) / "half"
    assert half.exists()
    assert not ENTRY.complete(cache)
    with locked(cache, RecordedProgress()), building(ENTRY, cache, RecordedProgress()):
        assert not half.exists()


# As mmdebstrap does in a root that it makes.
MOUNTER = "mkdir proc && mount -t proc proc proc && echo mounted > {pipe}; sleep 300"


@pytest.mark.root
def test_a_killed_builder_leaves_no_mounts(tmp_path: Path) -> None:
    pipe, cache = tmp_path / "pipe", tmp_path / "cache"
    os.mkfifo(pipe)
    argv = [sys.executable, "-c", BUILDER, str(cache), MOUNTER.format(pipe=pipe)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as builder:
        assert pipe.read_text() == "mounted\n"
        builder.kill()
    below = [path for path, _ in mount_points() if Path(path).is_relative_to(cache)]
    for path in below:
        unmount(path)
    assert below == []
