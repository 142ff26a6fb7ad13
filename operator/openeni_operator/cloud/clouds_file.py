"""Tell which version of its entry in the mounted clouds.yaml each cloud has.

A version is a digest of all that leads to the cloud: the entry, the settings that all entries
share, and the certificates that it names. So an entry that stays the same keeps its connection,
whatever becomes of the others.
"""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from openeni_operator.cloud.errors import CloudNotConfiguredError
from openeni_operator.cloud.sdk_connection import read_config

NO_ENTRY: Final = ""  # the version of an entry that is not there
_CERTIFICATES: Final = ("cacert", "cert", "key")  # fields of an entry that name files

# A mounted Secret changes by its symlink, which leads to another inode.
_Stat: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class _Content:
    """What was read at a time. A file that is no clouds.yaml is one version of every entry."""

    stat: _Stat | None
    versions: Mapping[str, str]
    others: str = NO_ENTRY


class CloudsFile:
    """Thread-safe. The file is read again only when it may have changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._content = _Content(None, {})

    def version_of(self, name: str) -> str:
        """Return the version of an entry; NO_ENTRY if there is none, or no file."""
        with self._lock:
            stat = _stat(self.path)
            if stat != self._content.stat:
                self._content = _read(self.path, stat)
            return self._content.versions.get(name, self._content.others)

    def check_exists(self) -> None:
        """Raise CloudNotConfiguredError if there is no file."""
        try:
            self.path.stat()
        except OSError as error:
            raise CloudNotConfiguredError(
                f"{self.path}: {error.strerror}; put a clouds.yaml there (in the chart: a Secret)"
            ) from None


def _stat(path: Path) -> _Stat | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path, stat: _Stat | None) -> _Content:
    try:
        content = path.read_bytes()
    except OSError:
        return _Content(stat, {})
    try:
        config = read_config(path)
        shared = {key: value for key, value in config.items() if key != "clouds"}
        versions = {
            name: _digest((shared, entry, _certificates(entry)))
            for name, entry in config["clouds"].items()
        }
    except Exception:  # noqa: BLE001 a malformed file makes the parser raise anything
        return _Content(stat, {}, hashlib.sha256(content).hexdigest())
    return _Content(stat, versions)


def _certificates(entry: Mapping[str, Any]) -> list[str]:
    """Return digests of the files that the entry names; "" for one that cannot be read."""
    found: list[str] = []
    for field in _CERTIFICATES:
        try:
            content = Path(entry[field]).read_bytes() if entry.get(field) else b""
        except OSError:
            content = b""
        found.append(hashlib.sha256(content).hexdigest() if content else "")
    return found


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
