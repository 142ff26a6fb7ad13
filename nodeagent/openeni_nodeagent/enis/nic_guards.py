"""Keep the node's own network programs off ENIs, and off the links that the agent makes.

They would request a DHCP lease for a hot-plugged NIC (any of the pods' addresses), add a default
route, or delete our rules and routes. A guard is a configuration file in the folder of one program:
one for each NIC, by its MAC, which is known from the port before the NIC is attached, and one for
the node, as long as it has an ENI. A folder that is not there is skipped. All folders are under
/run: a reboot removes the files, and the agent writes them again before the NIC matters.
docs/security.md says what each file does, and decision 0038 why it is enough.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from openeni_crds.names import LINK_PREFIX
from openeni_nodeagent.files import MountedFolders, write_atomically

_WHOLE_SECONDS: Final = 10.0  # for which folders that were not moved are believed to be there
_ORIGIN: Final = "# Written by openeni's agent, and removed by it with the node's last ENI.\n"
# systemd.network(5): the first file that matches a link, in the order of their names, is its own.
_UNMANAGED: Final = "[Link]\nUnmanaged=yes\n"
# udev(7). NetworkManager and, from systemd 255, networkd (PR 29782) leave a link with these alone.
_PROPERTIES: Final = 'ENV{NM_UNMANAGED}="1", ENV{ID_NET_MANAGED_BY}="openeni"'
# Programs that other rules run for a NIC, as cloud-init's hook for hot-plugged ones, ifupdown's and
# systemd-sysctl, are not run for ours. The list of them cannot be assigned empty; net_id changes
# nothing. The property survives until the event of the NIC's removal, when its MAC is unknown.
_NO_PROGRAMS: Final = (
    'SUBSYSTEM=="net", ENV{ID_NET_MANAGED_BY}=="openeni", RUN{builtin}:="net_id"\n'
)


class GuardError(Exception):
    """A guard could not be written; the text names the file and why."""


@dataclass(frozen=True)
class Guard:
    """A way to keep one program off links: files in its folder, and a reload if it needs one."""

    folder: Path
    stem: str  # of the files' names
    suffix: str
    node: str  # the text of the node's file
    nic: str = ""  # the text of each NIC's file, with <mac> for its MAC; "" if there is none
    service: str = ""  # to be reloaded; "" if the program notices the file, or has no way to

    @property
    def node_file(self) -> Path:
        return self.folder / f"{self.stem}{self.suffix}"

    def file(self, mac: str) -> Path:
        return self.folder / f"{self.stem}-{mac.replace(':', '')}{self.suffix}"

    def surplus(self, macs: Collection[str]) -> set[Path]:
        """Return the files that are not needed if a node has just the NICs of these MACs."""
        nics = set(self.folder.glob(f"{self.stem}-*{self.suffix}"))
        return nics - {self.file(mac) for mac in macs} | (set() if macs else {self.node_file})

    def texts(self, mac: str) -> dict[Path, str]:
        """Return the files that a NIC needs."""
        own = {self.file(mac): self.nic.replace("<mac>", mac)} if self.nic else {}
        return {self.node_file: self.node, **own}


def known_guards(
    networkmanager: Path, networkd: Path, networkd_conf: Path, udev: Path
) -> tuple[Guard, ...]:
    """Return the guards against udev, NetworkManager and networkd in these folders."""
    return (
        Guard(
            udev,
            "80-openeni",
            ".rules",
            f'{_ORIGIN}SUBSYSTEM=="net", KERNEL=="{LINK_PREFIX}*", {_PROPERTIES}\n{_NO_PROGRAMS}',
            # its name sorts before the node's, which then sees the property
            f'SUBSYSTEM=="net", ATTR{{address}}=="<mac>", {_PROPERTIES}\n',
        ),
        # Read when networkd starts, not when it is reloaded. By default networkd deletes rules and
        # routes that are not its own, whenever it starts or configures a link of its own.
        Guard(
            networkd_conf,
            "90-openeni",
            ".conf",
            f"{_ORIGIN}[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n",
        ),
        Guard(
            networkmanager,
            "90-openeni",
            ".conf",
            f"{_ORIGIN}[keyfile]\nunmanaged-devices+=interface-name:{LINK_PREFIX}*\n",
            "[keyfile]\nunmanaged-devices+=mac:<mac>\n",
            "NetworkManager",
        ),
        Guard(
            networkd,
            "05-openeni",
            ".network",
            f"{_ORIGIN}[Match]\nName={LINK_PREFIX}*\n\n{_UNMANAGED}",
            f"[Match]\nMACAddress=<mac>\n\n{_UNMANAGED}",
            "networkd",
        ),
    )


class NICGuards:
    """Writes and removes guards; any thread may call it. `reload(service)` may raise GuardError."""

    def __init__(self, known: Iterable[Guard], reload: Callable[[str], None]) -> None:
        self._guards = tuple(known)
        self._folders = MountedFolders(guard.folder for guard in self._guards)
        self._whole_until = 0.0  # the time until which they are believed to be in their places
        self._reload = reload
        self._lock = threading.Lock()
        self._outdated: set[str] = set()  # services that have not read the files as they are

    def prepare(self, mac: str) -> None:
        """Write the guards of a MAC that are missing or differ, and reload.

        Raises GuardError, also for a folder that the programs of the node no longer read; the
        guards that can be written are.
        """
        with self._lock:
            wanted = [
                (guard, file, text)
                for guard in self._guards
                if guard.folder.is_dir()
                for file, text in guard.texts(mac).items()
            ]
            if not all(file.exists() for _, file, _ in wanted):
                self._whole_until = 0.0  # a new ENI's NIC is attached after this
            writes = (partial(self._write_guard, *each) for each in wanted)
            _take(self._require_folders, *writes, self._reload_outdated)

    def sweep(self, used: Callable[[], Collection[str]]) -> None:
        """Remove the guards of MACs that no ENI of this node has. Raises GuardError.

        `used` returns the MACs of its ENIs, those that `prepare` has been called for among them;
        it is called while no guard is written. Without any, the node's files go, too.
        """
        with self._lock:
            macs = used()
            removals = (
                partial(self._remove_guard, guard, file)
                for guard in self._guards
                for file in guard.surplus(macs)
            )
            _take(*removals, self._reload_outdated)

    def _require_folders(self) -> None:
        """Raise GuardError if a folder was moved; ENIs that are looked at together share a look.

        The kernel takes milliseconds to list the mounts of a node with hundreds of pods.
        """
        if time.monotonic() < self._whole_until:
            return
        if problem := self._folders.problem():
            raise GuardError(problem)
        self._whole_until = time.monotonic() + _WHOLE_SECONDS

    def _write_guard(self, guard: Guard, file: Path, text: str) -> None:
        self._note(guard, changed=_write(file, text))

    def _remove_guard(self, guard: Guard, file: Path) -> None:
        self._note(guard, changed=_remove(file))

    def _note(self, guard: Guard, *, changed: bool) -> None:
        if changed and guard.service:
            self._outdated.add(guard.service)

    def _reload_outdated(self) -> None:
        _take(*(partial(self._reload_one, service) for service in sorted(self._outdated)))

    def _reload_one(self, service: str) -> None:
        self._reload(service)
        self._outdated.discard(service)


def _take(*steps: Callable[[], None]) -> None:
    """Take each step, whether others fail or not; then raise the first one's GuardError."""
    errors = list[GuardError]()
    for step in steps:
        try:
            step()
        except GuardError as error:
            errors.append(error)
    if errors:
        raise errors[0]


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
