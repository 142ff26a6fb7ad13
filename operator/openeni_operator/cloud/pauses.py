"""Remember failures that concern more than one call, so that not each ENI finds out by itself.

A service that does not respond, a rejected credential, a throttled project and a used-up quota each
stop the calls that would fail in the same way. Until the pause ends, such a call returns the recent
failure, at once; then one call tries, the others wait for its result, and that ends the pause or
doubles it. Calls that were in flight when a pause began say nothing about it. Pure: the caller
holds the lock and the clock.
"""

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Final

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


@dataclass
class _Pause:
    error: CloudError
    seconds: float
    begun: float
    until: float
    tried: bool = False  # a call is in flight that will tell whether it is over


class Pauses:
    """The pauses of one cloud, by service; those of a quota by service and operation."""

    def __init__(self) -> None:
        self._pauses: dict[tuple[str, str], _Pause] = {}
        self._unanswered: Counter[str] = Counter()  # calls to a service, in a row

    def known_failure(self, service: str, operation: str, now: float) -> CloudError | None:
        """Return the failure that such a call would meet; None if it may be made."""
        for pause in self._of(service, operation):
            if now < pause.until:
                return _with_delay(pause.error, pause.until - now)
        return None

    def is_tried(self, service: str, operation: str) -> bool:
        """Return True if such a call should wait for the result of one in flight."""
        return any(pause.tried for pause in self._of(service, operation))

    def begin(self, service: str, operation: str) -> None:
        """Note that such a call is made: after a pause, others wait for its result."""
        for pause in self._of(service, operation):
            pause.tried = True

    def abandon(self, service: str, operation: str) -> None:
        """Note that a call was not made after all, or has no result."""
        for pause in self._of(service, operation):
            pause.tried = False

    def record(
        self,
        service: str,
        operation: str,
        failure: CloudError | None,
        begun: float,
        now: float,
    ) -> bool:
        """Note the result of a call that began at `begun`; return True if a service now pauses.

        Log-ins, of no service, are paused where they are shared.
        """
        if not service:
            return False
        for pause in self._of(service, operation):
            # Its own trial has ended; one that began before it tells nothing about it.
            pause.tried = pause.tried and begun < pause.begun
        if isinstance(failure, OutcomeUnknownError):
            return False  # it says little about Nova; the next read tells
        whole, single = (service, ""), (service, operation)
        if isinstance(failure, CloudUnreachableError):
            self._unanswered[service] += 1
            enough = self._unanswered[service] >= UNREACHABLE_CALLS or whole in self._pauses
            return enough and self._pause(whole, failure, MAX_PAUSE, begun, now)
        self._unanswered.pop(service, None)
        if isinstance(failure, CredentialsInvalidError | ThrottledError):
            return self._pause(whole, failure, MAX_PAUSE, begun, now)
        self._end(whole, begun)
        if isinstance(failure, QuotaExceededError):
            self._pause(single, failure, MAX_QUOTA_PAUSE, begun, now)
        else:
            self._end(single, begun)
        return False

    def clear(self) -> None:
        """Forget everything: there are new credentials."""
        self._pauses.clear()
        self._unanswered.clear()

    def _of(self, service: str, operation: str) -> list[_Pause]:
        found = (self._pauses.get(key) for key in ((service, ""), (service, operation)))
        return [pause for pause in found if pause is not None]

    def _pause(
        self, key: tuple[str, str], error: CloudError, most: float, begun: float, now: float
    ) -> bool:
        """Begin a pause, or a longer one; return whether it is new."""
        before = self._pauses.get(key)
        if before is not None and begun < before.begun:
            before.until = max(before.until, now + error.retry_after)
            return False
        seconds = min(most, 2 * before.seconds if before else FIRST_PAUSE)
        seconds = max(seconds, error.retry_after)
        self._pauses[key] = _Pause(error, seconds, now, now + seconds)
        return True

    def _end(self, key: tuple[str, str], begun: float) -> None:
        pause = self._pauses.get(key)
        if pause is not None and begun >= pause.begun:
            del self._pauses[key]


def _with_delay(error: CloudError, seconds: float) -> CloudError:
    """Return the error for another caller: without a traceback, and not to be retried before."""
    fresh = copy.copy(error).with_traceback(None)
    fresh.retry_after = seconds
    return fresh
