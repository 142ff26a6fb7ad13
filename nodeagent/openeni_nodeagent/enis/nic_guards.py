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
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from openeni_crds.names import LINK_PREFIX
from openeni_nodeagent.files import MountedFolders, write_atomically

_WHOLE_SECONDS: Final = 10.0  # for which folders that were not moved are believed to be there
READ_BY: Final = "read-by-"  # begins the name of a file in `run`, before the program's
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


@dataclass
class _Program:
    """Holds what a program that is to be reloaded knows of its guards."""

    folder: Path
    changes: int = 0  # of its guards that it may not know: before the agent has started 1 at most
    read: int = 0  # those of them that it has been reloaded after
    problem: str = ""  # why its last reload failed; "" if it did not


class NICGuards:
    """Writes and removes guards, and has the programs read them.

    Files are written at once. A program may take long to answer, or not answer at all: its reload
    is a step of its own, one for all guards that have changed, so that no ENI waits for it.
    `reload(service)` may raise GuardError. What each has read is noted in the folder `run`, for the
    process that comes after this one.
    """

    def __init__(
        self, known: Iterable[Guard], reload: Callable[[str], None], run: Path | None = None
    ) -> None:
        self._guards = tuple(known)
        self._run = run
        self._folders = MountedFolders(guard.folder for guard in self._guards)
        self._whole_until = 0.0  # the time until which they are believed to be in their places
        self._reload = reload
        self._lock = threading.Lock()
        self._programs = {
            guard.service: _Program(guard.folder, changes=int(not self._has_read(guard)))
            for guard in self._guards
            if guard.service
        }
        self._on_change: Callable[[], None] = lambda: None

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Have it called when `reload` is to be: guards of a program have changed."""
        self._on_change = on_change
        if self._outdated():
            on_change()

    def prepare(self, mac: str) -> bool:
        """Write the guards of a MAC that are missing or differ.

        Return whether all programs have read the guards as they are. Raises GuardError if one
        cannot, also for a folder that the programs of the node no longer read; the guards that can
        be written are. Any thread may call it.
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
            _take(self._require_folders, *writes)
            outdated = [self._programs[service] for service in self._outdated()]
            for program in outdated:
                if program.problem:
                    raise GuardError(program.problem)
            return not outdated

    def sweep(self, used: Callable[[], Collection[str]]) -> None:
        """Remove the guards of MACs that no ENI of this node has. Raises GuardError.

        `used` returns the MACs of its ENIs, those that `prepare` has been called for among them;
        it is called while no guard is written. Without any, the node's files go, too. Any thread
        may call it.
        """
        with self._lock:
            macs = used()
            removals = (
                partial(self._remove_guard, guard, file)
                for guard in self._guards
                for file in guard.surplus(macs)
            )
            _take(*removals)

    def reload(self) -> bool:
        """Have the programs read guards that have changed; return whether any had to.

        Raises GuardError. One thread calls it.
        """
        with self._lock:  # all that is being written is read at once
            outdated = self._outdated()
        _take(*(partial(self._reload_one, *each) for each in outdated.items()))
        return bool(outdated)

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
            self._programs[guard.service].changes += 1
            self._on_change()

    def _outdated(self) -> dict[str, int]:
        """Return the programs that have not read their guards as they are, with their changes."""
        programs = self._programs.items()
        return {name: known.changes for name, known in programs if known.changes > known.read}

    def _reload_one(self, service: str, changes: int) -> None:
        program = self._programs[service]
        found = _version(program.folder)
        try:
            self._reload(service)
        except GuardError as error:
            program.problem = str(error)
            raise
        program.problem, program.read = "", changes
        if self._run:
            with suppress(OSError):  # then the next process has it reloaded once more
                write_atomically(self._run / f"{READ_BY}{service}", found, 0o600)

    def _has_read(self, guard: Guard) -> bool:
        """Return True if the process before this one has had the program read the folder."""
        if self._run is None:
            return True
        try:
            return (self._run / f"{READ_BY}{guard.service}").read_bytes() == _version(guard.folder)
        except OSError:
            return False


def _version(folder: Path) -> bytes:
    """Return what changes with each file that is written or removed; empty without a folder."""
    try:
        return str(folder.stat().st_mtime_ns).encode()
    except OSError:
        return b""


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
