"""The lab's requirements on a machine, as rules over probed facts. Pure.

A clear failure in the first second is better than one after ten minutes of building, and one run
reports everything that is missing. `probe.gather` gathers the facts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from openeni_lab.invocation import command

# include/uapi/linux/capability.h; containers do not need SYS_RESOURCE
CAPABILITIES: Final[Mapping[int, str]] = {
    0: "CHOWN",
    1: "DAC_OVERRIDE",
    5: "KILL",
    6: "SETGID",
    7: "SETUID",
    12: "NET_ADMIN",
    13: "NET_RAW",
    18: "SYS_CHROOT",
    19: "SYS_PTRACE",
    21: "SYS_ADMIN",
    27: "MKNOD",
}
# Kernel features that every lab needs. Not ipvlan: it only decides the kind of the nodes.
_FEATURES: Final[Mapping[str, str]] = {
    "namespaces": "each lab lives in namespaces of its own",
    "veth": "it connects nodes and pods",
    "bridge": "the lab's Neutron networks are bridges",
    "nftables": "kube-proxy and the node agent write nftables",
    "nftables bridge": "the lab's anti-spoofing is nftables of the bridge family",
}
_BUILD_GIB: Final[Mapping[str, float]] = {  # scratch space included
    "kubernetes": 7.0,
    "node": 3.5,
    "helm": 3.0,
    "cni-plugins": 1.5,
    "kernel": 2.0,
    "emulator": 0.6,
    "openstack": 1.5,
    "kubectl": 0.2,
}
STATE_GIB: Final = 3.0
MEMORY_GIB: Final = 4.0
OLDEST_PYTHON: Final = (3, 11)


@dataclass(frozen=True)
class ProbedMachine:
    """Facts about one machine. An error text is empty if the thing works."""

    system: str  # "Linux x86_64"
    python: tuple[int, ...]
    capabilities: frozenset[int]
    features: Mapping[
        str, str
    ]  # feature -> error; empty while a program that tries them is missing
    cgroups: str  # error
    memory_gib: float  # available
    cache_gib: float  # free where the cache is
    state_gib: float  # free where the lab's folder is
    to_build: tuple[str, ...]
    packages: tuple[str, ...]  # missing Debian packages
    installable: bool  # root, and apt-get exists
    registries: Mapping[str, str]  # those that were queried -> error
    lab_exists: bool
    lab_name: str

    @property
    def needs_guests(self) -> bool:
        """Return True if nodes with ipvlan must be VMs on this machine."""
        return bool(self.features.get("ipvlan"))


@dataclass(frozen=True)
class Finding:
    """One finding about the machine. If `stops`, the lab cannot run until it is fixed."""

    what: str
    why: str
    fix: str
    stops: bool = True


def find_problems(facts: ProbedMachine) -> list[Finding]:
    """Return all findings, those that stop the lab first."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda finding: not finding.stops)


def _system(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.system != "Linux x86_64":
        yield Finding(
            f"this is {facts.system}",
            "the lab needs Linux namespaces and a user-mode kernel for x86_64",
            "run it on a Linux x86_64 machine",
        )


def _python(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.python < OLDEST_PYTHON:
        yield Finding(
            f"Python is {'.'.join(map(str, facts.python))}",
            "OpenStack's and the lab's packages need 3.11",
            "install Python 3.11 or newer",
        )


def _capabilities(facts: ProbedMachine) -> Iterator[Finding]:
    lacking = [name for number, name in CAPABILITIES.items() if number not in facts.capabilities]
    if lacking:
        yield Finding(
            f"no capability {', '.join(f'CAP_{name}' for name in lacking)}",
            "the lab creates namespaces, mounts, links and containers",
            "run it as root (in a container: a privileged one)",
        )


def _kernel(facts: ProbedMachine) -> Iterator[Finding]:
    for feature, why in _FEATURES.items():
        error = facts.features.get(feature, "")
        if error:
            yield Finding(
                f"the kernel has no {feature}: {error}",
                why,
                "use a kernel that has it, or load its module (modprobe)",
            )


def _guests(facts: ProbedMachine) -> Iterator[Finding]:
    if not facts.needs_guests:
        return
    yield Finding(
        "the kernel has no ipvlan",
        "nodes of kind `vm` run a user-mode kernel that has it",
        "nothing to do",
        stops=False,
    )
    if facts.features.get("tap"):
        yield Finding(
            f"no tap devices: {facts.features['tap']}",
            "VM nodes get their NICs through /dev/net/tun",
            "load the module tun; a container needs the device /dev/net/tun",
        )


def _cgroups(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.cgroups:
        yield Finding(
            f"cgroups cannot be created: {facts.cgroups}",
            "containers run in cgroups (version 1 or 2)",
            "mount them writable (in a container: --privileged --cgroupns=private)",
        )


def _memory(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.memory_gib < MEMORY_GIB and not facts.lab_exists:  # otherwise the lab uses it
        yield Finding(
            f"{facts.memory_gib:.1f} GiB of memory available",
            f"control plane, OpenStack and two nodes need {MEMORY_GIB:.0f} GiB, builds 3 GiB",
            "stop other programs or take a larger machine",
        )


def space(to_build: Sequence[str]) -> float:
    """Return the peak size of the cache in GiB while these sets are built.

    Go's sets share their sources and compiled packages, and only one set uses scratch space.
    """
    largest = max((_BUILD_GIB.get(name, 1.0) for name in to_build), default=0.0)
    return largest + 0.5 * len(to_build)


def _disk(facts: ProbedMachine) -> Iterator[Finding]:
    elsewhere = "free some, or set OPENENI_LAB_CACHE to a folder on a larger disk"
    new_lab = 0.0 if facts.lab_exists else STATE_GIB  # an existing lab has its space already
    for place, free, needed, fix in (
        ("the cache", facts.cache_gib, space(facts.to_build), elsewhere),
        ("the labs (/var/lib/openeni-lab)", facts.state_gib, new_lab, "free some"),
    ):
        if free < needed:
            yield Finding(
                f"{free:.1f} GiB of disk free for {place}",
                f"{needed:.1f} GiB are needed",
                fix,
            )


def _packages(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.packages:
        names = " ".join(facts.packages)
        yield Finding(
            f"missing Debian packages: {names}",
            "the lab runs them or builds with them",
            f"nothing to do, `{command('prepare')}` installs them"
            if facts.installable
            else f"as root: apt-get install --no-install-recommends {names}",
            stops=not facts.installable,
        )


def _emulator(facts: ProbedMachine) -> Iterator[Finding]:
    if "emulator" in facts.to_build and not facts.installable:
        yield Finding(
            "no apt-get for root to fetch Debian's kernel with",
            "`make bench-datapath` counts its instructions in an emulator",
            "run it as root on a Debian machine",
        )


def _registries(facts: ProbedMachine) -> Iterator[Finding]:
    for registry, error in facts.registries.items():
        if error:
            yield Finding(
                f"no answer from the registry of {registry}: {error}",
                f"it is needed to fetch {_purpose(facts)}",
                "check the network, and https_proxy or the client's own setting: GOPROXY (Go), "
                "UV_DEFAULT_INDEX (Python), apt's sources (Debian)",
            )


def _purpose(facts: ProbedMachine) -> str:
    return ", ".join([*facts.to_build, *facts.packages])


def _lab(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.lab_exists:
        yield Finding(
            f"a lab named {facts.lab_name} exists",
            "a lab's name is unique on a machine",
            "`up` continues it, `down` removes it",
            stops=False,
        )


Rule = Callable[[ProbedMachine], Iterator[Finding]]
RULES: Final[tuple[Rule, ...]] = (
    _system,
    _python,
    _capabilities,
    _packages,
    _emulator,
    _kernel,
    _cgroups,
    _memory,
    _disk,
    _registries,
    _guests,
    _lab,
)
