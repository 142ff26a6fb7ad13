"""Namespaces, cgroups and mounts isolate a machine of the lab from the machine that it runs on.

Standard library only, for `init`. Everything created here belongs to namespaces and cgroups and
ends with them.
"""

import contextlib
import ctypes
import os
import re
from collections.abc import Iterable, Iterator, Sequence
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
SHARED: Final = 1 << 20
DETACH: Final = 2  # MNT_DETACH
PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG

ROOT: Final = Path("/")
SYSTEM_FOLDERS: Final = tuple(
    Path(path) for path in ("/bin", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr")
)
# File systems whose server may hang or refuse root; they do not belong in system folders.
UNSAFE_KINDS: Final = ("fuse", "nfs", "cifs", "smb", "9p", "afs", "ceph", "autofs")

# Sysctls that kubelet sets on start (k8s.io/kubernetes pkg/kubelet/cm, setupKernelTunables). They
# apply to the whole machine, so a node gets files with the wanted values in their place.
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


def ending_with_caller(*namespaces: str) -> list[str]:
    """Return the start of a command line that runs in a new PID namespace and ends with its caller.

    The kernel kills every process of a namespace whose first process ends. The first one is the
    command, so it gets no signal that it does not handle, except from outside.
    """
    die_with_caller = ("setpriv", "--pdeathsig", "KILL")
    return [*die_with_caller, "unshare", "--pid", "--fork", "--kill-child", *namespaces, "--"]


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system; raise OSError that names the target."""
    arguments = [source.encode(), str(target).encode(), kind.encode() or None]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def bind(source: Path | str, target: Path | str, *, read_only: bool = False) -> None:
    mount(str(source), target, flags=BIND)
    if read_only:
        mount("", target, flags=BIND | REMOUNT | READ_ONLY)


def unmount(target: Path | str) -> None:
    _check(_libc.umount2(str(target).encode(), DETACH), f"umount {target}")


def own_mounts() -> None:
    """Make every mount a slave: mounts made here stay here, but unmounts outside apply here too.

    Otherwise a disk or a container's layer would stay busy on the machine while the lab runs.
    """
    mount("", "/", flags=RECURSIVE | SLAVE)


def mount_points(table: bytes | None = None) -> list[tuple[str, str]]:
    """Return (path, file system type) in mount order, of this process or of a `mountinfo` table.

    The table has blanks, newlines and backslashes in octal (proc(5)) and every other byte as it is.
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
    """Return the mount points of the cgroup hierarchies, versions 1 and 2."""
    return [Path(path) for path, kind in mount_points() if kind in {"cgroup", "cgroup2"}]


def join_cgroup(name: str) -> None:
    """Move this process into the cgroup `name` of every hierarchy; create it where missing."""
    for root in cgroup_roots():
        folder = root
        for part in Path(name).parts:
            _delegate(folder, root)
            folder /= part
            folder.mkdir(exist_ok=True)
            _inherit_cpuset(folder)
        (folder / "cgroup.procs").write_text("0")


def cgroups(name: str, *, bottom_up: bool = False) -> Iterator[Path]:
    """Yield the folders of the cgroup `name`, and those in it, of every hierarchy."""
    for root in cgroup_roots():
        for folder, _, _ in os.walk(root / name, topdown=not bottom_up):
            yield Path(folder)


def remove_cgroups(name: str) -> None:
    """Remove the cgroup `name` and those in it whose processes have ended."""
    for folder in cgroups(name, bottom_up=True):
        with contextlib.suppress(OSError):  # it still has processes
            folder.rmdir()


def _delegate(folder: Path, root: Path) -> None:
    """Enable all controllers for a cgroup's children (version 2), except in the machine's root."""
    control = folder / "cgroup.subtree_control"
    if folder != root and control.exists():
        names = (folder / "cgroup.controllers").read_text().split()
        control.write_text(" ".join(f"+{name}" for name in names))


def _inherit_cpuset(folder: Path) -> None:
    """Copy the parent's cpuset (version 1): an empty cpuset accepts no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        setting = folder / name
        if setting.exists() and not (folder / "cgroup.subtree_control").exists():
            setting.write_text((folder.parent / name).read_text())


def lab_file_systems() -> None:
    """Mount /proc and /sys of the new namespaces, and an empty /run and /dev/shm.

    Guests keep their memory in /dev/shm. In a tmpfs of the lab's own it ends with the lab, and only
    the lab's limit bounds it, not the usual half of the machine's memory.
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
    """Switch to a root file system of the node's own: the machine's, copied on write.

    Writes go to a tmpfs that ends with the node, except in the `persistent` folders, which are
    kept below `own`. An overlay contains neither other mounts nor later changes of its lower layer,
    so the `shared` folders and mounts in system folders are bound read-only.
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
    # As systemd does: a runtime passes later mounts on to containers only from such a place.
    mount("", "/", flags=RECURSIVE | SHARED)


def shown_places(mounts: Sequence[tuple[str, str]], shared: Sequence[Path]) -> list[Path]:
    """Return the paths that must be bound in a node's root, parents first.

    These are the `shared` folders, system folders that are mounts or lie on one, and mounts in any
    of them. No other mount of the machine is accessed: a hanging server would block the node, and
    a disk that the node uses could not be unmounted.
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
    """Mount the node's own part of every cgroup hierarchy at the usual paths."""
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
