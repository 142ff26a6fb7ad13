"""Record Kubernetes Events beside the reconciles, in a thread of its own."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from openeni_crds.meta import Json, ObjectMeta
from openeni_crds.names import EVENTS, Kind
from openeni_kube.event_series import EventSeries, EventType, EventWrite, Reporter, occurrence
from openeni_kube.store import ConflictError, NotFoundError, Store, StoreError, UnreachableError

LOG: Final = logging.getLogger(__name__)
MOST_QUEUED: Final = 1000  # writes; client-go: maxQueuedEvents
TRIES: Final = 12  # of one write; client-go: maxTriesPerEvent
RETRY_SECONDS: Final = 10.0  # client-go: defaultSleepDuration
SWEEP_SECONDS: Final = 60.0  # between two looks for series that are due
_TOO_MANY_REQUESTS: Final = 429


class DropCause(StrEnum):
    """Why an event was not written."""

    QUEUE_FULL = "QueueFull"
    RATE_LIMITED = "RateLimited"
    NOT_WRITTEN = "NotWritten"


class Recorder(Protocol):
    """What `EventRecorder` offers to those who report something."""

    def record(
        self,
        kind: Kind,
        metadata: ObjectMeta,
        type_: EventType,
        reason: str,
        *,
        note: str,
        action: str,
        note_varies: bool = False,
    ) -> None:
        """Record an event. Neither waits nor raises.

        Of events whose note varies, one after the other is one Event, with the note of the first.
        """
        ...


class EventRecorder:
    """Records events. Any thread may call `record`, which neither waits nor raises.

    A lost event is counted, no more: the conditions are the record of what is true.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        reporter: Reporter,
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`clock` never goes back, `now` is in UTC; `reporter` is named in the Events."""
        self._store, self._clock, self._now = store, clock, now
        self._retry_seconds = retry_seconds
        self._series = EventSeries(reporter)
        self._queue: deque[EventWrite] = deque()
        self._dropped = dict.fromkeys((DropCause.QUEUE_FULL, DropCause.NOT_WRITTEN), 0)
        self._sweep_due = clock() + SWEEP_SECONDS
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Take up to so many seconds to write what is queued. Nothing is tried again."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def record(
        self,
        kind: Kind,
        metadata: ObjectMeta,
        type_: EventType,
        reason: str,
        *,
        note: str,
        action: str,
        note_varies: bool = False,
    ) -> None:
        """Record an event about an object. `note` holds no secret: other people read Events."""
        event = occurrence(
            kind, metadata, type_, reason, note=note, action=action, note_varies=note_varies
        )
        with self._changed:
            write = self._series.observe(event, self._clock(), self._now())
            if write is not None:
                self._enqueue(write)

    def dropped(self) -> Mapping[DropCause, int]:
        """Return how many events this process has not written, by cause."""
        with self._changed:
            return {**self._dropped, DropCause.RATE_LIMITED: self._series.limited}

    def _enqueue(self, write: EventWrite) -> None:
        """Queue the write; if the queue is full, drop what has waited longest."""
        if len(self._queue) >= MOST_QUEUED:
            self._queue.popleft()
            self._dropped[DropCause.QUEUE_FULL] += 1
        self._queue.append(write)
        self._changed.notify()

    def _run(self) -> None:
        while (write := self._next()) is not None:
            try:
                self._write(write)
            except Exception as error:  # noqa: BLE001 - the thread writes all that follows, too
                self._drop(write, error)
            else:
                self._failing = False

    def _next(self) -> EventWrite | None:
        """Wait for the next write; return None once the recorder has stopped."""
        with self._changed:
            while True:
                at = self._clock()
                if at >= self._sweep_due:
                    self._sweep_due = at + SWEEP_SECONDS
                    for write in self._series.sweep(at):
                        self._enqueue(write)
                if self._queue:
                    return self._queue.popleft()
                if self._stopping.is_set():
                    return None
                self._changed.wait(SWEEP_SECONDS)

    def _write(self, write: EventWrite) -> None:
        """Write; try again while the API server cannot be used. Raises StoreError."""
        tries = 1
        while True:
            try:
                # An earlier try has arrived, or somebody else has written: a later count will do.
                with suppress(ConflictError):
                    self._send(write)
            except StoreError as error:
                passing = isinstance(error, UnreachableError) or error.status == _TOO_MANY_REQUESTS
                if not passing or tries == TRIES or self._stopping.wait(self._retry_seconds):
                    raise
            else:
                return
            tries += 1

    def _send(self, write: EventWrite) -> None:
        if write.series is None:
            self._store.create(EVENTS, write.body)
            return
        series: Json = {"op": "add", "path": "/series", "value": write.series}  # or replace it
        try:
            self._store.patch(EVENTS, write.name, write.namespace, operations=[series])
        except NotFoundError:  # Events expire, and people delete them
            self._store.create(EVENTS, {**write.body, "series": write.series})

    def _drop(self, write: EventWrite, error: Exception) -> None:
        """Count the loss; log it at WARNING once until an event is written again."""
        with self._changed:
            self._dropped[DropCause.NOT_WRITTEN] += 1
        level = logging.DEBUG if self._failing else logging.WARNING
        LOG.log(level, "event %s/%s is lost: %s", write.namespace, write.name, error)
        self._failing = True
