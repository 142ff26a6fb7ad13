"""Events are written beside the reconciles: nobody waits for them, and nobody fails with them."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from openeni_crds.meta import Json, ObjectMeta
from openeni_crds.names import CONTROLLER_OPERATOR, ENIPOOLS, EVENTS, PODIPS, Kind
from openeni_kube.event_series import FINISH_SECONDS, EventType, Reporter
from openeni_kube.events import MOST_QUEUED, TRIES, DropCause, EventRecorder
from openeni_kube.store import NotFoundError, Store, StoreError, UnreachableError
from openeni_testing.objects import unique
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

POOL: Final = ObjectMeta(name="pods", uid="6a2c5b0e")


@dataclass
class FailingStore:
    """A store whose next writes raise these errors, and hang while it is not `open`."""

    memory: MemoryStore = field(default_factory=MemoryStore)
    errors: list[Exception] = field(default_factory=list[Exception])
    answers_lost: bool = False  # the writes have an effect
    open: threading.Event = field(default_factory=threading.Event)
    tries: int = 0

    def create(self, kind: Kind, body: Json) -> Json:
        return self._do(lambda: self.memory.create(kind, body))

    def patch(self, kind: Kind, name: str, namespace: str = "", **words: Any) -> Json:
        return self._do(lambda: self.memory.patch(kind, name, namespace, **words))

    def _do(self, write: Any) -> Json:
        self.tries += 1
        assert self.open.wait(60)
        if self.errors and not self.answers_lost:
            raise self.errors.pop(0)
        answer: Json = write()
        if self.errors:
            raise self.errors.pop(0)
        return answer


@dataclass
class RecorderUnderTest:
    """A recorder that runs, its store, and its clock."""

    store: FailingStore = field(default_factory=FailingStore)
    clock: float = 1000.0
    retry_seconds: float = 0.001

    def __post_init__(self) -> None:
        store: Any = self.store
        self.store.open.set()
        self.recorder = EventRecorder(
            store,
            lambda: self.clock,
            lambda: datetime.now(UTC),
            Reporter(CONTROLLER_OPERATOR, "operator-5d1b"),
            retry_seconds=self.retry_seconds,
        )

    def record(self, note: str = "no port is left", metadata: ObjectMeta = POOL) -> None:
        self.recorder.record(
            ENIPOOLS, metadata, EventType.WARNING, "QuotaExceeded", note=note, action="Provision"
        )

    def written(self) -> list[Json]:
        return list(self.store.memory.list(EVENTS).items)

    def wait_for_notes(self, *notes: str) -> list[Json]:
        def done() -> list[Json]:
            found = self.written()
            assert {e["note"] for e in found} >= set(notes)
            return found

        return wait_for(done, "the events are written")

    def dropped(self, cause: DropCause) -> int:
        return self.recorder.dropped()[cause]


@pytest.fixture
def tested() -> Iterator[RecorderUnderTest]:
    made = RecorderUnderTest()
    made.recorder.start()
    yield made
    made.store.open.set()
    made.recorder.stop(30)


def test_an_event_is_written_and_its_repetition_is_counted_in_it(tested: RecorderUnderTest) -> None:
    tested.record()
    tested.record()
    (event,) = wait_for(lambda: [e for e in tested.written() if "series" in e], "a series")
    assert event["metadata"]["namespace"] == "default"
    assert event["series"]["count"] == 2
    assert set(tested.recorder.dropped().values()) == {0}


def test_counts_are_written_once_nothing_more_comes(tested: RecorderUnderTest) -> None:
    for _ in range(5):
        tested.record()
    tested.wait_for_notes("no port is left")
    tested.clock += FINISH_SECONDS
    tested.record("another")  # wakes the recorder, which looks once a minute
    wait_for(lambda: 5 in [e.get("series", {}).get("count") for e in tested.written()], "the count")


def test_nobody_waits_for_the_api_server_and_the_oldest_make_room(
    tested: RecorderUnderTest,
) -> None:
    tested.store.open.clear()
    tested.record("in flight")
    wait_for(lambda: tested.store.tries, "a write hangs")
    for n in range(MOST_QUEUED + 3):
        tested.record(str(n), ObjectMeta(name=f"pool-{n}", uid=str(n)))
    assert tested.dropped(DropCause.QUEUE_FULL) == 3
    tested.store.open.set()
    found = tested.wait_for_notes("in flight", str(MOST_QUEUED + 2))
    assert {e["note"] for e in found}.isdisjoint({"0", "1", "2"})


def test_a_flood_about_one_object_is_dropped_and_counted(tested: RecorderUnderTest) -> None:
    for n in range(30):
        tested.record(str(n))
    assert tested.dropped(DropCause.RATE_LIMITED) == 5


@pytest.mark.parametrize("error", [UnreachableError(0, "away"), StoreError(429, "slow down")])
def test_a_write_is_tried_again_while_the_api_server_cannot_be_used(
    tested: RecorderUnderTest, error: StoreError
) -> None:
    tested.store.errors = [error] * (TRIES - 1)
    tested.record()
    tested.wait_for_notes("no port is left")
    assert set(tested.recorder.dropped().values()) == {0}


@pytest.mark.parametrize("error", [UnreachableError(503, "away"), UnreachableError(0, "away")])
def test_a_lost_answer_is_no_lost_event(tested: RecorderUnderTest, error: StoreError) -> None:
    tested.store.errors, tested.store.answers_lost = [error], True
    tested.record()
    tested.record("next")
    tested.wait_for_notes("no port is left", "next")
    assert len(tested.written()) == 2
    assert set(tested.recorder.dropped().values()) == {0}


def test_what_is_refused_or_tried_too_often_is_dropped_and_told_once(
    tested: RecorderUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "openeni_kube.events")
    forbidden = StoreError(403, 'cannot create resource "events"')
    tested.store.errors = [forbidden, *[UnreachableError(0, "away")] * TRIES]
    for note in ("refused", "given up", "written"):
        tested.record(note)
    tested.wait_for_notes("written")
    assert [e["note"] for e in tested.written()] == ["written"]
    assert tested.dropped(DropCause.NOT_WRITTEN) == 2
    (message,) = caplog.messages
    assert "cannot create resource" in message


def test_an_event_that_has_expired_is_written_again_with_its_count(
    tested: RecorderUnderTest,
) -> None:
    tested.record()
    (event,) = tested.wait_for_notes("no port is left")
    meta = event["metadata"]
    tested.store.memory.delete(EVENTS, meta["name"], meta["namespace"])
    tested.record()
    (again,) = wait_for(tested.written, "the event is there again")
    assert again["metadata"]["name"] == meta["name"]
    assert again["series"]["count"] == 2


def test_an_error_that_nobody_expects_costs_one_event(tested: RecorderUnderTest) -> None:
    tested.store.errors.append(ValueError("I/O operation on closed file"))
    tested.record("the first")
    tested.record("the second")
    assert [e["note"] for e in tested.wait_for_notes("the second")] == ["the second"]
    assert tested.dropped(DropCause.NOT_WRITTEN) == 1


def test_a_stop_writes_what_is_queued(tested: RecorderUnderTest) -> None:
    tested.store.open.clear()
    for n in range(20):
        tested.record(str(n))
    threading.Timer(0, tested.store.open.set).start()
    tested.recorder.stop(60)
    assert len(tested.written()) == 20


def test_a_stop_tries_each_event_once_while_the_api_server_is_away() -> None:
    tested = RecorderUnderTest(retry_seconds=3600)
    tested.store.errors = [UnreachableError(0, "away")] * 100
    tested.recorder.start()
    tested.record()
    tested.record("another")
    tested.recorder.stop(60)
    assert tested.store.tries == 2
    assert tested.dropped(DropCause.NOT_WRITTEN) == 2


def test_one_that_never_started_stops_too() -> None:
    RecorderUnderTest().recorder.stop(60)


@pytest.mark.parametrize("note", ["", "\ud800", "x" * 10**6, "\x00\n\x1b", "%s {} {0}"])
def test_no_note_makes_a_caller_fail(tested: RecorderUnderTest, note: str) -> None:
    tested.record(note)
    wait_for(tested.written, "the event is written")


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("kind", "name", "namespace"),
    [(ENIPOOLS, "p" * 60, ""), (PODIPS, f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 50}", "default")],
)
def test_a_real_api_server_takes_events_and_their_series(
    real_store: Store, kind: Kind, name: str, namespace: str
) -> None:
    recorder = EventRecorder(
        real_store, lambda: 0.0, lambda: datetime.now(UTC), Reporter(CONTROLLER_OPERATOR, "i" * 253)
    )
    recorder.start()
    uid = unique("uid")
    metadata = ObjectMeta(name=name, namespace=namespace, uid=uid)

    def own() -> list[Json]:
        return [e for e in real_store.list(EVENTS).items if e["regarding"].get("uid") == uid]

    def record() -> None:
        recorder.record(
            kind, metadata, EventType.WARNING, "QuotaExceeded", note="é" * 2000, action="Provision"
        )

    record()
    (event,) = wait_for(own, "the event is there")
    real_store.delete(EVENTS, event["metadata"]["name"], "default")
    record()
    (event,) = wait_for(own, "the event is there again")
    assert event["series"]["count"] == 2
    assert event["note"] == "é" * 512
    recorder.record(kind, metadata, EventType.NORMAL, "Ready", note="", action="Reconcile")
    recorder.record(kind, metadata, EventType.NORMAL, "Ready", note="", action="Reconcile")
    recorder.stop(60)
    assert set(recorder.dropped().values()) == {0}
    assert sorted(e["series"]["count"] for e in own()) == [2, 2]
    for event in own():
        real_store.delete(EVENTS, event["metadata"]["name"], "default")
    with pytest.raises(NotFoundError):
        real_store.get(EVENTS, event["metadata"]["name"], "default")
