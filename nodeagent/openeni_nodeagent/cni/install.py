"""Install the CNI executable and its configuration on the host, and remove them.

The configuration comes after the executable, because a runtime that sees it starts pods. It is also
removed last: as long as it is there, an agent whose removal failed or was cut off tries again. No
pod needs the executable by then. Each is replaced in one step when it differs, so that an upgrade
or a rollback of the agent includes it. A pod that is being started keeps the inode of the old
executable.
"""

import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from openeni_crds.names import CNI_NAME
from openeni_nodeagent.cni.configuration import CONFLIST, is_other
from openeni_nodeagent.cni.conflist import conflist
from openeni_nodeagent.files import MountedFolders, write_atomically
from openeni_nodeagent.settings import Settings

_log: Final = logging.getLogger(__name__)


class InstallError(Exception):
    """A file could not be installed or removed on the host; the text has its path and the cause."""


@dataclass(frozen=True)
class HostFiles:
    """The files that openeni puts on the host for the container runtime."""

    source: Path  # of the executable, in the image
    bin_folder: Path
    conf_folder: Path
    marker: Path  # it exists once this node could serve a pod since it booted

    def __post_init__(self) -> None:
        _ = self._folders  # as the container has been started with

    @classmethod
    def of(cls, settings: Settings) -> "HostFiles":
        return cls(settings.executable, settings.bin_folder, settings.conf_folder, settings.served)

    @property
    def executable(self) -> Path:
        return self.bin_folder / CNI_NAME

    def installed(self) -> bool:
        """Return whether openeni's configuration is there."""
        return (self.conf_folder / CONFLIST).exists()

    def others(self) -> tuple[str, ...]:
        """Return the names of other CNI plugins' configurations, sorted. Raises InstallError."""
        try:
            return tuple(
                sorted(path.name for path in self.conf_folder.iterdir() if _is_other(path))
            )
        except OSError as error:
            raise InstallError(f"{self.conf_folder} cannot be read: {error.strerror}") from None

    def upgrade(self) -> None:
        """Replace an older executable; one that cannot be replaced is left to `install`.

        It may serve pods as well, which must not wait for somebody who makes room on a disk.
        Raises InstallError if the image has none.
        """
        content = self._content
        try:
            if os.path.lexists(self.executable):
                _write(self.executable, content, 0o755)
        except InstallError as error:
            _log.error("the executable that is there is used for now: %s", error)

    def install(self) -> bool:
        """Install executable and configuration; return True if that changed the latter.

        Plugins that an administrator has added to the configuration stay. Raises InstallError.
        """
        self._require_usable_folders()
        _write(self.executable, self._content, 0o755)
        path = self.conf_folder / CONFLIST
        wanted = conflist(_read(path))
        if wanted.problem:
            _log.warning("%s is replaced; nothing of it could be kept: %s", path, wanted.problem)
        return _write(path, wanted.content, 0o644)

    def mark(self) -> None:
        """Write the marker: from now on STATUS succeeds. Raises InstallError."""
        _write(self.marker, b"", 0o600)

    def remove(self) -> None:
        """Remove these files; one that is gone already is no error. Raises InstallError."""
        for path in (self.executable, self.marker, self.conf_folder / CONFLIST):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise InstallError(f"{path} cannot be removed: {error.strerror}") from None

    def _require_usable_folders(self) -> None:
        """Raise InstallError if the runtime would not find what is installed, or cannot run it."""
        if problem := self._folders.problem():
            raise InstallError(problem)
        if _is_noexec(self.bin_folder):
            raise InstallError(
                f"nothing in {self.bin_folder} can be executed: it is mounted noexec; remount it "
                "with exec and delete the agent's pod, or see the chart's agent.cniBinDir"
            )

    @cached_property
    def _folders(self) -> MountedFolders:
        """With the agent's own, in which the executable finds its socket and queue."""
        return MountedFolders((self.bin_folder, self.conf_folder, self.marker.parent))

    @cached_property
    def _content(self) -> bytes:
        """The image's executable, which does not change while the agent runs."""
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise InstallError(
                f"no CNI executable at {self.source} ({error.strerror}); "
                "build it: python -m openeni_nodeagent.cni.build, and set OPENENI_CNI_EXECUTABLE"
            ) from None


def _is_noexec(folder: Path) -> bool:
    """Return whether it was mounted noexec on the node when the container started."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)
    except OSError:  # nor can it be written
        return False


def _read(path: Path) -> bytes | None:
    """Return the file's content, None if there is no such file. Raises InstallError."""
    try:
        return path.read_bytes() if path.is_file() else None  # to open a FIFO may take for ever
    except FileNotFoundError:
        return None  # it went meanwhile
    except OSError as error:
        raise InstallError(f"{path} cannot be read: {error.strerror}") from None


def _is_other(path: Path) -> bool:
    """Return whether a runtime would take it for another plugin's configuration, or stop at it.

    libcni's loader passes over folders alone (ConfFiles), not over links to them or to nothing, and
    containerd gives up there. What a link out of the folder leads to is not seen from here: the
    agent has a mount of that folder, and nothing of the others.
    """
    if path.is_dir() and not path.is_symlink():
        return False
    try:
        if path.is_symlink() and not path.exists() and _leads_out(path.readlink()):
            return False
        content = path.read_bytes() if path.is_file() else b""
    except OSError:
        content = b""
    return is_other(path.name, content) and os.path.lexists(path)  # it may have gone meanwhile


def _leads_out(target: Path) -> bool:
    return target.is_absolute() or ".." in target.parts


def _write(target: Path, content: bytes, mode: int) -> bool:
    try:
        return write_atomically(target, content, mode)
    except PermissionError as error:  # root without CAP_DAC_OVERRIDE
        raise InstallError(
            f"{target} cannot be written: {error.strerror}: give {target.parent} to root"
        ) from None
    except OSError as error:
        raise InstallError(f"{target} cannot be written: {error.strerror}") from None
