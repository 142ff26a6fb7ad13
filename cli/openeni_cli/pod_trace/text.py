"""Render the report of `openeni trace pod` as text. Pure."""

from collections.abc import Iterator
from typing import Final

from openeni_cli.output import Line, bold, table
from openeni_cli.pod_trace.stations import State, Station, TraceReport

MARKS: Final = {State.DONE: "done", State.WAITING: "WAITS", State.UNKNOWN: "?"}
TIME_LENGTH: Final = len("2026-11-24T10:02:03.120Z")


def lines(report: TraceReport) -> Iterator[Line]:
    """Yield the lines: where the address stands, each station, the events."""
    where = f"waits at {report.stands_at}" if report.stands_at else "has passed every station"
    yield bold(f"the address of pod {report.pod} {where}")
    at = next((s for s in report.stations if s.name == report.stands_at), None)
    if at is not None:
        yield f"why: {at.detail}"
    if at is not None and at.remedy:
        yield f"what to do: {at.remedy}"
    yield ""
    yield _stations(report.stations)
    if report.events:
        yield ""
        yield from (
            f"{event.at}  {event.about}: {event.reason}"
            f"{f' ({event.count} times)' if event.count > 1 else ''}: {event.note}"
            for event in report.events
        )
    yield from (f"note: {note}" for note in report.notes)


def _stations(stations: tuple[Station, ...]) -> Line:
    found = table("STATION", "STATE", "TIME", "DETAIL")
    for each in stations:
        found.add_row(each.name, MARKS[each.state], each.at[:TIME_LENGTH], each.detail)
    return found
