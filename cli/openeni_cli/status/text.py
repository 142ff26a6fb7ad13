"""Render the report of `openeni status` as text. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from openeni_cli.output import Line, bold, counted, table
from openeni_cli.status.report import Problem, StatusReport
from openeni_cli.times import age, parse, seconds_since

MOST_SHOWN: Final = 5  # objects of a kind with the same reason; -o json has all


def lines(report: StatusReport) -> Iterator[Line]:
    """Yield the lines: problems first."""
    yield bold(_head(report.problems))
    yield from _problems(report.problems, report.observed_at)
    if report.in_progress:
        yield ""
        yield bold(f"{len(report.in_progress)} in progress")
        yield from _problems(report.in_progress, report.observed_at)
    yield ""
    if report.pools:
        yield _pools(report)
        yield ""
    yield (
        f"{counted(report.nodes, 'node')}, {counted(report.enis, 'ENI')}, "
        f"{counted(report.pod_ips, 'PodIP')}"
    )


def _head(problems: tuple[Problem, ...]) -> str:
    reasons = len({problem.reason for problem in problems})
    objects = f" with {len(problems)} objects" if len(problems) > reasons else ""
    return f"{counted(reasons, 'problem')}{objects}" if problems else "no problems"


def _problems(problems: Iterable[Problem], observed_at: str) -> Iterator[Line]:
    """Yield a paragraph for each reason: the cause, whatever else has it, and what to do."""
    by_reason: dict[str, list[Problem]] = {}
    for problem in problems:
        by_reason.setdefault(problem.reason, []).append(problem)
    for found in by_reason.values():
        yield ""
        yield _line(found[0], observed_at, found[0].message)
        shown = Counter({found[0].kind: 1})
        for problem in found[1:]:
            shown[problem.kind] += 1
            if shown[problem.kind] <= MOST_SHOWN:
                yield _line(problem, observed_at, _unless_said(problem.message, found[0].message))
        for kind, count in shown.items():
            if count > MOST_SHOWN:
                yield f"{kind}: {count - MOST_SHOWN} more with {found[0].reason}; -o json has them"
        yield f"    what to do: {found[0].remedy}"


def _unless_said(message: str, said: str) -> str:
    """Return the message, or nothing where it says the same: a pool quotes its ENIs."""
    return "" if said.endswith(message) else message


def _line(problem: Problem, observed_at: str, text: str) -> str:
    now = parse(observed_at)
    seconds = seconds_since(problem.since, now) if now else None
    since = f", for {age(seconds)}" if seconds is not None else ""
    types = f" ({', '.join(problem.conditions)})" if problem.conditions else ""
    message = f": {text}" if text else ""
    return f"{problem.kind} {problem.name}: {problem.reason}{types}{since}{message}"


def _pools(report: StatusReport) -> Line:
    found = table(
        "POOL", "MODE", "NODES", "ENIS", "ADDRESSES", "GRANTED", "AVAILABLE", "COOLING", "READY"
    )
    for pool in report.pools:
        found.add_row(
            pool.name,
            pool.mode,
            f"{pool.nodes_served}/{pool.nodes_selected}",
            *map(str, (pool.enis, pool.addresses, pool.granted, pool.available, pool.cooling)),
            pool.ready,
        )
    return found
