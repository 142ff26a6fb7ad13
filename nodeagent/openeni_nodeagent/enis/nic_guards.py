"""Keep the node's own network programs off an ENI, before it is attached.

They would request a DHCP lease for a hot-plugged NIC (any of the pods' addresses), add a default
route, or delete our rules and routes. A guard is a configuration file that names the NIC by its
MAC, which is known from the port. A program without a folder on this node is skipped. The files are
under /run: a reboot removes them, and the agent writes them again before the NIC matters. Sources:
NetworkManager.conf(5) keyfile unmanaged-devices, systemd.network(5) Unmanaged=, systemd PR 29782
(ID_NET_MANAGED_BY).
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_nodeagent.files import write_atomically

_log: Final = logging.getLogger(__name__)


class GuardError(Exception):
    """A guard could not be written; the text names the file and why."""


@dataclass(frozen=True)
class Guard:
    """A way to keep one program off a MAC: a file in its folder, and a reload if it needs one."""

    folder: Path
    prefix: str
    suffix: str
    text: str  # a format string with {mac}
    service: str = ""  # to be reloaded; "" if the program notices the file by itself

    def file(self, mac: str) -> Path:
        return self.folder / f"{self.prefix}{mac.replace(':', '')}{self.suffix}"


def known_guards(networkmanager: Path, networkd: Path, udev: Path) -> tuple[Guard, ...]:
    """Return the guards against udev, NetworkManager and networkd in these folders."""
    return (
        Guard(
            udev,
            "80-openeni-",
            ".rules",
            'SUBSYSTEM=="net", ATTR{{address}}=="{mac}", '
            'ENV{{NM_UNMANAGED}}="1", ENV{{ID_NET_MANAGED_BY}}="openeni"\n',
        ),
        Guard(
            networkmanager,
            "90-openeni-",
            ".conf",
            "[keyfile]\nunmanaged-devices+=mac:{mac}\n",
            "NetworkManager",
        ),
        Guard(
            networkd,
            "05-openeni-",
            ".network",
            "[Match]\nMACAddress={mac}\n\n[Link]\nUnmanaged=yes\n",
            "networkd",
        ),
    )


class NICGuards:
    """Writes and removes guards. `reload(service)` may raise GuardError."""

    def __init__(self, known: Iterable[Guard], reload: Callable[[str], None]) -> None:
        self._guards = tuple(known)
        self._reload = reload

    def prepare(self, mac: str) -> None:
        """Write the guards of a MAC that are missing or differ, and reload. Raises GuardError."""
        for guard in self._guards:
            if guard.folder.is_dir() and _write(guard.file(mac), guard.text.format(mac=mac)):
                self._reload_service(guard)

    def forget(self, mac: str) -> None:
        """Remove the guards of an ENI that is gone. Raises GuardError."""
        for guard in self._guards:
            if _remove(guard.file(mac)):
                self._reload_service(guard)

    def sweep(self, keep: Iterable[str]) -> None:
        """Remove the guards of MACs that no ENI of this node has. Raises GuardError."""
        kept = tuple(keep)
        for guard in self._guards:
            wanted = {guard.file(mac) for mac in kept}
            found = guard.folder.glob(f"{guard.prefix}*{guard.suffix}")
            removed = [_remove(file) for file in found if file not in wanted]
            if any(removed):
                self._reload_service(guard)

    def _reload_service(self, guard: Guard) -> None:
        if guard.service:
            self._reload(guard.service)


def _write(file: Path, text: str) -> bool:
    try:
        return write_atomically(file, text.encode(), 0o644)  # networkd does not run as root
    except OSError as error:
        raise GuardError(f"{file} cannot be written: {error.strerror}") from None


def _remove(file: Path) -> bool:
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise GuardError(f"{file} cannot be removed: {error.strerror}") from None
    return True
