"""Limits of a whole lab on memory and processors, set on its top cgroup.

Guests' memory counts too: it is in /dev/shm, and the kernel charges a page to the cgroup that
touches it first.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

BASE_MIB: Final = 4096  # control plane and OpenStack, with a margin
NODE_MIB: Final = 1280  # a guest, and the kernel memory that it causes
PERIOD_US: Final = 100_000  # the kernel's default for cpu.max and cpu.cfs_period_us
# No limit: the files of version 1 and 2 of each controller, with what the kernel takes for it.
NO_LIMIT: Final = {
    "memory": (("memory.limit_in_bytes", "-1"), ("memory.max", "max")),
    "cpu": (("cpu.cfs_quota_us", "-1"), ("cpu.max", "max")),
}
_NONE: Final = ("-1", "max")
UNLIMITED_BYTES: Final = 1 << 62  # version 1 reports no limit as the largest multiple of a page


class LimitError(Exception):
    """The machine cannot apply a limit. The text is one line for the user."""


@dataclass(frozen=True)
class LabLimits:
    """The limits of a lab as a whole; 0 means no limit."""

    memory_mib: int
    cpus: float

    @classmethod
    def of(cls, nodes: int) -> "LabLimits":
        """Return the default limits of a lab with this many nodes."""
        return cls(BASE_MIB + nodes * NODE_MIB, os.cpu_count() or 1)

    def changed(self, memory_mib: int | None, cpus: float | None) -> "LabLimits":
        """Return these limits with those replaced that are not None."""
        memory_mib = self.memory_mib if memory_mib is None else memory_mib
        return replace(self, memory_mib=memory_mib, cpus=self.cpus if cpus is None else cpus)

    @property
    def text(self) -> str:
        """Return the limits for the user."""
        memory = f"{self.memory_mib} MiB of memory" if self.memory_mib else "all memory"
        return f"{memory}, {f'{self.cpus:g}' if self.cpus else 'all'} processors"


@dataclass(frozen=True)
class CgroupLimit:
    """One limit, as the cgroup files that set it in each version of the hierarchy."""

    controller: str
    text: str
    version_1: tuple[tuple[str, str], ...]
    version_2: tuple[str, str]


def needed(limits: LabLimits, cpus: int) -> list[CgroupLimit]:
    """Return the limits to set on a machine with `cpus` processors; all of them is no limit."""
    found: list[CgroupLimit] = []
    if limits.memory_mib:
        size = str(limits.memory_mib << 20)
        # Before Linux 5.11, a cgroup counts its children only with use_hierarchy.
        files = (("memory.limit_in_bytes", size), ("memory.use_hierarchy", "1"))
        text = f"memory to {limits.memory_mib} MiB"
        found.append(CgroupLimit("memory", text, files, ("memory.max", size)))
    if 0 < limits.cpus < cpus:
        quota = str(round(limits.cpus * PERIOD_US))
        legacy = (("cpu.cfs_quota_us", quota), ("cpu.cfs_period_us", str(PERIOD_US)))
        text = f"processors to {limits.cpus:g}"
        found.append(CgroupLimit("cpu", text, legacy, ("cpu.max", f"{quota} {PERIOD_US}")))
    return found


def apply(name: str, limits: LabLimits, roots: Sequence[Path]) -> None:
    """Create the cgroup `name` in the hierarchies that the limits need, and set or lift them.

    Raises LimitError when a controller is missing, the kernel refuses, or more memory is in use.
    """
    wanted = {limit.controller: limit for limit in needed(limits, os.cpu_count() or 1)}
    for controller, files in NO_LIMIT.items():
        if controller not in wanted:
            for file, value in files:
                for root in roots:
                    if (root / name / file).exists():
                        _write(root / name / file, value)
    for limit in wanted.values():
        try:
            _set(name, limit, roots)
        except OSError as error:
            raise _refused(limit, f"{error.strerror}: {error.filename}") from error


def in_force(name: str, roots: Sequence[Path]) -> LabLimits:
    """Return the limits of the cgroup `name`, as the kernel has them."""
    memory_mib, cpus = 0, 0.0
    for folder in (root / name for root in roots):
        for file in ("memory.limit_in_bytes", "memory.max"):
            size = _words(folder / file)
            if size and size[0] not in _NONE and int(size[0]) < UNLIMITED_BYTES:
                memory_mib = int(size[0]) >> 20
        legacy = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
        for quota in (legacy, _words(folder / "cpu.max")):
            if quota and quota[0] not in _NONE:
                cpus = int(quota[0]) / int(quota[1])
    return LabLimits(memory_mib, cpus)


def _set(name: str, limit: CgroupLimit, roots: Sequence[Path]) -> None:
    first = limit.version_1[0][0]
    for root in roots:
        folder = root / name
        if limit.controller == "memory":
            _refuse_less_than_used(limit, folder)
        if (root / first).exists():
            folder.mkdir(exist_ok=True)
            for file, value in reversed(limit.version_1):
                _write(folder / file, value)
            return
        if limit.controller in _words(root / "cgroup.controllers"):
            _enable(root, limit.controller)
            folder.mkdir(exist_ok=True)
            _write(folder / limit.version_2[0], limit.version_2[1])
            return
    raise _refused(limit, f"no cgroup hierarchy has the controller {limit.controller}")


def _refuse_less_than_used(limit: CgroupLimit, folder: Path) -> None:
    """Raise LimitError if the kernel would have to kill programs to keep the limit (version 2)."""
    for file, prefix in (("memory.current", ""), ("memory.usage_in_bytes", "total_")):
        if (folder / file).exists():
            lines = (folder / "memory.stat").read_text().splitlines()
            stat = {key: int(value) for key, value in map(str.split, lines)}
            cache = sum(stat[f"{prefix}{kind}_file"] for kind in ("active", "inactive"))
            used = int((folder / file).read_text()) - cache
            if used > int(limit.version_2[1]):
                raise LimitError(
                    f"the lab cannot limit its {limit.text}: it uses {used >> 20} MiB; "
                    "ask for more, or take it down first"
                )


def _enable(root: Path, controller: str) -> None:
    """Enable a controller for the root's children (version 2), unless it is enabled.

    In the kernel's own root this does not affect other cgroups. It stays enabled after the lab,
    since others may use it by then. A container's root refuses while it contains processes.
    """
    control = root / "cgroup.subtree_control"
    if controller not in _words(control):
        _write(control, f"+{controller}")


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def _write(file: Path, value: str) -> None:
    """Write a cgroup file; errors occur on close, without the file's name, which is added."""
    try:
        file.write_text(value)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


def _refused(limit: CgroupLimit, why: str) -> LimitError:
    option = "--cpus" if limit.controller == "cpu" else f"--{limit.controller}"
    way_out = f"ask for no limit ({option} 0)"
    if limit.controller == "memory":
        way_out = f"boot the kernel with cgroup_enable=memory, or {way_out}"
    return LimitError(f"the lab cannot limit its {limit.text}: {why}; {way_out}")
