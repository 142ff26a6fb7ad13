"""Facts about a machine that a lab must not change.

Standard library only: `make fresh` observes a machine on which nothing is installed yet. All of it
is compared before and after; nothing is expected to be absent.
"""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

COMMAND_SECONDS: Final = 20
MACHINE: Final = Path("/")

# What the kernel applies to everything on the machine, or to its own network.
_SYSCTLS: Final = (
    "fs/inotify/*",
    "kernel/keys/*",
    "kernel/panic*",
    "net/core/*",
    "net/ipv4/conf/all/*",
    "net/ipv4/conf/default/*",
    "net/ipv4/ip_forward",
    "net/ipv4/neigh/default/*",
    "net/ipv6/conf/all/*",
    "net/ipv6/conf/default/*",
    "vm/*",
)
# A program that the machine does not have has changed nothing.
_OBSERVERS: Final[Mapping[str, tuple[str, ...]]] = {
    "links": ("ip", "-o", "link"),
    "rules": ("ip", "-4", "rule"),
    "rules of IPv6": ("ip", "-6", "rule"),
    "routes": ("ip", "-4", "route", "show", "table", "all"),
    "routes of IPv6": ("ip", "-6", "route", "show", "table", "all"),
    "nftables": ("nft", "--stateless", "list", "ruleset"),
    "iptables": ("iptables-save",),
    "iptables of IPv6": ("ip6tables-save",),
}
# Life times, counters, time stamps and a link's queue change by themselves.
_VOLATILE: Final = re.compile(r"qdisc .*|expires \d+sec|\[\d+:\d+\]|^#.*")


def machine_facts(lab: str, root: Path = MACHINE) -> dict[str, object]:
    """Observe the machine's network, settings and services, and whatever has the lab's name.

    Files are those below `root`, network and sysctls those of the caller's namespaces.
    """
    return {
        **{name: _lines(command) for name, command in _OBSERVERS.items()},
        "sysctls": sysctls(),
        "services": services(root),
        "policy-rc.d": _content(root / "usr/sbin/policy-rc.d"),
        "kubeconfig": _content(root / Path.home().relative_to("/") / ".kube/config"),
        "network namespaces": sorted(path.name for path in (root / "run/netns").glob("*")),
        "mounts": [point for point, _ in mounts() if lab in point],
        "cgroups": [str(path) for path in cgroups(f"openeni-lab-{lab}*")],
    }


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return a line for each item that is new or gone, with the name of its fact."""
    found: list[str] = []
    for name in before.keys() | after.keys():
        old, new = _items(before.get(name)), _items(after.get(name))
        found += [f"{name}: gone: {item}" for item in old if item not in new]
        found += [f"{name}: new: {item}" for item in new if item not in old]
    return sorted(found)


def services(root: Path = MACHINE) -> list[str]:
    """Return the links that start a service with the machine, below `root`."""
    places = ("etc/systemd/system/*.wants/*", "etc/systemd/system/*.requires/*", "etc/rc?.d/*")
    return sorted(str(path.relative_to(root)) for place in places for path in root.glob(place))


def sysctls(names: Iterable[str] = _SYSCTLS) -> dict[str, str]:
    """Return the readable settings by name."""
    found: dict[str, str] = {}
    for path in (path for name in names for path in Path("/proc/sys").glob(name)):
        try:
            found[str(path.relative_to("/proc/sys"))] = path.read_text().strip()
        except OSError:
            continue  # a folder, one that is only written, or a secret that was never set
    return found


def mounts(pid: int | str = "self") -> list[tuple[str, str]]:
    """Return (mount point, file system type) as a process sees them, spaces as in proc(5)."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    halves = [line.partition(" - ") for line in lines]
    return [(before.split()[4], after.split()[0]) for before, _, after in halves]


def cgroups(pattern: str) -> list[Path]:
    """Return the matching groups below the root of every hierarchy, versions 1 and 2."""
    roots = [Path(point) for point, kind in mounts() if kind in {"cgroup", "cgroup2"}]
    return sorted(path for root in roots for path in root.glob(pattern) if path.is_dir())


def occupied(name: str) -> bool:
    """Return whether a process is in the cgroup `name`, or in one below it."""
    for folder in (folder for top in cgroups(name) for folder, _, _ in os.walk(top)):
        with contextlib.suppress(OSError):  # removed meanwhile
            if Path(folder, "cgroup.procs").read_text():
                return True
    return False


def _lines(command: tuple[str, ...]) -> list[str]:
    program = shutil.which(command[0], path="/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return []
    text = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True
    ).stdout
    lines = [_VOLATILE.sub("", line).strip() for line in text.splitlines()]
    return [re.sub(r"^\d+: ", "", line) if "link/" in line else line for line in lines if line]


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _items(fact: object) -> list[object]:
    if isinstance(fact, list):
        return fact  # pyright: ignore[reportUnknownVariableType]
    if isinstance(fact, dict):
        return [f"{key} = {value}" for key, value in fact.items()]  # pyright: ignore[reportUnknownVariableType]
    return [] if fact is None else [fact]
