"""Clouds by the name of their entry in the mounted clouds.yaml, made anew when the file changes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.calls import Door
from openeni_operator.cloud.errors import NotConfiguredError

Version: TypeAlias = tuple[int, int, int]  # a mounted Secret changes by a symlink: another inode
Connect: TypeAlias = Callable[[Path, str, Door], Cloud]


@dataclass(frozen=True)
class _Open:
    version: Version
    cloud: Cloud


class Clouds:
    """Safe for threads. An old connection serves the calls that still hold it."""

    def __init__(self, file: Path, connect: Connect, door: Callable[[str], Door]) -> None:
        self._file = file
        self._connect = connect
        self._make_door = door
        self._lock = threading.Lock()
        self._doors: dict[str, tuple[Door, threading.Lock]] = {}
        self._open: dict[str, _Open] = {}

    def get(self, name: str) -> Cloud:
        """Return the cloud, logged in.

        Raises a CloudError; NotConfiguredError as long as there is no file or no such entry.
        """
        version = self._version()
        door, connecting = self._door(name)
        with connecting:
            known = self._open.get(name)
            if known is None or known.version != version:
                known = _Open(version, self._connect(self._file, name, door))
                self._open[name] = known
            return known.cloud

    def _version(self) -> Version:
        try:
            found = self._file.stat()
        except OSError as error:
            raise NotConfiguredError(
                f"{self._file}: {error.strerror}; put a clouds.yaml there (in the chart: a Secret)"
            ) from None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _door(self, name: str) -> tuple[Door, threading.Lock]:
        with self._lock:
            if name not in self._doors:
                self._doors[name] = self._make_door(name), threading.Lock()
            return self._doors[name]
