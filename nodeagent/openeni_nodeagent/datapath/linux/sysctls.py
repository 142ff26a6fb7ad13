"""Read and write the sysctls of a plan, in the network namespace of the calling thread.

By descriptor: pathlib takes three times as long.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from openeni_nodeagent.datapath.describe import text
from openeni_nodeagent.datapath.model import State, Sysctl
from openeni_nodeagent.datapath_api import KernelRefusedError

_SYSCTLS: Final = "/proc/sys/"
# In a container without `privileged` /proc/sys is read-only. The chart mounts the host's
# /proc/sys/net here; what is below depends on the namespace of the thread that opens it
# (fs/proc/proc_sysctl.c: sysctl_follow_link), so it is a pod's in a thread that has entered it.
HOST_SYSCTLS: Final = "/host/proc/sys/"
_WRITABLE: Final = HOST_SYSCTLS if Path(HOST_SYSCTLS, "net").is_dir() else _SYSCTLS
_SYSCTL_BYTES: Final = 256


def speaks_ipv6() -> bool:
    """Return False on a kernel without IPv6: built so, or booted with ipv6.disable=1."""
    return Path(_SYSCTLS, "net/ipv6").exists()


def observe_sysctls(wanted: State) -> frozenset[Sysctl]:
    """Return the current values of the sysctls that `wanted` names.

    Where there is no IPv6, and none of its sysctls, they count as set.
    """
    return frozenset(Sysctl(item.path, _read(item)) for item in wanted if isinstance(item, Sysctl))


def write_sysctls(wanted: Iterable[Sysctl]) -> None:
    """Write those that differ. Raises KernelRefusedError."""
    for item in wanted:
        try:
            _set(item)
        except OSError as error:
            raise KernelRefusedError(f"{text(item)}: {error.strerror}") from error


def _set(item: Sysctl) -> None:
    try:
        descriptor = os.open(_WRITABLE + item.path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        if _read(item) == item.value:
            return
        raise
    try:
        if _value(descriptor) != item.value:
            os.pwrite(descriptor, item.value.encode(), 0)
    finally:
        os.close(descriptor)


def _read(item: Sysctl) -> str:
    try:
        descriptor = os.open(_SYSCTLS + item.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return item.value if _needs_no_ipv6(item.path) else ""
    try:
        return _value(descriptor)
    finally:
        os.close(descriptor)


def _value(descriptor: int) -> str:
    """Return the value, "" if there is none: its link is gone, or nobody has written it yet."""
    try:
        return os.pread(descriptor, _SYSCTL_BYTES, 0).decode().strip()
    except OSError:
        return ""


def _needs_no_ipv6(path: str) -> bool:
    """Return True for a sysctl of IPv6 of a kernel without, or of a link that is too small for it.

    The kernel removes IPv6 from a link whose MTU becomes less than 1,280 (addrconf_notify).
    """
    if not path.startswith("net/ipv6/"):
        return False
    return not speaks_ipv6() or Path(_SYSCTLS, path.replace("ipv6", "ipv4", 1)).parent.exists()
