"""Connections to clouds, by the name of their entry in the mounted clouds.yaml."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds_file import CloudsFile
from openeni_operator.cloud.errors import CloudError

MAX_PAUSE: Final = 60.0  # seconds between two log-ins that fail

Connect: TypeAlias = Callable[[Path, str, CallLimiter], Cloud]


@dataclass(frozen=True)
class _Connection:
    version: str  # of its entry
    cloud: Cloud


@dataclass(frozen=True)
class _Failure:
    """A log-in that failed; it is not tried again before `until`."""

    version: str  # of its entry
    error: CloudError
    until: float
    pause: float  # seconds


class Clouds:
    """Thread-safe. A changed entry leads to a new connection; calls in flight keep the old one.

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
        self._file = CloudsFile(file)
        self._connect = connect
        self._new_limiter = new_limiter
        self._clock = clock
        self._lock = threading.Lock()
        self._limiters: dict[str, tuple[CallLimiter, threading.Lock]] = {}
        self._connections: dict[str, _Connection | _Failure] = {}
        self._seen: dict[str, str] = {}  # cloud -> version at its first log-in, or last look

    def get(self, name: str) -> Cloud:
        """Return the cloud, logged in.

        Raises a CloudError; CloudNotConfiguredError if there is no file or no such entry.
        """
        limiter, connect_lock = self._limiter(name)
        with connect_lock:
            version, known = self._file.version_of(name), self._connections.get(name)
            self._seen.setdefault(name, version)
            if known is None or known.version != version:
                known = self._log_in(name, version, limiter, 0.0)
            elif isinstance(known, _Failure) and self._clock() >= known.until:
                known = self._log_in(name, version, limiter, known.pause)
        if isinstance(known, _Failure):
            raise known.error.with_traceback(None)  # it would collect one of each thread
        return known.cloud

    def take_changes(self) -> set[str]:
        """Return the clouds in use whose entry was added, changed or removed since the last call.

        Whoever used one before may rest on what it was, also if somebody has logged in since.
        """
        now = {name: self._file.version_of(name) for name in dict(self._seen)}
        changed = {name for name, version in now.items() if version != self._seen[name]}
        self._seen |= now
        return changed

    def pause_of_reconciles(self, name: str) -> float:
        """Return the seconds for which no reconcile that calls this cloud should begin."""
        with self._lock:
            known = self._limiters.get(name)
        return known[0].pause_of_reconciles() if known else 0.0

    def throttle_ratios(self) -> dict[str, float]:
        """Return the part of each cloud's rate that is not used since the cloud has throttled."""
        with self._lock:
            limiters = {name: limiter for name, (limiter, _) in self._limiters.items()}
        return {name: limiter.throttle_ratio() for name, limiter in limiters.items()}

    def _log_in(
        self, name: str, version: str, limiter: CallLimiter, last_pause: float
    ) -> _Connection | _Failure:
        """Log in, and remember how it went; pauses between failures grow."""
        known: _Connection | _Failure
        try:
            self._file.check_exists()
            known = _Connection(version, self._connect(self._file.path, name, limiter))
        except CloudError as error:
            pause = min(MAX_PAUSE, max(error.retry_after, 2 * last_pause))
            known = _Failure(version, error, self._clock() + pause, pause)
        self._connections[name] = known
        return known

    def _limiter(self, name: str) -> tuple[CallLimiter, threading.Lock]:
        with self._lock:
            if name not in self._limiters:
                self._limiters[name] = self._new_limiter(name), threading.Lock()
            return self._limiters[name]
