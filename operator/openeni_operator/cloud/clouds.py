"""Connections to clouds, by the name of their entry in the mounted clouds.yaml."""

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds_file import Account, CloudsFile, Entry
from openeni_operator.cloud.errors import CloudError

MAX_PAUSE: Final = 60.0  # seconds between two log-ins that fail, unless the cloud asks for more

Connect: TypeAlias = Callable[[Path, str, CallLimiter], Cloud]


@dataclass(frozen=True)
class _Connection:
    version: str  # of its entry
    cloud: Cloud


@dataclass(frozen=True)
class _Failure:
    """A log-in that failed."""

    version: str  # of its entry
    error: CloudError
    at: float


@dataclass(frozen=True)
class _Pause:
    """How long these entries wait after a failed log-in before one of them tries again."""

    seconds: float
    begun: float
    entries: frozenset[str]

    def next_try(self, last: float) -> float:
        """Return when an entry that last tried at `last` may try.

        The pause is over then, and the other entries have had their turn. A longer pause is one
        that the cloud has asked for, of all entries: it lengthens no turn.
        """
        turn = min(self.seconds, MAX_PAUSE)
        return max(self.begun + self.seconds, last + turn * len(self.entries))


@dataclass(frozen=True)
class _Access:
    """The limiter and the log-in lock that an entry shares with the others of its account."""

    account: Account
    limiter: CallLimiter
    connecting: threading.Lock


class Clouds:
    """Thread-safe. A changed entry leads to a new connection; calls in flight keep the old one.

    All who ask for a cloud share one log-in, and its failure: a thousand ENIs with a refused
    credential must not lock the account. Entries with the same credentials share the pauses between
    log-ins that fail, those of one account its limits (0056).
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
        self._accesses: dict[str, _Access] = {}  # by cloud
        self._accounts: dict[Account, _Access] = {}  # of the entry that led there first
        self._connections: dict[str, _Connection | _Failure] = {}
        self._pauses: dict[str, _Pause] = {}  # by what Keystone refuses
        self._seen: dict[str, str] = {}  # cloud -> version at its first log-in, or last look

    def get(self, name: str) -> Cloud:
        """Return the cloud, logged in.

        Raises a CloudError; CloudNotConfiguredError if there is no file or no such entry.
        """
        entry = self._file.entry(name)
        self._seen.setdefault(name, entry.version)
        known = self._known(name, entry)
        if known is None:
            access = self._access(name, entry.account)
            with access.connecting:
                known = self._known(name, entry) or self._log_in(name, entry, access.limiter)
        if isinstance(known, _Failure):
            raise self._error(entry, known)
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

    def _known(self, name: str, entry: Entry) -> _Connection | _Failure | None:
        """Return how the last log-in went.

        None if a log-in is due: the entry has changed, or its pause is over.
        """
        known = self._connections.get(name)
        if known is None or known.version != entry.version:
            return None
        if isinstance(known, _Failure) and not self._seconds_left(entry, known):
            return None
        return known

    def _seconds_left(self, entry: Entry, failure: _Failure) -> float:
        """Return the seconds until the entry may try again; 0 if it may."""
        pause = self._pauses.get(entry.credentials_digest)
        return max(0.0, pause.next_try(failure.at) - self._clock()) if pause else 0.0

    def _error(self, entry: Entry, failure: _Failure) -> CloudError:
        """Return the error for one caller: without others' tracebacks, and with the time left."""
        error = copy.copy(failure.error).with_traceback(None)
        error.retry_after = self._seconds_left(entry, failure)
        return error

    def _log_in(self, name: str, entry: Entry, limiter: CallLimiter) -> _Connection | _Failure:
        """Log in, and remember how it went; pauses between failures grow."""
        known: _Connection | _Failure
        try:
            self._file.check_exists()
            known = _Connection(entry.version, self._connect(self._file.path, name, limiter))
            self._pauses.pop(entry.credentials_digest, None)
        except CloudError as error:
            now = self._clock()
            last = self._pauses.get(entry.credentials_digest, _Pause(0.0, 0.0, frozenset()))
            seconds = max(error.retry_after, min(MAX_PAUSE, 2 * last.seconds))
            pause = _Pause(seconds, now, last.entries | {name})
            self._pauses[entry.credentials_digest] = pause
            known = _Failure(entry.version, error, now)
        self._connections[name] = known
        return known

    def _access(self, name: str, account: Account) -> _Access:
        """Return the access to the account: new credentials in its place bring no new budget."""
        with self._lock:
            known = self._accesses.get(name)
            if known is not None and known.account == account:
                return known
            shared = self._accounts.get(account)
            if shared is None and known is not None and known.account.place == account.place:
                shared = known
            if shared is None:
                limiter, connecting = self._new_limiter(name), threading.Lock()
            else:
                limiter, connecting = shared.limiter.for_entry(name), shared.connecting
            access = self._accesses[name] = _Access(account, limiter, connecting)
            self._accounts.setdefault(account, access)
            return access
