"""The two lanes in which missing sets are built."""

import threading
from pathlib import Path

import pytest

from openeni_lab.prepare import build
from openeni_lab.programs.cache import BuildError
from openeni_lab.programs.sets import ProgramSet
from openeni_lab.progress import LogProgress, Progress

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
