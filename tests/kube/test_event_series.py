"""Equal events are one Event with a series, as client-go writes it, and nobody floods the API."""

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.meta import ObjectMeta
from openeni_crds.names import ENIPOOLS, EVENTS, PODIPS, Kind
from openeni_kube.event_series import (
    BURST,
    FINISH_SECONDS,
    MOST_REMEMBERED,
    REFRESH_SECONDS,
    SECONDS_PER_EVENT,
    EventSeries,
    EventType,
    EventWrite,
    Occurrence,
    Reporter,
    occurrence,
)

REPORTER: Final = Reporter("openeni.io/operator", "operator-5d1b")
POOL: Final = ObjectMeta(name="pods", uid="6a2c5b0e")
NOW: Final = datetime(2026, 11, 24, 1, 2, 3, 4, tzinfo=UTC)


def event(
    note: str = "no port is left",
    *,
    reason: str = "QuotaExceeded",
    kind: Kind = ENIPOOLS,
    metadata: ObjectMeta = POOL,
    note_varies: bool = False,
) -> Occurrence:
    return occurrence(
        kind,
        metadata,
        EventType.WARNING,
        reason,
        note=note,
        action="Provision",
        note_varies=note_varies,
    )


class Clocked:
    """A series and its two clocks, which go together."""

    def __init__(self) -> None:
        self.series = EventSeries(REPORTER)
        self.at = 1000.0

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.at)

    def observe(self, found: Occurrence) -> EventWrite | None:
        return self.series.observe(found, self.at, self.now)

    def sweep(self, after: float) -> list[EventWrite]:
        self.at += after
        return self.series.sweep(self.at)


@pytest.fixture
def clocked() -> Clocked:
    return Clocked()


def test_the_first_is_an_event_with_every_field_that_the_api_asks_for() -> None:
    write = EventSeries(REPORTER).observe(event(), 0.0, NOW)
    assert write is not None
    assert write.series is None
    name = write.body["metadata"].pop("name")
    assert re.fullmatch(r"pods\.[0-9a-f]{16}", name)
    assert write.body == {
        "apiVersion": "events.k8s.io/v1",
        "kind": EVENTS.name,
        "metadata": {"namespace": "default"},
        "eventTime": "2026-11-24T01:02:03.000004Z",
        "reportingController": "openeni.io/operator",
        "reportingInstance": "operator-5d1b",
        "action": "Provision",
        "reason": "QuotaExceeded",
        "regarding": {
            "apiVersion": "openeni.io/v1alpha1",
            "kind": "ENIPool",
            "name": "pods",
            "uid": "6a2c5b0e",
        },
        "note": "no port is left",
        "type": "Warning",
    }


def test_an_event_of_a_namespaced_object_is_in_its_namespace(clocked: Clocked) -> None:
    metadata = ObjectMeta(name="web-0", namespace="shop", uid="1")
    write = clocked.observe(event(kind=PODIPS, metadata=metadata))
    assert write is not None
    assert write.namespace == "shop"
    assert write.body["regarding"]["namespace"] == "shop"


def test_the_second_is_written_at_once_and_later_ones_are_counted(clocked: Clocked) -> None:
    first = clocked.observe(event())
    clocked.at += 1
    second = clocked.observe(event())
    assert first is not None
    assert second is not None
    assert second.body == first.body
    assert second.series == {"count": 2, "lastObservedTime": "2026-11-24T01:18:44.000004Z"}
    assert [clocked.observe(event()) for _ in range(10)] == [None] * 10


def test_a_series_that_goes_on_is_written_every_half_hour(clocked: Clocked) -> None:
    clocked.observe(event())
    clocked.observe(event())
    counts: list[int] = []
    for _ in range(36):  # three hours
        counts += [w.series["count"] for w in clocked.sweep(300) if w.series]  # none has ended
        clocked.observe(event())
    assert counts == [7, 13, 19, 25, 31, 37]
    assert len(counts) == 3 * 3600 / REFRESH_SECONDS


def test_a_series_ends_with_its_count_and_the_next_event_is_a_new_one(clocked: Clocked) -> None:
    first = clocked.observe(event())
    for _ in range(3):
        clocked.observe(event())
    assert clocked.sweep(FINISH_SECONDS - 1) == []
    (last,) = clocked.sweep(1)
    assert last.series is not None
    assert last.series["count"] == 4
    assert clocked.sweep(REFRESH_SECONDS) == []
    again = clocked.observe(event())
    assert again is not None
    assert first is not None
    assert again.series is None
    assert again.name != first.name


def test_what_differs_in_reason_note_or_object_is_another_event(clocked: Clocked) -> None:
    others = (
        event(),
        event("another note"),
        event(reason="Denied"),
        event(metadata=ObjectMeta(name="pods", uid="another of this name")),
    )
    writes = [clocked.observe(other) for other in others]
    assert all(write is not None and write.series is None for write in writes)
    assert len({write.name for write in writes if write}) == len(others), "at the same time"


def test_notes_that_vary_are_one_series_that_keeps_the_first(clocked: Clocked) -> None:
    first = clocked.observe(event("10.98.0.5", note_varies=True))
    second = clocked.observe(event("10.98.0.6", note_varies=True))
    assert first is not None
    assert second is not None
    assert second.series is not None
    assert second.body["note"] == "10.98.0.5"
    other = clocked.observe(event("10.98.0.6"))
    assert other is not None
    assert other.series is None


def test_one_object_has_a_burst_then_one_event_in_five_minutes(clocked: Clocked) -> None:
    writes = [clocked.observe(event(str(n))) for n in range(int(BURST) + 5)]
    assert [write is None for write in writes] == [False] * int(BURST) + [True] * 5
    assert clocked.series.limited == 5
    assert clocked.observe(event(metadata=ObjectMeta(name="other", uid="2"))) is not None
    clocked.sweep(SECONDS_PER_EVENT)
    writes = [clocked.observe(event(f"later {n}")) for n in range(3)]
    assert [write is None for write in writes] == [False, True, True]


def test_the_bound_of_an_object_does_not_end_its_series(clocked: Clocked) -> None:
    for n in range(int(BURST)):
        clocked.observe(event(str(n)))
    write = clocked.observe(event("0"))
    assert write is not None
    assert write.series is not None


@pytest.mark.parametrize(
    ("note", "written"),
    [
        ("two\nlines,\ta tab and \x1b[31mred", "two lines, a tab and [31mred"),
        ("x" * 2000, "x" * 1024),
        ("é" * 1000, "é" * 512),
        ("x" + "é" * 1000, "x" + "é" * 511),
        ("\ud800 alone", "alone"),
        ("", ""),
    ],
)
def test_a_note_is_one_line_within_the_apis_bound_in_bytes(note: str, written: str) -> None:
    assert event(note).note == written


@pytest.mark.parametrize("name", ["a" * 253, "a" * 235 + "-." + "b" * 16, "pod"])
def test_a_name_is_a_dns_subdomain_however_long_the_objects_is(clocked: Clocked, name: str) -> None:
    write = clocked.observe(event(metadata=ObjectMeta(name=name, uid="1")))
    assert write is not None
    assert len(write.name) <= 253
    label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    assert re.fullmatch(rf"{label}(\.{label})*", write.name)


def test_memory_is_bounded_and_the_oldest_series_is_forgotten_first(clocked: Clocked) -> None:
    def of(n: int) -> Occurrence:
        return event(metadata=ObjectMeta(name=f"pool-{n}", uid=str(n)))

    for n in range(MOST_REMEMBERED + 1):
        clocked.observe(of(n))
    second, forgotten = clocked.observe(of(1)), clocked.observe(of(0))
    assert second is not None
    assert forgotten is not None
    assert second.series is not None
    assert forgotten.series is None


@given(
    st.lists(
        st.one_of(st.sampled_from(["a", "b"]), st.integers(0, 2 * int(REFRESH_SECONDS))),
        max_size=60,
    )
)
def test_no_event_is_lost_and_no_count_goes_back(steps: list[str | int]) -> None:
    clocked = Clocked()
    counts: defaultdict[str, int] = defaultdict(int)

    def note(write: EventWrite) -> None:
        count = write.series["count"] if write.series else 1
        assert count > counts[write.name]
        counts[write.name] = count

    for step in steps:
        if isinstance(step, str):
            written = clocked.observe(event(step))
            writes = [written] if written else []
        else:
            writes = clocked.sweep(step)
        for write in writes:
            note(write)
    for write in clocked.sweep(FINISH_SECONDS):
        note(write)
    observed = sum(isinstance(step, str) for step in steps)
    assert sum(counts.values()) + clocked.series.limited == observed
