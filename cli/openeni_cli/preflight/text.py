"""Render the answer of `openeni preflight` as text. Pure."""

from collections.abc import Iterator
from typing import Final

from openeni_cli.output import Line, bold, counted, table
from openeni_kube.answers import FAILED, PASSED, UNKNOWN, WARNED, Preflight

HEADS: Final = {
    FAILED: "the cloud is not fit: {} failed",
    UNKNOWN: "it is not known whether the cloud is fit: {} could not be made",
    WARNED: "the cloud is fit, with {}",
}


def lines(answer: Preflight) -> Iterator[Line]:
    """Yield the lines: the verdict, all checks in their order, and what to do."""
    yield bold(_verdict(answer))
    yield ""
    found = table("CHECK", "OF", "VERDICT", "")
    for check in answer.checks:
        found.add_row(check.name, check.about, check.verdict, check.message)
    yield found
    for check in answer.checks:
        if check.verdict != PASSED and check.remedy:
            yield ""
            why = f" ({check.reason})" if check.reason else ""
            yield f"{check.name} of {check.about}{why}: {check.message}"
            yield f"    what to do: {check.remedy}"


def _verdict(answer: Preflight) -> str:
    for verdict, head in HEADS.items():
        count = sum(check.verdict == verdict for check in answer.checks)
        if count:
            return head.format(counted(count, "warning" if verdict == WARNED else "check"))
    return "the cloud is fit"
