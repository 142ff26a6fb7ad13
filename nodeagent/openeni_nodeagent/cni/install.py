"""Install the CNI executable and its configuration on the host, and remove them.

The configuration comes after the executable and goes before it: a runtime that sees it starts pods.
Each is replaced in one step when it differs, so that an upgrade or a rollback of the agent includes
it. A pod that is being started keeps the inode of the old executable.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from openeni_crds.names import CNI_NAME
from openeni_nodeagent.cni.configuration import CONFLIST, is_other
from openeni_nodeagent.cni.protocol import VERSIONS
from openeni_nodeagent.files import write_atomically


class InstallError(Exception):
    """A file could not be installed or removed on the host; the text has its path and the cause."""


@dataclass(frozen=True)
class HostFiles:
    """The files that openeni puts on the host for the container runtime."""

    source: Path  # of the executable, in the image
    bin_folder: Path
    conf_folder: Path
    marker: Path  # it exists once this node could serve a pod since it booted

    @property
    def executable(self) -> Path:
        return self.bin_folder / CNI_NAME

    def installed(self) -> bool:
        """Return whether openeni's configuration is there."""
        return (self.conf_folder / CONFLIST).exists()

    def others(self) -> tuple[str, ...]:
        """Return the names of other CNI plugins' configurations, sorted. Raises InstallError."""
        try:
            files = [path for path in self.conf_folder.iterdir() if path.is_file()]
            return tuple(sorted(path.name for path in files if _is_other(path)))
        except OSError as error:
            raise InstallError(f"{self.conf_folder} cannot be read: {error.strerror}") from None

    def upgrade(self) -> None:
        """Replace an older executable. Raises InstallError, also if the image has none."""
        content = self._content
        if self.executable.exists():
            _write(self.executable, content, 0o755)

    def install(self) -> bool:
        """Install executable and configuration; return True if that changed the latter.

        Raises InstallError.
        """
        _write(self.executable, self._content, 0o755)
        return _write(self.conf_folder / CONFLIST, conflist(), 0o644)

    def mark(self) -> None:
        """Write the marker: from now on STATUS succeeds. Raises InstallError."""
        _write(self.marker, b"", 0o600)

    def remove(self) -> None:
        """Remove these files; one that is gone already is no error. Raises InstallError.

        The configuration goes last: as long as it is there, whoever failed here tries again.
        """
        for path in (self.executable, self.marker, self.conf_folder / CONFLIST):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise InstallError(f"{path} cannot be removed: {error.strerror}") from None

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


def conflist() -> bytes:
    """Return the network configuration list.

    libcni 1.2 and newer read `cniVersions` and use the highest version that both know. Older ones
    read `cniVersion` alone and would refuse 1.1.0.
    """
    body: dict[str, object] = {
        "cniVersion": "1.0.0",
        "cniVersions": VERSIONS,
        "name": CNI_NAME,
        "plugins": [{"type": CNI_NAME}],
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def _is_other(path: Path) -> bool:
    try:
        return is_other(path.name, path.read_bytes())
    except FileNotFoundError:
        return False  # it went meanwhile


def _write(target: Path, content: bytes, mode: int) -> bool:
    try:
        return write_atomically(target, content, mode)
    except OSError as error:
        raise InstallError(f"{target} cannot be written: {error.strerror}") from None
