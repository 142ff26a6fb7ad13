"""Read and write the sysctls of a plan, in the network namespace of the calling thread.

By descriptor: pathlib takes three times as long.

Those of pods are reached by mounts of /proc that the agent alone has (`PodSysctls`). A mount keeps
what was found below net/, for each network namespace under the same names, and a look-up goes
through all of these (fs/proc/proc_sysctl.c: proc_sys_compare): with 250 pods it took ten times as
long, in the node's own namespace as well.
"""

import ctypes
import logging
import os
import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_nodeagent.datapath.describe import text
from openeni_nodeagent.datapath.model import State, Sysctl
from openeni_nodeagent.datapath_api import KernelRefusedError

LOG: Final = logging.getLogger(__name__)
_SYSCTLS: Final = "/proc/sys/"
# In a container without `privileged` /proc/sys is read-only. The chart mounts the host's
# /proc/sys/net here; what is below depends on the namespace of the thread that opens it
# (fs/proc/proc_sysctl.c: sysctl_follow_link), so it is a pod's in a thread that has entered it.
HOST_SYSCTLS: Final = "/host/proc/sys/"
_WRITABLE: Final = HOST_SYSCTLS if Path(HOST_SYSCTLS, "net").is_dir() else _SYSCTLS
_SYSCTL_BYTES: Final = 256
USES_OF_A_MOUNT: Final = 16  # each may leave a namespace's entries in it
_ANY: Final = "sys/net/ipv4/ip_forward"  # of a mount; there on every kernel
# A kernel without IPv6 has no such file. Unlike /proc/sys, this leaves nothing of a pod behind.
_IPV6: Final = "/proc/thread-self/net/if_inet6"
# asm-generic/unistd.h, linux/mount.h
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC: Final = 1  # FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_FSCONFIG_CMD_CREATE: Final = 6
_NOSUID_NODEV_NOEXEC: Final = 0xE  # MOUNT_ATTR_*
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class _Folder:
    """Holds where sysctls are read and written."""

    readable: str
    writable: str
    descriptor: int | None = None  # of the folder that both are below


_OF_NODE: Final = _Folder(_SYSCTLS, _WRITABLE)


class PodSysctls:
    """Has the mounts by which the sysctls of pods are reached. Any thread may call `folder`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder = _OF_NODE
        self._uses_left = 0
        self._is_denied = False

    def folder(self) -> _Folder:
        """Return the folder with the sysctls of a namespace that is entered, for one use."""
        with self._lock:
            if not self._uses_left:
                self._folder, self._uses_left = self._mounted(), USES_OF_A_MOUNT
            self._uses_left -= 1
            return self._folder

    def _mounted(self) -> _Folder:
        """Return a new mount, which ends with its last user; where that is denied, the node's."""
        try:
            descriptor = mount_proc()
        except OSError as error:
            if not self._is_denied:
                LOG.info(
                    "ADDs take longer with many pods: a mount of /proc is denied: %s",
                    error.strerror,
                )
            self._is_denied = True
            return _OF_NODE
        folder = _Folder("sys/", "sys/", descriptor)
        weakref.finalize(folder, os.close, descriptor)
        return folder


_PODS: Final = PodSysctls()


def speaks_ipv6() -> bool:
    """Return False on a kernel without IPv6: built so, or booted with ipv6.disable=1."""
    return Path(_IPV6).exists()


def observe_sysctls(wanted: State) -> frozenset[Sysctl]:
    """Return the current values of the sysctls that `wanted` names.

    Where there is no IPv6, and none of its sysctls, they count as set.
    """
    return _observed(wanted, _OF_NODE)


def observe_pod_sysctls(wanted: State) -> frozenset[Sysctl]:
    """Return the same in a pod's network namespace."""
    return _observed(wanted, _PODS.folder())


def write_sysctls(wanted: Iterable[Sysctl]) -> None:
    """Write those that differ. Raises KernelRefusedError."""
    _write(wanted, _OF_NODE)


def write_pod_sysctls(wanted: Sequence[Sysctl]) -> None:
    """Write those that differ in a pod's network namespace. Raises KernelRefusedError."""
    if wanted:
        _write(wanted, _PODS.folder())


def _observed(wanted: State, folder: _Folder) -> frozenset[Sysctl]:
    found = (item for item in wanted if isinstance(item, Sysctl))
    return frozenset(Sysctl(item.path, _read(item, folder)) for item in found)


def _write(wanted: Iterable[Sysctl], folder: _Folder) -> None:
    for item in wanted:
        try:
            _set(item, folder)
        except OSError as error:
            raise KernelRefusedError(f"{text(item)}: {error.strerror}") from error


def _set(item: Sysctl, folder: _Folder) -> None:
    try:
        descriptor = _open(folder.writable + item.path, os.O_RDWR, folder)
    except OSError:
        if _read(item, folder) == item.value:
            return
        raise
    try:
        if _value(descriptor) != item.value:
            os.pwrite(descriptor, item.value.encode(), 0)
    finally:
        os.close(descriptor)


def _read(item: Sysctl, folder: _Folder) -> str:
    try:
        descriptor = _open(folder.readable + item.path, os.O_RDONLY, folder)
    except OSError:
        return item.value if _needs_no_ipv6(item.path, folder) else ""
    try:
        return _value(descriptor)
    finally:
        os.close(descriptor)


def _open(path: str, flags: int, folder: _Folder) -> int:
    return os.open(path, flags | os.O_CLOEXEC, dir_fd=folder.descriptor)


def _value(descriptor: int) -> str:
    """Return the value, "" if there is none: its link is gone, or nobody has written it yet."""
    try:
        return os.pread(descriptor, _SYSCTL_BYTES, 0).decode().strip()
    except OSError:
        return ""


def _needs_no_ipv6(path: str, folder: _Folder) -> bool:
    """Return True for a sysctl of IPv6 of a kernel without, or of a link that is too small for it.

    The kernel removes IPv6 from a link whose MTU becomes less than 1,280 (addrconf_notify).
    """
    if not path.startswith("net/ipv6/"):
        return False
    if not speaks_ipv6():
        return True
    of_ipv4 = Path(folder.readable, path.replace("ipv6", "ipv4", 1)).parent
    try:
        os.close(_open(str(of_ipv4), os.O_PATH, folder))
    except OSError:
        return False
    return True


def mount_proc() -> int:
    """Return the descriptor of a new mount of /proc, which is nowhere in the file system.

    Raises OSError, also if its sysctls cannot be written: a profile of AppArmor may let a container
    mount it, and then takes what is below for files of /sys (attach_disconnected).
    """
    context = _call(_FSOPEN, b"proc", _CLOEXEC)
    try:
        _call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        mount = _call(_FSMOUNT, context, _CLOEXEC, _NOSUID_NODEV_NOEXEC)
    finally:
        os.close(context)
    try:
        os.close(os.open(_ANY, os.O_RDWR | os.O_CLOEXEC, dir_fd=mount))
    except OSError:
        os.close(mount)
        raise
    return mount


def _call(number: int, *arguments: object) -> int:
    """Call the kernel. Raises OSError."""
    returned: int = _LIBC.syscall(number, *arguments)
    if returned < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return returned
