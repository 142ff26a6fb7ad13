"""Keep the node's own network programs off an ENI, before it is attached.

They would give a hot-plugged NIC a DHCP lease (any of the pods' addresses), a default route, or
delete our rules and routes. The NIC is named by its MAC, known from the port; what is not on this
node has no folder here and is passed over. Files stand under /run: a reboot forgets them, and the
agent writes them again before the NIC matters. Lookups: NetworkManager.conf(5) keyfile
unmanaged-devices, systemd.network(5) Unmanaged=, systemd PR 29782 (ID_NET_MANAGED_BY).
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_log: Final = logging.getLogger(__name__)


class GuardError(Exception):
    """A guard could not be written; the text names the file and why."""


@dataclass(frozen=True)
class Guard:
    """One program's way to be told: a file for each MAC, and whether it must be told to read it."""

    folder: Path
    prefix: str
    suffix: str
    text: str  # with {mac}
    service: str = ""  # "": it looks by itself

    def file(self, mac: str) -> Path:
        return self.folder / f"{self.prefix}{mac.replace(':', '')}{self.suffix}"


def guards(networkmanager: Path, networkd: Path, udev: Path) -> tuple[Guard, ...]:
    """The programs that are known to take a NIC over, with their folders on this node."""
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


class NicGuards:
    """Writes and removes the guards. `reload(service)` raises GuardError; absent is no error."""

    def __init__(self, known: Iterable[Guard], reload: Callable[[str], None]) -> None:
        self._guards = tuple(known)
        self._reload = reload

    def prepare(self, mac: str) -> None:
        """Idempotent: nothing is written or reloaded where nothing differs. Raises GuardError."""
        for guard in self._guards:
            if guard.folder.is_dir() and _write(guard.file(mac), guard.text.format(mac=mac)):
                self._tell(guard)

    def forget(self, mac: str) -> None:
        """Take an ENI's guards away when it is gone. Raises GuardError."""
        for guard in self._guards:
            if _remove(guard.file(mac)):
                self._tell(guard)

    def sweep(self, keep: Iterable[str]) -> None:
        """Take away the guards of MACs that no ENI of this node has. Raises GuardError."""
        kept = tuple(keep)
        for guard in self._guards:
            wanted = {guard.file(mac) for mac in kept}
            found = guard.folder.glob(f"{guard.prefix}*{guard.suffix}")
            removed = [_remove(file) for file in found if file not in wanted]
            if any(removed):
                self._tell(guard)

    def _tell(self, guard: Guard) -> None:
        if guard.service:
            self._reload(guard.service)


def _write(file: Path, text: str) -> bool:
    fresh = file.with_name(f".{file.name}.new")
    try:
        if file.is_file() and file.read_text() == text:
            return False
        fresh.write_text(text)
        fresh.chmod(0o644)  # networkd does not run as root
        fresh.replace(file)
    except OSError as error:
        raise GuardError(f"{file} cannot be written: {error.strerror}") from None
    return True


def _remove(file: Path) -> bool:
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise GuardError(f"{file} cannot be removed: {error.strerror}") from None
    return True
