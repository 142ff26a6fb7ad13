"""Decide when a call to a cloud may be made. Pure: the caller holds the lock and the clock.

No thread waits for a budget, a slot or another call. A call that may not be made yet gets the time
at which to ask again; a change keeps its place in the order of first questions. Reads are not held
up in the middle of a reconcile: they may overdraw their budget by `OVERDRAFT` bursts, and while it
is overdrawn no reconcile begins.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Final, TypeAlias

from openeni_operator.cloud.budget import CallType, TokenBucket
from openeni_operator.cloud.errors import CloudError, ThrottledError
from openeni_operator.cloud.pauses import CallScope, Pauses

TRIAL_SECONDS: Final = 2.0  # until the result of a call after a pause is looked for again
TURN_SECONDS: Final = 2.0  # a call that is not made in time by so much loses its turn
MIN_WAIT: Final = 0.05  # until the end of another call is looked for again
MAX_WAIT: Final = 60.0
FIRST_GUESS: Final = 1.0  # seconds that a call takes, before one has ended
SLOT_SECONDS: Final = 0.5  # of a call: the whole rate can be used by calls of that length
NEWEST_SHARE: Final = 0.2  # of the newest call in the average of their durations
OVERDRAFT: Final = 3  # bursts of reads
MIN_READ_BURST: Final = 10.0  # so that an overdraft suffices for the reads of one reconcile
LATE_SECONDS: Final = 60.0  # for which a place is kept for who does not ask again
ROUNDING: Final = 1e-6  # of tokens
_LIMITS: Final = {  # with the fields of the chart's values
    CallType.READ: "reads per second (operator.cloud.readsPerSecond)",
    CallType.WRITE: "changes per second (operator.cloud.writesPerSecond)",
    CallType.ATTACH: "attachments per second (operator.cloud.attachesPerSecond)",
}


@dataclass(frozen=True)
class CallLimits:
    """Rates in calls per second, and how many changes may be in flight at once."""

    writes: float = 5
    reads: float = 20
    attaches: float = 1
    writes_in_flight: int = 4
    attaches_in_flight: int = 8


def limits_at(*, writes: float, reads: float, attaches: float) -> CallLimits:
    """Return the limits at these rates, with slots enough for calls of half a second."""
    default = CallLimits()
    return CallLimits(
        writes,
        reads,
        attaches,
        max(default.writes_in_flight, math.ceil(writes * SLOT_SECONDS)),
        max(default.attaches_in_flight, math.ceil(attaches * SLOT_SECONDS)),
    )


@dataclass(frozen=True)
class Call:
    """A call to be made. Of those with the same `exclusive` only one is in flight at a time."""

    operation: str
    type: CallType
    service: str  # "network" or "compute"; "" for the log-in
    subject: str = ""  # what it changes: with the operation, it names the place in the budget
    exclusive: str = ""
    entry: str = ""  # of clouds.yaml

    @property
    def scope(self) -> CallScope:
        return CallScope(self.entry, self.service, self.operation)


@dataclass(frozen=True)
class Admitted:
    """The call is in flight, until `finish`."""


@dataclass(frozen=True)
class NotYet:
    """Ask again after so many seconds."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Refused:
    """The call would fail in this way: others just have."""

    error: CloudError


Verdict: TypeAlias = Admitted | NotYet | Refused


@dataclass
class _Place:
    """A change that waits for its turn."""

    number: int  # in the order of the first questions
    expected: float  # time of its next question


_Queue: TypeAlias = dict[tuple[str, str], _Place]  # by operation and subject, in their order


class Admission:
    """The budget, the slots and the pauses of one account of a cloud."""

    def __init__(self, limits: CallLimits) -> None:
        self._buckets = {
            CallType.READ: TokenBucket(limits.reads, max(limits.reads, MIN_READ_BURST)),
            CallType.WRITE: TokenBucket(limits.writes, max(limits.writes, 1)),
            CallType.ATTACH: TokenBucket(limits.attaches, limits.attaches_in_flight),
        }
        self._slots = {
            CallType.WRITE: limits.writes_in_flight,
            CallType.ATTACH: limits.attaches_in_flight,
        }
        self._pauses = Pauses()
        self._in_flight: Counter[CallType] = Counter()
        self._seconds = dict.fromkeys(CallType, FIRST_GUESS)  # that calls take, on average
        self._exclusive: set[str] = set()
        self._queues: dict[CallType, dict[str, _Queue]] = {t: {} for t in CallType}  # by entry
        self._number = count()

    def pause_of_reconciles(self, now: float) -> float:
        """Return the seconds for which no reconcile should begin."""
        return self._buckets[CallType.READ].wait_for(0, now)

    def throttle_ratio(self) -> float:
        """Return the part of its rate that the slowest budget does not use after throttling."""
        return 1 - min(bucket.rate_factor for bucket in self._buckets.values())

    def admit(self, call: Call, now: float) -> Verdict:
        """Return whether the call may be made now; if so, it counts as in flight."""
        failure = self._pauses.known_failure(call.scope, now)
        if failure is not None:
            return Refused(failure)
        if self._pauses.is_tried(call.scope):
            return NotYet(TRIAL_SECONDS, "waiting for the result of a call after a pause")
        if call.exclusive in self._exclusive:
            wait = self._seconds_until_end(call.type, 1)
            return NotYet(wait, f"an earlier call on {call.exclusive} has not ended")
        reads = call.type is CallType.READ
        wait = self._wait_for_read(now) if reads else self._wait_for_turn(call, now)
        if wait > 0:
            limit = f"{self._buckets[call.type].rate:g} {_LIMITS[call.type]}"
            return NotYet(wait, f"waiting for the operator's own limit of {limit}")
        self._pauses.begin(call.scope)
        self._in_flight[call.type] += 1
        if call.exclusive:
            self._exclusive.add(call.exclusive)
        return Admitted()

    def finish(self, call: Call, failure: CloudError | None, begun: float, now: float) -> None:
        """End a call that was admitted at `begun` and made."""
        self._leave(call)
        self._seconds[call.type] += NEWEST_SHARE * (now - begun - self._seconds[call.type])
        self._pauses.record(call.scope, failure, begun, now)
        if isinstance(failure, ThrottledError):
            for bucket in self._buckets.values():
                bucket.slow_down()
        elif failure is None:
            self._buckets[call.type].speed_up()

    def abandon(self, call: Call) -> None:
        """End a call that was admitted and not made, or has no result."""
        self._leave(call)
        self._pauses.abandon(call.scope)

    def forget_failures(self, entry: str) -> None:
        """Forget the entry's recent failures: its credentials are new."""
        self._pauses.forget(entry)

    def _leave(self, call: Call) -> None:
        self._in_flight[call.type] -= 1
        self._exclusive.discard(call.exclusive)

    def _seconds_until_end(self, type_: CallType, calls: float) -> float:
        """Return the seconds until so many calls in a row will have ended."""
        return min(MAX_WAIT, max(MIN_WAIT, calls * self._seconds[type_]))

    def _wait_for_read(self, now: float) -> float:
        """Take a token, if need be in advance; return the seconds to wait if that is too much."""
        bucket = self._buckets[CallType.READ]
        wait = bucket.wait_for(1 - OVERDRAFT * bucket.burst, now)
        if not wait:
            bucket.reserve(now)
        return wait

    def _wait_for_turn(self, call: Call, now: float) -> float:
        """Take a token if those who asked before leave one and a slot is free; else return a wait.

        Who does not ask again in time holds up nobody, and loses the place after a while. Entries
        take turns, so that many calls of one hold up none of another's for long.
        """
        bucket, key = self._buckets[call.type], (call.operation, call.subject)
        queue = self._queues[call.type].setdefault(call.entry, {})
        before, wait = self._count_before(call, key, now), 0.0
        if bucket.wait_for(before + 1 - ROUNDING, now) > 0:
            wait = bucket.wait_for(before + 1, now)
        slots = self._slots[call.type]
        if self._in_flight[call.type] >= slots:
            wait = max(wait, self._seconds_until_end(call.type, (before + 1) / slots))
        if wait:
            queue.setdefault(key, _Place(next(self._number), now)).expected = now + wait
            return wait
        queue.pop(key, None)
        bucket.reserve(now)
        return 0.0

    def _count_before(self, call: Call, key: tuple[str, str], now: float) -> int:
        """Return how many calls have their turn before this one."""
        queues = self._queues[call.type]
        own = queues[call.entry]
        rank = len(list(_in_time(own, now, key)))
        number = own[key].number if key in own else math.inf
        before = rank
        for entry, queue in queues.items():
            if entry != call.entry:
                others = list(islice(_in_time(queue, now), rank + 1))
                before += len(others[:rank]) + sum(p.number < number for p in others[rank:])
        return before


def _in_time(queue: _Queue, now: float, end: tuple[str, str] | None = None) -> Iterator[_Place]:
    """Yield the places before `end` of those who ask again in time; drop what is long overdue."""
    for key, place in list(queue.items()):
        if key == end:
            return
        if now > place.expected + LATE_SECONDS:
            del queue[key]
        elif now <= place.expected + TURN_SECONDS:
            yield place
