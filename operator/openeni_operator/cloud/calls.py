"""The one door to a cloud: budget, locks, timing, and errors in our words.

Every call of a cloud passes here. OpenStack serialises attachments to one server and writes to one
port badly or not at all, so it is done here: a lock a key, held until the call really ends. The
budgets are those of Neutron's writes, all reads, and Nova's attach and detach.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from openeni_operator.cloud.budget import Bucket, Sort
from openeni_operator.cloud.errors import CloudError, ConflictError, NotFoundError, ThrottledError

LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """Rates in calls a second; in flight at once."""

    writes: float = 5
    reads: float = 20
    plugs: float = 1
    writes_in_flight: int = 4
    reads_in_flight: int = 8
    plugs_in_flight: int = 8
    patience: float = 300  # seconds to wait for a lock or a place, several calls long


Classify = Callable[[Exception, Sort], CloudError]


class Door:
    """One cloud's. Outlives connections: new credentials do not bring a new budget."""

    def __init__(
        self,
        cloud: str,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.cloud = cloud
        self._patience = limits.patience
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}
        self._buckets = {
            Sort.READ: Bucket(limits.reads, limits.reads),
            Sort.WRITE: Bucket(limits.writes, limits.writes),
            Sort.PLUG: Bucket(limits.plugs, limits.plugs_in_flight),
        }
        self._places = {
            Sort.READ: threading.BoundedSemaphore(limits.reads_in_flight),
            Sort.WRITE: threading.BoundedSemaphore(limits.writes_in_flight),
            Sort.PLUG: threading.BoundedSemaphore(limits.plugs_in_flight),
        }

    def call(
        self, operation: str, sort: Sort, do: Callable[[], T], classify: Classify, key: str = ""
    ) -> T:
        """Do it within the budget, alone among calls of the same `key`.

        Raises a CloudError, never anything of the client library.
        """
        with self._alone(key), self._place(sort):
            self._sleep(self._token(sort))
            begun = self._clock()
            try:
                answer = do()
            except Exception as error:  # noqa: BLE001 the client library raises what it likes
                failure = classify(error, sort)
                self._report(operation, sort, key, begun, failure)
                self._learn(sort, failure)
                raise failure from None
            self._report(operation, sort, key, begun, None)
            self._learn(sort, None)
            return answer

    @contextmanager
    def _alone(self, key: str) -> Generator[None]:
        if not key:
            yield
            return
        with self._lock:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = lock, users + 1
        try:
            self._acquire(lock, f"another call on {key} does not end")
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
    def _place(self, sort: Sort) -> Generator[None]:
        place = self._places[sort]
        self._acquire(place, f"the {sort.value} calls before this one do not end")
        try:
            yield
        finally:
            place.release()

    def _acquire(self, lock: "threading.Lock | threading.BoundedSemaphore", trouble: str) -> None:
        if not lock.acquire(timeout=self._patience):
            raise ConflictError(f"cloud {self.cloud!r}: {trouble}")

    def _token(self, sort: Sort) -> float:
        with self._lock:
            return self._buckets[sort].take(self._clock())

    def _learn(self, sort: Sort, failure: CloudError | None) -> None:
        with self._lock:
            if isinstance(failure, ThrottledError):
                for bucket in self._buckets.values():
                    bucket.slow_down()
            elif failure is None:
                self._buckets[sort].went_well()

    def _report(
        self, operation: str, sort: Sort, key: str, begun: float, failure: CloudError | None
    ) -> None:
        """Orders and failures are news; a question is not, nor is "there is none"."""
        fields: dict[str, object] = {
            "cloud": self.cloud,
            "operation": operation,
            "seconds": self._clock() - begun,
        }
        if key:
            fields["key"] = key
        if failure is not None:
            fields |= {"reason": failure.reason.value, "error": failure.message}
        asked = sort is Sort.READ and isinstance(failure, NotFoundError | None)
        LOG.log(logging.DEBUG if asked else logging.INFO, "cloud call", extra=fields)
