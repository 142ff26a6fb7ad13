"""What a machine must have for the lab: findings over facts, all of them at once.

A clean failure in the first second beats one after ten minutes of building, and one run must say
everything that is missing. Pure: `probe.gather` finds the facts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# include/uapi/linux/capability.h; without SYS_RESOURCE, which containers can do without
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
# Programs and kernel features that every lab needs; ipvlan decides only the kind of the nodes.
_FEATURES: Final[Mapping[str, str]] = {
    "namespaces": "each lab lives in namespaces of its own",
    "veth": "nodes and pods are connected by it",
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
    "openstack": 1.5,
    "kubectl": 0.2,
}
STATE_GIB: Final = 3.0
MEMORY_GIB: Final = 4.0
OLDEST_PYTHON: Final = (3, 11)


@dataclass(frozen=True)
class ProbedMachine:
    """What one machine has. A complaint is empty where a thing works."""

    system: str  # "Linux x86_64"
    python: tuple[int, ...]
    capabilities: frozenset[int]
    features: Mapping[str, str]  # feature -> complaint; empty while the programs to try are missing
    cgroups: str  # complaint
    memory_gib: float  # available
    cache_gib: float  # free where the cache is
    state_gib: float  # free where the lab's folder is
    to_build: tuple[str, ...]
    packages: tuple[str, ...]  # missing Debian packages
    installable: bool  # root, and apt-get is there
    registries: Mapping[str, str]  # those that were asked -> complaint
    lab_exists: bool
    lab_name: str

    @property
    def needs_guests(self) -> bool:
        """Whether ipvlan nodes must be VMs here."""
        return bool(self.features.get("ipvlan"))


@dataclass(frozen=True)
class Finding:
    """One thing to know. `stops` says that the lab cannot run before it is mended."""

    what: str
    why: str
    fix: str
    stops: bool = True


def judge(facts: ProbedMachine) -> list[Finding]:
    """Everything that is wrong or worth knowing, what stops the lab first."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda finding: not finding.stops)


def _system(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.system != "Linux x86_64":
        yield Finding(
            f"this is {facts.system}",
            "the lab is made of Linux namespaces and a user-mode kernel for x86_64",
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
            "the lab makes namespaces, mounts, links and containers",
            "run it as root (in a container: a privileged one)",
        )


def _kernel(facts: ProbedMachine) -> Iterator[Finding]:
    for feature, why in _FEATURES.items():
        complaint = facts.features.get(feature, "")
        if complaint:
            yield Finding(
                f"the kernel has no {feature}: {complaint}",
                why,
                "use a kernel with it, or load its module (modprobe)",
            )


def _guests(facts: ProbedMachine) -> Iterator[Finding]:
    if not facts.needs_guests:
        return
    yield Finding(
        "the kernel has no ipvlan",
        "nodes of kind `vm` bring a user-mode kernel that has it",
        "nothing to do",
        stops=False,
    )
    if facts.features.get("tap"):
        yield Finding(
            f"no tap devices: {facts.features['tap']}",
            "VM nodes get their NICs through /dev/net/tun",
            "load the module tun, give a container the device /dev/net/tun",
        )


def _cgroups(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.cgroups:
        yield Finding(
            f"cgroups cannot be made: {facts.cgroups}",
            "containers run in cgroups (version 1 or 2)",
            "mount them writable (in a container: --privileged --cgroupns=private)",
        )


def _memory(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.memory_gib < MEMORY_GIB and not facts.lab_exists:  # else it is the lab that has it
        yield Finding(
            f"{facts.memory_gib:.1f} GiB of memory available",
            f"control plane, OpenStack and two nodes need {MEMORY_GIB:.0f} GiB, builds 3 GiB",
            "stop other programs or take a larger machine",
        )


def space(to_build: Sequence[str]) -> float:
    """Return the GiB that building these sets takes at its peak, in the cache.

    Go's sets share their sources and compiled packages, and scratch space is used in turn.
    """
    largest = max((_BUILD_GIB.get(name, 1.0) for name in to_build), default=0.0)
    return largest + 0.5 * len(to_build)


def _disk(facts: ProbedMachine) -> Iterator[Finding]:
    elsewhere = "free some, or set OPENENI_LAB_CACHE to a folder on a larger disk"
    new_lab = 0.0 if facts.lab_exists else STATE_GIB  # one that is there has what it needs
    for place, free, needed, fix in (
        ("the cache", facts.cache_gib, space(facts.to_build), elsewhere),
        ("the labs (/var/lib/openeni-lab)", facts.state_gib, new_lab, "free some"),
    ):
        if free < needed:
            yield Finding(
                f"{free:.1f} GiB of disk free for {place}",
                f"it needs {needed:.1f} GiB",
                fix,
            )


def _packages(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.packages:
        names = " ".join(facts.packages)
        yield Finding(
            f"missing Debian packages: {names}",
            "the lab runs these programs or builds with them",
            "nothing to do, `openeni-lab prepare` installs them"
            if facts.installable
            else f"as root: apt-get install --no-install-recommends {names}",
            stops=not facts.installable,
        )


def _registries(facts: ProbedMachine) -> Iterator[Finding]:
    for registry, complaint in facts.registries.items():
        if complaint:
            yield Finding(
                f"no answer from the registry of {registry}: {complaint}",
                f"something must be fetched from it ({_purpose(facts)})",
                "check the network, and https_proxy or the client's own setting: GOPROXY (Go), "
                "UV_DEFAULT_INDEX (Python), apt's sources (Debian)",
            )


def _purpose(facts: ProbedMachine) -> str:
    return ", ".join([*facts.to_build, *facts.packages])


def _lab(facts: ProbedMachine) -> Iterator[Finding]:
    if facts.lab_exists:
        yield Finding(
            f"a lab named {facts.lab_name} is there",
            "one lab has one name",
            "`up` goes on with it, `down` removes it",
            stops=False,
        )


Rule = Callable[[ProbedMachine], Iterator[Finding]]
RULES: Final[tuple[Rule, ...]] = (
    _system,
    _python,
    _capabilities,
    _packages,
    _kernel,
    _cgroups,
    _memory,
    _disk,
    _registries,
    _guests,
    _lab,
)
