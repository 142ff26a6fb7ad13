"""Decide which writes to Event objects (events.k8s.io/v1) the recorded events become.

Equal events about one object are one Event with a series, by the rules of client-go's recorder
(tools/events/event_broadcaster.go): the first is created, the second makes it a series at once,
and later ones are only counted. The count is written every REFRESH_SECONDS while they go on, and
once more when there was none for FINISH_SECONDS; the next one after that is a new Event.

A note that names what changes with each event, such as an address, does not tell events apart if
the caller says so: the Event keeps the note of the first.

Distinct events about one object have the bound that client-go's older recorder has for each source
and object (tools/record/events_cache.go, EventSourceObjectSpamFilter).
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from openeni_crds.conditions import one_line
from openeni_crds.meta import Json, ObjectMeta
from openeni_crds.names import EVENTS, Kind
from openeni_kube.wire import format_micro_time

FINISH_SECONDS: Final = 360.0  # client-go: finishTime
REFRESH_SECONDS: Final = 1800.0  # client-go: refreshTime
BURST: Final = 25.0  # distinct events about one object at once; client-go: defaultSpamBurst
SECONDS_PER_EVENT: Final = 300.0  # afterwards; client-go: defaultSpamQPS
MOST_REMEMBERED: Final = 4096  # series, and objects; client-go: maxLruCacheEntries

# pkg/apis/core/validation/events.go, in bytes
NOTE_LENGTH: Final = 1024
INSTANCE_LENGTH: Final = 128
# An Event of a cluster-scoped object is in this namespace (client-go, makeEvent in
# tools/events/event_recorder.go); the API server takes no other but kube-system for it.
CLUSTER_NAMESPACE: Final = "default"
_NAME_LENGTH: Final = 253  # of a DNS subdomain
K = TypeVar("K")
V = TypeVar("V")


class EventType(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True)
class Reporter:
    """The process that records events: a controller, as a qualified name, and which one it is."""

    controller: str
    instance: str


@dataclass(frozen=True)
class Regarding:
    """The object that an event is about; `namespace` is "" if it is cluster-scoped."""

    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Occurrence:
    """An event without its time: equal ones are one Event."""

    regarding: Regarding
    type: EventType
    reason: str
    action: str
    note: str = field(compare=False)
    told_apart_by: str  # the note, unless it varies


def occurrence(
    kind: Kind,
    metadata: ObjectMeta,
    type_: EventType,
    reason: str,
    *,
    note: str,
    action: str,
    note_varies: bool = False,
) -> Occurrence:
    """Return the event with its note on one line and within the API server's bound.

    Events whose note varies are equal whatever their notes say.
    """
    text = one_line(note).encode()[:NOTE_LENGTH].decode(errors="ignore")
    regarding = Regarding(kind, metadata.namespace, metadata.name, metadata.uid)
    return Occurrence(regarding, type_, reason, action, text, "" if note_varies else text)


@dataclass(frozen=True)
class EventWrite:
    """One write: create the Event `body`, or write `series` into it once it is one."""

    body: Json
    series: Json | None = None

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.body["metadata"]["namespace"])


@dataclass
class _Series:
    """An Event that was created; times but `last_observed` are on the caller's clock."""

    body: Json
    last_observed: datetime
    seen: float
    written: float
    count: int = 1
    written_count: int = 1

    def write(self, at: float) -> EventWrite:
        self.written, self.written_count = at, self.count
        last = format_micro_time(self.last_observed)
        return EventWrite(self.body, {"count": self.count, "lastObservedTime": last})


@dataclass
class _Bucket:
    """How many more Events there may be about an object, as of a time."""

    tokens: float
    at: float

    def refill(self, at: float) -> None:
        self.tokens = min(BURST, self.tokens + (at - self.at) / SECONDS_PER_EVENT)
        self.at = at


class EventSeries:
    """The series of one process. The caller holds the lock, the clocks and the queue of writes."""

    def __init__(self, reporter: Reporter) -> None:
        self.limited = 0  # events that the bound for one object has dropped
        self._reporter = reporter
        self._series: dict[Occurrence, _Series] = {}  # the one that was seen last is at the end
        self._buckets: dict[Regarding, _Bucket] = {}
        self._created = 0

    def observe(self, event: Occurrence, at: float, now: datetime) -> EventWrite | None:
        """Return the write that the event needs at once; `at` never goes back, `now` is in UTC."""
        series = self._series.get(event)
        if series is None:
            return self._first(event, at, now)
        series.count, series.seen, series.last_observed = series.count + 1, at, now
        _remember(self._series, event, series)
        return series.write(at) if series.written_count == 1 else None

    def sweep(self, at: float) -> list[EventWrite]:
        """Forget what has ended; return the writes of counts that are due."""
        writes: list[EventWrite] = []
        for event, series in list(self._series.items()):
            ended = at - series.seen >= FINISH_SECONDS
            due = ended or at - series.written >= REFRESH_SECONDS
            if due and series.count > series.written_count:
                writes.append(series.write(at))
            if ended:
                del self._series[event]
        return writes

    def _first(self, event: Occurrence, at: float, now: datetime) -> EventWrite | None:
        bucket = self._buckets.get(event.regarding) or _Bucket(BURST, at)
        bucket.refill(at)
        _remember(self._buckets, event.regarding, bucket)
        if bucket.tokens < 1:
            self.limited += 1
            return None
        bucket.tokens -= 1
        self._created += 1
        body = self._body(event, now)
        _remember(self._series, event, _Series(body, now, seen=at, written=at))
        return EventWrite(body)

    def _body(self, event: Occurrence, now: datetime) -> Json:
        about = event.regarding
        regarding: Json = {
            "apiVersion": about.kind.api_version,
            "kind": about.kind.name,
            "name": about.name,
            "uid": about.uid,
        }  # without resourceVersion: it changes with each status, and the object is the same
        if about.namespace:
            regarding["namespace"] = about.namespace
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.name,
            "metadata": {
                "name": _event_name(about.name, now, self._created),
                "namespace": about.namespace or CLUSTER_NAMESPACE,
            },
            "eventTime": format_micro_time(now),
            "reportingController": self._reporter.controller,
            "reportingInstance": self._reporter.instance[:INSTANCE_LENGTH],
            "action": event.action,
            "reason": event.reason,
            "regarding": regarding,
            "note": event.note,
            "type": str(event.type),
        }


def _event_name(regarding: str, now: datetime, number: int) -> str:
    """Return `<object>.<nanoseconds>` as client-go does; the last digits number the Events."""
    suffix = f".{int(now.timestamp() * 1_000_000) * 1000 + number % 1000:x}"
    return regarding[: _NAME_LENGTH - len(suffix)].rstrip("-.") + suffix


def _remember(cache: dict[K, V], key: K, value: V) -> None:
    """Put the value at the end of the cache; drop the first one when there are too many."""
    cache.pop(key, None)
    cache[key] = value
    if len(cache) > MOST_REMEMBERED:
        del cache[next(iter(cache))]
