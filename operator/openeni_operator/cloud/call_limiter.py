"""Limit, serialise, log and classify every call to one cloud.

OpenStack serialises attachments to one server and writes to one port badly or not at all, so a
lock for each key does it here, held until the call ends. Reads, Neutron writes and Nova attachments
have a budget each.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from openeni_operator.cloud.budget import CallType, TokenBucket
from openeni_operator.cloud.errors import (
    CloudError,
    ResourceConflictError,
    ResourceNotFoundError,
    ThrottledError,
)

LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class CallLimits:
    """Rates in calls per second, and how many calls may be in flight at once."""

    writes: float = 5
    reads: float = 20
    attaches: float = 1
    writes_in_flight: int = 4
    reads_in_flight: int = 8
    attaches_in_flight: int = 8
    max_wait: float = 300  # seconds for a lock or a slot: several calls long


class NotLeadingError(Exception):
    """Another operator may lead. No CloudError: nothing of it belongs into a status."""


Classify = Callable[[Exception, CallType], CloudError]


class CallLimiter:
    """The limiter of one cloud. It outlives connections: new credentials bring no new budget.

    `may_write` is asked last before each write.
    """

    def __init__(
        self,
        cloud: str,
        limits: CallLimits,
        *,
        may_write: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.cloud = cloud
        self._may_write = may_write
        self._max_wait = limits.max_wait
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}
        self._buckets = {
            CallType.READ: TokenBucket(limits.reads, limits.reads),
            CallType.WRITE: TokenBucket(limits.writes, limits.writes),
            CallType.ATTACH: TokenBucket(limits.attaches, limits.attaches_in_flight),
        }
        self._slots = {
            CallType.READ: threading.BoundedSemaphore(limits.reads_in_flight),
            CallType.WRITE: threading.BoundedSemaphore(limits.writes_in_flight),
            CallType.ATTACH: threading.BoundedSemaphore(limits.attaches_in_flight),
        }

    def call(
        self,
        operation: str,
        call_type: CallType,
        do: Callable[[], T],
        classify: Classify,
        key: str = "",
    ) -> T:
        """Call `do` within the budget, one call at a time for each `key`.

        Raises a CloudError, never an exception of the client library, and NotLeadingError.
        """
        with self._exclusive(key), self._slot(call_type):
            self._sleep(self._reserve(call_type))
            if call_type is not CallType.READ and not self._may_write():
                raise NotLeadingError(f"cloud {self.cloud!r}: another operator may lead")
            started = self._clock()
            try:
                result = do()
            except Exception as error:  # noqa: BLE001 the client library raises anything
                failure = classify(error, call_type)
                self._log(operation, call_type, key, started, failure)
                self._adjust_rate(call_type, failure)
                raise failure from None
            self._log(operation, call_type, key, started, None)
            self._adjust_rate(call_type, None)
            return result

    @contextmanager
    def _exclusive(self, key: str) -> Generator[None]:
        if not key:
            yield
            return
        with self._lock:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = lock, users + 1
        try:
            self._acquire(lock, f"an earlier call on {key} has not ended; retrying")
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._lock:
                lock, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = lock, users - 1

    @contextmanager
    def _slot(self, call_type: CallType) -> Generator[None]:
        slot = self._slots[call_type]
        self._acquire(slot, f"earlier {call_type.value} calls have not ended; retrying")
        try:
            yield
        finally:
            slot.release()

    def _acquire(self, lock: "threading.Lock | threading.BoundedSemaphore", failure: str) -> None:
        if not lock.acquire(timeout=self._max_wait):
            raise ResourceConflictError(f"cloud {self.cloud!r}: {failure}")

    def _reserve(self, call_type: CallType) -> float:
        with self._lock:
            return self._buckets[call_type].reserve(self._clock())

    def _adjust_rate(self, call_type: CallType, failure: CloudError | None) -> None:
        with self._lock:
            if isinstance(failure, ThrottledError):
                for bucket in self._buckets.values():
                    bucket.slow_down()
            elif failure is None:
                self._buckets[call_type].speed_up()

    def _log(
        self,
        operation: str,
        call_type: CallType,
        key: str,
        started: float,
        failure: CloudError | None,
    ) -> None:
        """Log failures at WARNING, changes at INFO; reads at DEBUG, even if nothing is found."""
        fields: dict[str, object] = {
            "cloud": self.cloud,
            "operation": operation,
            "seconds": self._clock() - started,
        }
        if key:
            fields["key"] = key
        if failure is not None:
            fields |= {"reason": failure.reason.value, "error": failure.message}
        if call_type is CallType.READ and isinstance(failure, ResourceNotFoundError | None):
            LOG.debug("cloud call", extra=fields)
        elif failure is None:
            LOG.info("cloud call", extra=fields)
        else:
            LOG.warning("cloud call failed", extra=fields)
