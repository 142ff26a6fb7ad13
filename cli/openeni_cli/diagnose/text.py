"""Render the report of `openeni diagnose` as text. Pure."""

from collections.abc import Iterator
from itertools import groupby

from openeni_cli.diagnose.report import DiagnoseReport
from openeni_cli.output import Line, bold, counted


def lines(report: DiagnoseReport) -> Iterator[Line]:
    """Yield the lines: what differs and what to do, then what was compared, and what was not."""
    count = len(report.differences)
    yield bold(counted(count, "difference") if count else "no differences")
    for (reason, remedy), group in groupby(report.differences, key=lambda d: (d.reason, d.remedy)):
        yield ""
        for found in group:
            why = f"{reason}: " if reason else ""
            yield f"{found.kind} {found.name}: {why}{found.message}"
        if remedy:
            yield f"    what to do: {remedy}"
    yield ""
    for who, compared in report.compared.items():
        yield f"{who} compared {', '.join(f'{n} {what}' for what, n in compared.items())}"
    yield from (f"not looked at: {text}" for text in report.unread)
