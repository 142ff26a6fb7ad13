"""The kernel calls with which a machine of the lab is cut off from the machine it runs on.

Standard library only: `init` needs it, also where nothing is installed. Everything made here
belongs to namespaces and cgroups and ends with them.
"""

import ctypes
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

NEW_MOUNTS: Final = 0x0002_0000  # CLONE_NEW*: <linux/sched.h>
NEW_CGROUP: Final = 0x0200_0000
NEW_NAME: Final = 0x0400_0000
NEW_IPC: Final = 0x0800_0000
NEW_PIDS: Final = 0x2000_0000
NEW_NETWORK: Final = 0x4000_0000

READ_ONLY: Final = 1  # MS_*: <linux/mount.h>
REMOUNT: Final = 32
BIND: Final = 4096
RECURSIVE: Final = 16384
SLAVE: Final = 1 << 19
DETACH: Final = 2  # MNT_DETACH
PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG

ROOT: Final = Path("/")
SYSTEM_FOLDERS: Final = tuple(
    Path(path) for path in ("/bin", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr")
)
# File systems whose server may be dead or may refuse root; found in system folders by mistake only.
UNSAFE_KINDS: Final = ("fuse", "nfs", "cifs", "smb", "9p", "afs", "ceph", "autofs")

# What kubelet sets on start (k8s.io/kubernetes pkg/kubelet/cm, setupKernelTunables): of the whole
# machine, so a node sees them as they should be and leaves the real ones alone.
KUBELET_SYSCTLS: Final = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(namespaces: int) -> None:
    """Leave the given namespaces for new ones (`os.unshare` came with Python 3.12)."""
    _check(_libc.unshare(namespaces), "new namespaces")


def die_with_parent(signal: int) -> None:
    _check(_libc.prctl(PARENT_DEATH_SIGNAL, signal, 0, 0, 0), "prctl")


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Errors are OSError, naming the target."""
    words = [source.encode(), str(target).encode(), kind.encode() or None]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def bind(source: Path | str, target: Path | str, *, read_only: bool = False) -> None:
    mount(str(source), target, flags=BIND)
    if read_only:
        mount("", target, flags=BIND | REMOUNT | READ_ONLY)


def unmount(target: Path | str) -> None:
    _check(_libc.umount2(str(target).encode(), DETACH), f"umount {target}")


def own_mounts() -> None:
    """From here on no mount made here is seen outside, but what is unmounted outside goes here too.

    Else a disk or a container's layer stays busy on the machine while the lab runs.
    """
    mount("", "/", flags=RECURSIVE | SLAVE)


def mount_points(table: bytes | None = None) -> list[tuple[str, str]]:
    """(path, file system type) in mount order, of this process or of a `mountinfo` given as text.

    Blanks, newlines and backslashes are octal in it (proc(5)); any other byte is the path's own.
    """
    if table is None:
        table = Path("/proc/self/mountinfo").read_bytes()
    points: list[tuple[str, str]] = []
    for line in table.strip(b"\n").split(b"\n"):
        before, _, after = line.partition(b" - ")
        path = re.sub(
            rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), before.split(b" ")[4]
        )
        points.append((os.fsdecode(path), after.split(b" ")[0].decode()))
    return points


def cgroup_roots() -> list[Path]:
    """Where each cgroup hierarchy is mounted, versions 1 and 2."""
    return [Path(path) for path, kind in mount_points() if kind in {"cgroup", "cgroup2"}]


def join_cgroup(name: str) -> None:
    """Move this process into `name` below every hierarchy's root, made if missing."""
    for root in cgroup_roots():
        folder = root
        for part in Path(name).parts:
            _delegate(folder, root)
            folder /= part
            folder.mkdir(exist_ok=True)
            _inherit_cpuset(folder)
        (folder / "cgroup.procs").write_text("0")


def _delegate(folder: Path, root: Path) -> None:
    """Version 2: let the children have the controllers; the machine's own root is left alone."""
    control = folder / "cgroup.subtree_control"
    if folder != root and control.exists():
        names = (folder / "cgroup.controllers").read_text().split()
        control.write_text(" ".join(f"+{name}" for name in names))


def _inherit_cpuset(folder: Path) -> None:
    """Version 1: a cpuset takes no process before it has processors and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        setting = folder / name
        if setting.exists() and not (folder / "cgroup.subtree_control").exists():
            setting.write_text((folder.parent / name).read_text())


def lab_file_systems() -> None:
    """Mount /proc and /sys of the new namespaces, and an empty /run and /dev/shm.

    Guests' memory is in /dev/shm; so it goes with the lab, and is not bounded by half of the
    machine's memory but by the lab's limit alone.
    """
    mount("proc", "/proc", "proc")
    mount("openeni-lab", "/run", "tmpfs", data="mode=755")
    mount("openeni-lab", "/dev/shm", "tmpfs", data="mode=1777,size=100%")  # noqa: S108 - a place
    Path("/run/netns").mkdir()
    cgroups = os.open("/sys/fs/cgroup", os.O_PATH)
    mount("sysfs", "/sys", "sysfs")
    mount(f"/proc/self/fd/{cgroups}", "/sys/fs/cgroup", flags=BIND | RECURSIVE)
    os.close(cgroups)


def node_root(own: Path, persistent: Iterable[str], shared: Sequence[Path]) -> None:
    """Become a machine with a root file system of its own: the real one, copied on write.

    Writes go to a tmpfs that ends with the node, except in the `persistent` folders, which are
    kept below `own`. The overlay shows neither other mounts nor later changes of what lies under
    it, so the `shared` folders and what is mounted in system folders are bound, read-only.
    """
    bound = shown_places(mount_points(), shared)
    base = Path("/run")
    mount("openeni-lab", base, "tmpfs", data="mode=755")
    upper, work, root = base / "upper", base / "work", base / "root"
    for folder in (upper, work, root):
        folder.mkdir()
    mount("root", root, "overlay", data=f"lowerdir=/,upperdir={upper},workdir={work}")
    for path in bound:
        _bind_below(root, path, path, read_only=True)
    _bind_below(root, own, own)
    for name in persistent:
        kept = own / "disk" / name.lstrip("/")
        kept.mkdir(parents=True, exist_ok=True)
        _bind_below(root, kept, Path(name))
    _bind_below(root, Path("/dev"), Path("/dev"))
    _pivot(root)
    _kernel_file_systems()


def shown_places(mounts: Sequence[tuple[str, str]], shared: Sequence[Path]) -> list[Path]:
    """Return what a node's root must be given besides the root file system; parents come first.

    These are the `shared` folders, system folders that are mounts or lie on one, and mounts in
    any of them. No other mount of the machine is looked at: a dead server or a user's own file
    system would hold the node up, and a disk that the node has cannot be unmounted.
    """
    kinds = {Path(path): kind for path, kind in mounts}
    mounted = [p for p in SYSTEM_FOLDERS if any(p.is_relative_to(m) for m in kinds if m != ROOT)]
    inside = [
        path
        for path, kind in kinds.items()
        if any(path.is_relative_to(place) for place in (*shared, *SYSTEM_FOLDERS))
        and not kind.startswith(UNSAFE_KINDS)
    ]
    return sorted({*shared, *mounted, *inside})


def _bind_below(root: Path, source: Path, target: Path, *, read_only: bool = False) -> None:
    place = root / target.relative_to("/")
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    elif not place.exists():
        place.touch()
    bind(source, place, read_only=read_only)


def _pivot(root: Path) -> None:
    old = root / ".old"
    old.mkdir(exist_ok=True)
    os.chdir(root)
    _check(_libc.pivot_root(b".", b".old"), "pivot_root")
    os.chdir("/")
    unmount("/.old")
    Path("/.old").rmdir()


def _kernel_file_systems() -> None:
    mount("proc", "/proc", "proc")
    mount("openeni-lab", "/run", "tmpfs", data="mode=755")
    Path("/run/netns").mkdir()
    mount("shm", "/dev/shm", "tmpfs")  # noqa: S108 - a mount point
    mount("devpts", "/dev/pts", "devpts", data="ptmxmode=666,newinstance,mode=620,gid=5")
    mount("sysfs", "/sys", "sysfs")
    _cgroups()
    _sysctls()


def _cgroups() -> None:
    """Show the node its own part of every hierarchy, at the usual places."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    versions_1 = [names for _, names, _ in (line.split(":", 2) for line in lines) if names]
    place = Path("/sys/fs/cgroup")
    unified = place
    if versions_1:
        mount("openeni-lab", place, "tmpfs", data="mode=755")
        unified = place / "unified"
        unified.mkdir()
    for names in versions_1:
        for name in names.split(","):
            folder = place / name.removeprefix("name=")
            folder.mkdir()
            mount("cgroup", folder, "cgroup", data=f"none,{name}" if "=" in name else names)
    mount("cgroup2", unified, "cgroup2")
    leaf = unified / "init"  # version 2: only a group without processes can have children
    leaf.mkdir(exist_ok=True)
    (leaf / "cgroup.procs").write_text("0")


def _sysctls() -> None:
    folder = Path("/run/sysctl")
    for name, value in KUBELET_SYSCTLS.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
        bind(file, Path("/proc/sys") / name)
