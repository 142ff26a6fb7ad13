"""Connections to clouds, by the name of their entry in the mounted clouds.yaml."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.errors import CloudError, CloudNotConfiguredError

MAX_PAUSE: Final = 60.0  # seconds between two log-ins that fail

# A mounted Secret changes by its symlink, which leads to another inode.
FileVersion: TypeAlias = tuple[int, int, int]
Connect: TypeAlias = Callable[[Path, str, CallLimiter], Cloud]


@dataclass(frozen=True)
class _Connection:
    file_version: FileVersion
    cloud: Cloud


@dataclass(frozen=True)
class _Failure:
    """A log-in that failed; it is not tried again before `until`."""

    file_version: FileVersion
    error: CloudError
    until: float
    pause: float  # seconds


class Clouds:
    """Thread-safe. A changed file leads to a new connection; calls in flight keep the old one.

    All who ask for a cloud share one log-in, and its failure: a thousand ENIs with a refused
    credential must not lock the account.
    """

    def __init__(
        self,
        file: Path,
        connect: Connect,
        new_limiter: Callable[[str], CallLimiter],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._connect = connect
        self._new_limiter = new_limiter
        self._clock = clock
        self._lock = threading.Lock()
        self._limiters: dict[str, tuple[CallLimiter, threading.Lock]] = {}
        self._connections: dict[str, _Connection | _Failure] = {}

    def get(self, name: str) -> Cloud:
        """Return the cloud, logged in.

        Raises a CloudError; CloudNotConfiguredError if there is no file or no such entry.
        """
        version = self._file_version()
        limiter, connect_lock = self._limiter(name)
        with connect_lock:
            known = self._connections.get(name)
            if known is None or known.file_version != version:
                known = self._log_in(name, version, limiter, 0.0)
            elif isinstance(known, _Failure) and self._clock() >= known.until:
                known = self._log_in(name, version, limiter, known.pause)
        if isinstance(known, _Failure):
            raise known.error.with_traceback(None)  # it would collect one of each thread
        return known.cloud

    def _log_in(
        self, name: str, version: FileVersion, limiter: CallLimiter, last_pause: float
    ) -> _Connection | _Failure:
        """Log in, and remember how it went; pauses between failures grow."""
        known: _Connection | _Failure
        try:
            known = _Connection(version, self._connect(self._file, name, limiter))
        except CloudError as error:
            pause = min(MAX_PAUSE, max(error.retry_after, 2 * last_pause))
            known = _Failure(version, error, self._clock() + pause, pause)
        self._connections[name] = known
        return known

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
