"""Connections to clouds, by the name of their entry in the mounted clouds.yaml."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.errors import CloudNotConfiguredError

# A mounted Secret changes by its symlink, which leads to another inode.
FileVersion: TypeAlias = tuple[int, int, int]
Connect: TypeAlias = Callable[[Path, str, CallLimiter], Cloud]


@dataclass(frozen=True)
class _Connection:
    file_version: FileVersion
    cloud: Cloud


class Clouds:
    """Thread-safe. A changed file leads to a new connection; calls in flight keep the old one."""

    def __init__(
        self, file: Path, connect: Connect, new_limiter: Callable[[str], CallLimiter]
    ) -> None:
        self._file = file
        self._connect = connect
        self._new_limiter = new_limiter
        self._lock = threading.Lock()
        self._limiters: dict[str, tuple[CallLimiter, threading.Lock]] = {}
        self._connections: dict[str, _Connection] = {}

    def get(self, name: str) -> Cloud:
        """Return the cloud, logged in.

        Raises a CloudError; CloudNotConfiguredError if there is no file or no such entry.
        """
        version = self._file_version()
        limiter, connect_lock = self._limiter(name)
        with connect_lock:
            connection = self._connections.get(name)
            if connection is None or connection.file_version != version:
                connection = _Connection(version, self._connect(self._file, name, limiter))
                self._connections[name] = connection
            return connection.cloud

    def _file_version(self) -> FileVersion:
        try:
            found = self._file.stat()
        except OSError as error:
            raise CloudNotConfiguredError(
                f"{self._file}: {error.strerror}; put a clouds.yaml there (in the chart: a Secret)"
            ) from None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _limiter(self, name: str) -> tuple[CallLimiter, threading.Lock]:
        with self._lock:
            if name not in self._limiters:
                self._limiters[name] = self._new_limiter(name), threading.Lock()
            return self._limiters[name]
