"""Admit, log and classify every call made through one entry of clouds.yaml.

OpenStack serialises attachments to one server and writes to one port badly or not at all, so only
one call for each of them is in flight at a time.
"""

import copy
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

from openeni_operator.cloud.admission import Admission, Call, CallLimits, NotYet, Refused
from openeni_operator.cloud.budget import CallType
from openeni_operator.cloud.errors import CloudError, ResourceNotFoundError

LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")
Classify: TypeAlias = Callable[[Exception, CallType], CloudError]
Observe: TypeAlias = Callable[[str, str, CloudError | None, float], None]


class NotLeadingError(Exception):
    """Another operator may lead. No CloudError: nothing of it belongs into a status."""


class NotYetError(Exception):
    """The call was not made, because of the operator's own limits: ask again later."""

    def __init__(self, not_yet: NotYet) -> None:
        super().__init__(not_yet.reason)
        self.seconds = not_yet.seconds
        self.reason = not_yet.reason


class CallLimiter:
    """The limiter of one entry. It outlives connections: new credentials bring no new budget.

    Entries that lead to the same account share everything but the name, which logs and metrics
    have (0056).

    `may_write` is asked last before each change; `observe` is called with the cloud, the operation,
    the failure and the seconds of each call that was made.
    """

    def __init__(
        self,
        cloud: str,
        limits: CallLimits,
        *,
        may_write: Callable[[], bool] = lambda: True,
        observe: Observe = lambda _cloud, _operation, _error, _seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cloud = cloud
        self._may_write = may_write
        self._observe = observe
        self._clock = clock
        self._lock = threading.Lock()
        self._admission = Admission(limits)

    def for_entry(self, cloud: str) -> "CallLimiter":
        """Return the limiter of an entry that leads to the same account."""
        shared = copy.copy(self)
        shared.cloud = cloud
        return shared

    def pause_of_reconciles(self) -> float:
        """Return the seconds for which no reconcile of this cloud should begin."""
        with self._lock:
            return self._admission.pause_of_reconciles(self._clock())

    def throttle_ratio(self) -> float:
        """Return the part of the configured rate that is not used since the cloud has throttled."""
        with self._lock:
            return self._admission.throttle_ratio()

    def forget_failures(self) -> None:
        """Make calls again that have just failed: the credentials are new."""
        with self._lock:
            self._admission.forget_failures(self.cloud)

    def call(
        self,
        call: Call,
        do: Callable[[], T],
        classify: Classify,
        before: Callable[[], None] = lambda: None,
    ) -> T:
        """Call `do` if it may be called now, and `before` as soon as that is known.

        Raises NotYetError if it may not yet, NotLeadingError, what `before` raises, or a
        CloudError: never an exception of the client library.
        """
        call = replace(call, entry=self.cloud)
        admitted = self._admit(call)
        finished = False
        try:
            before()
            self._check_leadership(call)
            started = self._clock()
            try:
                result = do()
            except Exception as error:  # noqa: BLE001 the client library raises anything
                failure = classify(error, call.type)
                finished = True
                self._finish(call, admitted, started, failure)
                raise failure from None
            finished = True
            self._finish(call, admitted, started, None)
            return result
        finally:
            if not finished:
                with self._lock:
                    self._admission.abandon(call)

    def _admit(self, call: Call) -> float:
        """Return when the call was admitted, or raise why it was not."""
        now = self._clock()
        with self._lock:
            verdict = self._admission.admit(call, now)
        if isinstance(verdict, NotYet):
            raise NotYetError(verdict)
        if isinstance(verdict, Refused):
            raise verdict.error
        return now

    def _check_leadership(self, call: Call) -> None:
        if call.type is not CallType.READ and not self._may_write():
            raise NotLeadingError(f"cloud {self.cloud!r}: another operator may lead")

    def _finish(
        self, call: Call, admitted: float, started: float, failure: CloudError | None
    ) -> None:
        now = self._clock()
        with self._lock:
            self._admission.finish(call, failure, admitted, now)
        self._observe(self.cloud, call.operation, failure, now - started)
        self._log(call, now - started, failure)

    def _log(self, call: Call, seconds: float, failure: CloudError | None) -> None:
        """Log failures at WARNING, changes at INFO; reads at DEBUG, even if nothing is found."""
        fields: dict[str, object] = {
            "cloud": self.cloud,
            "operation": call.operation,
            "seconds": seconds,
        }
        if call.exclusive:
            fields["key"] = call.exclusive
        if failure is not None:
            fields |= {"reason": failure.reason.value, "error": failure.message}
        if call.type is CallType.READ and isinstance(failure, ResourceNotFoundError | None):
            LOG.debug("cloud call", extra=fields)
        elif failure is None:
            LOG.info("cloud call", extra=fields)
        else:
            LOG.warning("cloud call failed", extra=fields)
