"""Find the problems that the conditions of openeni's objects report. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from openeni_cli.status.report import Problem
from openeni_cli.times import seconds_since
from openeni_crds.conditions import Condition, Reason, Status, Type
from openeni_crds.meta import ObjectMeta
from openeni_crds.owners import CONDITIONS
from openeni_crds.reasons import REASONS
from openeni_crds.reasons.progress import ALL_IS_WELL, IN_PROGRESS

# For so long something in progress is no problem: Nova may take minutes to attach a port.
PATIENCE_SECONDS: Final = 300.0
SILENCE_SECONDS: Final = 60.0  # in which the operator has written a new object's status
SILENT: Final = "NoStatus"
# Of a condition that waits for an earlier one on the way of an ENI or a PodIP.
_FOLLOWING: Final = frozenset(
    {
        Reason.WAITING_FOR_PORT,
        Reason.WAITING_FOR_ATTACH,
        Reason.WAITING_FOR_NIC,
        Reason.WAITING_FOR_ADDRESS,
    }
)
_ORDER: Final[Mapping[str, int]] = {type_: place for place, type_ in enumerate(CONDITIONS)}
_RESERVED: Final = frozenset({Type.RETAINED})  # says what is the case, neither good nor bad


def problems_of(
    kind: str, metadata: ObjectMeta, conditions: Iterable[Condition], now: datetime
) -> list[Problem]:
    """Return the problems of one object, one for each reason; what follows from one is left out."""
    found = [c for c in conditions if c.type not in _RESERVED]
    if not found:
        return _silent(kind, metadata, now)
    by_reason: dict[str, list[Condition]] = {}
    for each in sorted(filter(_is_bad, found), key=_rank):
        by_reason.setdefault(each.reason, []).append(each)
    causes = [r for r in by_reason if r not in _FOLLOWING] or list(by_reason)[:1]
    name = f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name
    return [_problem(kind, name, reason, by_reason[reason]) for reason in causes]


def unreadable(kind: str, name: str, error: str) -> Problem:
    """Return the problem of an object that is not as this release knows it."""
    return Problem(
        kind=kind,
        name=name,
        reason="Unreadable",
        conditions=(),
        since="",
        message=error,
        remedy="use the release of this command that the operator has",
    )


def is_in_progress(problem: Problem, now: datetime) -> bool:
    """Return True if it may come right by itself, and has not lasted."""
    seconds = seconds_since(problem.since, now)
    return problem.reason in IN_PROGRESS and seconds is not None and seconds < PATIENCE_SECONDS


def remedy_of(reason: str) -> str:
    """Return what the documentation says to do; a newer release may have reasons of its own."""
    entry = REASONS.get(Reason(reason)) if reason in set(Reason) else None
    if entry is None:
        return "see docs/conditions.md of the release that is installed"
    return entry.plain_remedy


def _is_bad(condition: Condition) -> bool:
    good = Status.FALSE if condition.type == Type.ADDRESS_LOST else Status.TRUE
    return condition.status != good and condition.reason not in ALL_IS_WELL


def _rank(condition: Condition) -> tuple[bool, bool, int]:
    """Order by what tells most: what is known, its own cause, what others depend on."""
    type_ = condition.type
    return condition.status == Status.UNKNOWN, type_ == Type.READY, _ORDER.get(type_, len(_ORDER))


def _problem(kind: str, name: str, reason: str, conditions: list[Condition]) -> Problem:
    # Ready repeats another one, if there is another, and may be older: it had other reasons.
    own = [c for c in conditions if c.type != Type.READY] or conditions
    return Problem(
        kind=kind,
        name=name,
        reason=reason,
        conditions=tuple(c.type for c in own),
        since=min(c.last_transition_time for c in own),
        message=conditions[0].message,
        remedy=remedy_of(reason),
    )


def _silent(kind: str, metadata: ObjectMeta, now: datetime) -> list[Problem]:
    seconds = seconds_since(metadata.creation_timestamp, now)
    if seconds is None or seconds < SILENCE_SECONDS:
        return []
    return [
        Problem(
            kind=kind,
            name=f"{metadata.namespace}/{metadata.name}".lstrip("/"),
            reason=SILENT,
            conditions=(),
            since=metadata.creation_timestamp,
            message="nobody has written its status",
            remedy="see that an operator leads and that the node's agent runs, and read their logs",
        )
    ]
