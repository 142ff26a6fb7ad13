"""Connections to clouds, by the name of their entry in the mounted clouds.yaml."""

import copy
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds_file import Account, CloudsFile, Entry
from openeni_operator.cloud.errors import CloudError

# Seconds between two log-ins that fail, unless the cloud asks for more.
MIN_PAUSE: Final = 2.0
MAX_PAUSE: Final = 60.0
_CHANGED: Final = " or what came after it"  # after the version of an entry that changed meanwhile

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


@dataclass(frozen=True)
class _Access:
    """The limiter of an entry, and the account that it is of."""

    account: Account
    limiter: CallLimiter


class Clouds:
    """Thread-safe. A changed entry leads to a new connection; calls in flight keep the old one.

    All who ask for a cloud share one log-in, and its failure: a thousand ENIs with a refused
    credential must not lock the account. Entries of one account share its limits (0056).
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
        self._connecting = defaultdict[str, threading.Lock](threading.Lock)  # by cloud
        self._accesses: dict[str, _Access] = {}  # by cloud
        self._accounts: dict[Account, CallLimiter] = {}
        self._connections: dict[str, _Connection | _Failure] = {}
        self._seen: dict[str, str] = {}  # cloud -> version at its first log-in, or last look

    def get(self, name: str) -> Cloud:
        """Return the cloud, logged in.

        Raises a CloudError; CloudNotConfiguredError if there is no file or no such entry.
        """
        with self._lock:
            connecting = self._connecting[name]
        with connecting:
            entry, known = self._file.entry(name), self._connections.get(name)
            self._seen.setdefault(name, entry.version)
            if known is None or known.version != entry.version:
                known = self._log_in(name, entry, 0.0)
            elif isinstance(known, _Failure) and self._clock() >= known.until:
                known = self._log_in(name, entry, known.pause)
        if isinstance(known, _Failure):
            raise self._error(known)
        return known.cloud

    def take_changes(self) -> set[str]:
        """Return the clouds in use whose entry was added, changed or removed since the last call.

        Whoever used one before may rest on what it was, also if somebody has logged in since.
        """
        now = {name: self._file.entry(name).version for name in dict(self._seen)}
        changed = {name for name, version in now.items() if version != self._seen[name]}
        self._seen |= now
        return changed

    def pause_of_reconciles(self, name: str) -> float:
        """Return the seconds for which no reconcile that calls this cloud should begin."""
        with self._lock:
            known = self._accesses.get(name)
        return known.limiter.pause_of_reconciles() if known else 0.0

    def throttle_ratios(self) -> dict[str, float]:
        """Return the part of each cloud's rate that is not used since the cloud has throttled."""
        with self._lock:
            limiters = {name: access.limiter for name, access in self._accesses.items()}
        return {name: limiter.throttle_ratio() for name, limiter in limiters.items()}

    def _error(self, failure: _Failure) -> CloudError:
        """Return the error for one caller: without others' tracebacks, and with the time left."""
        error = copy.copy(failure.error).with_traceback(None)
        error.retry_after = max(0.0, failure.until - self._clock())
        return error

    def _log_in(self, name: str, entry: Entry, last_pause: float) -> _Connection | _Failure:
        """Log in, and remember how it went; pauses between failures grow."""
        known: _Connection | _Failure
        limiter = self._limiter(name, entry.account)
        try:
            self._file.check_exists()
            known = _Connection(entry.version, self._connect(self._file.path, name, limiter))
        except CloudError as error:
            pause = max(MIN_PAUSE, error.retry_after, min(MAX_PAUSE, 2 * last_pause))
            known = _Failure(entry.version, error, self._clock() + pause, pause)
        else:
            if self._file.entry(name) != entry:  # which of them was read is not known
                known = _Connection(entry.version + _CHANGED, known.cloud)
        self._connections[name] = known
        return known

    def _limiter(self, name: str, account: Account) -> CallLimiter:
        """Return the entry's limiter: new credentials in the same place bring no new budget."""
        with self._lock:
            known = self._accesses.get(name)
            if known is not None and known.account == account:
                return known.limiter
            shared = self._accounts.get(account)
            if shared is None and known is not None and known.account.place == account.place:
                shared = known.limiter
            limiter = shared.for_entry(name) if shared else self._new_limiter(name)
            self._accesses[name] = _Access(account, limiter)
            self._accounts.setdefault(account, limiter)
            return limiter
