"""Remember failures that concern more than one call, so that not each ENI finds out by itself.

A service that does not respond, a rejected credential, a throttled project and a used-up quota each
stop the calls that would fail in the same way. Until the pause ends, such a call returns the recent
failure, at once; then one call tries, the others wait for its result, and that ends the pause or
doubles it. Calls that were in flight when a pause began say nothing about it. Pure: the caller
holds the lock and the clock.

Entries of clouds.yaml that lead to one account are throttled together. All else is an entry's own:
its project has the quota and the rights, its endpoints and certificates lead to the service (0056).
"""

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Final, NamedTuple

from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    CredentialsInvalidError,
    OutcomeUnknownError,
    QuotaExceededError,
    ThrottledError,
)

UNREACHABLE_CALLS: Final = 3  # in a row without a response, before the others are not made
# All in seconds.
FIRST_PAUSE: Final = 2.0
MAX_PAUSE: Final = 60.0
MAX_QUOTA_PAUSE: Final = 300.0


class CallScope(NamedTuple):
    """An entry of clouds.yaml, a service and an operation; None matches any."""

    entry: str | None
    service: str
    operation: str | None


@dataclass
class _Pause:
    error: CloudError
    entry: str | None  # that met it
    seconds: float
    begun: float
    until: float
    tried: bool = False  # a call is in flight that will tell whether it is over


class Pauses:
    """Hold the pauses of one account.

    A quota's pause covers one operation, any other a whole service.
    """

    def __init__(self) -> None:
        self._pauses: dict[CallScope, _Pause] = {}
        self._unanswered: Counter[CallScope] = Counter()  # calls to a service, in a row

    def known_failure(self, scope: CallScope, now: float) -> CloudError | None:
        """Return the failure that such a call would meet; None if it may be made."""
        for pause in self._of(scope):
            if now < pause.until:
                return _for_entry(scope.entry, pause, pause.until - now)
        return None

    def is_tried(self, scope: CallScope) -> bool:
        """Return True if such a call should wait for the result of one in flight."""
        return any(pause.tried for pause in self._of(scope))

    def begin(self, scope: CallScope) -> None:
        """Note that such a call is made: after a pause, others wait for its result."""
        for pause in self._of(scope):
            pause.tried = True

    def abandon(self, scope: CallScope) -> None:
        """Note that a call was not made after all, or has no result."""
        for pause in self._of(scope):
            pause.tried = False

    def record(
        self, scope: CallScope, failure: CloudError | None, begun: float, now: float
    ) -> None:
        """Note the result of a call that began at `begun`.

        Log-ins, of no service, are paused where they are shared.
        """
        if not scope.service:
            return
        self._end_trial(scope, begun)
        throttled, whole, single = _keys(scope)
        if not isinstance(failure, ThrottledError):
            self._end(throttled, begun)  # a call that is throttled is told so at once
        if isinstance(failure, OutcomeUnknownError):
            return  # it says little about Nova; the next read tells
        if isinstance(failure, CloudUnreachableError):
            self._unanswered[whole] += 1
            if self._unanswered[whole] >= UNREACHABLE_CALLS or whole in self._pauses:
                self._pause(whole, scope, failure, MAX_PAUSE, begun=begun, now=now)
            return
        self._unanswered.pop(whole, None)
        results = (
            (throttled, ThrottledError, MAX_PAUSE),
            (whole, CredentialsInvalidError, MAX_PAUSE),
            (single, QuotaExceededError, MAX_QUOTA_PAUSE),
        )
        for key, error, most in results:
            if isinstance(failure, error):
                self._pause(key, scope, failure, most, begun=begun, now=now)
                break  # what would have been checked after it is not known
            self._end(key, begun)

    def forget(self, entry: str) -> None:
        """Forget the entry's own failures: there are new credentials, of the same account."""
        for known in (self._pauses, self._unanswered):
            for key in [key for key in known if key.entry == entry]:
                del known[key]

    def _end_trial(self, scope: CallScope, begun: float) -> None:
        """Note that a call has ended; one that began before a pause tells nothing about it."""
        for pause in self._of(scope):
            pause.tried = pause.tried and begun < pause.begun

    def _of(self, scope: CallScope) -> list[_Pause]:
        found = (self._pauses.get(key) for key in _keys(scope))
        return [pause for pause in found if pause is not None]

    def _pause(
        self,
        key: CallScope,
        scope: CallScope,
        error: CloudError,
        most: float,
        *,
        begun: float,
        now: float,
    ) -> None:
        """Begin a pause, or a longer one."""
        before = self._pauses.get(key)
        if before is not None and begun < before.begun:
            before.until = max(before.until, now + error.retry_after)
            return
        seconds = min(most, 2 * before.seconds if before else FIRST_PAUSE)
        seconds = max(seconds, error.retry_after)
        self._pauses[key] = _Pause(error, scope.entry, seconds, now, now + seconds)

    def _end(self, key: CallScope, begun: float) -> None:
        pause = self._pauses.get(key)
        if pause is not None and begun >= pause.begun:
            del self._pauses[key]


def _keys(scope: CallScope) -> tuple[CallScope, CallScope, CallScope]:
    """Return the scopes whose pauses apply: the account's, the entry's, the operation's."""
    return CallScope(None, scope.service, None), scope._replace(operation=None), scope


def _for_entry(entry: str | None, pause: _Pause, seconds: float) -> CloudError:
    """Return the error for another caller: without a traceback, and not to be retried before."""
    fresh = copy.copy(pause.error).with_traceback(None)
    # Every entry of the account names itself: whoever met the failure, the text stays the same.
    named = pause.error.message.replace(f"cloud {pause.entry!r}", f"cloud {entry!r}")
    fresh.args = (named,)
    fresh.retry_after = seconds
    return fresh
