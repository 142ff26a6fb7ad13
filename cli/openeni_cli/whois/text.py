"""Render the report of `openeni whois` as text. Pure."""

from collections.abc import Iterator

from openeni_cli.grant_log import Holder
from openeni_cli.output import Line, bold, table
from openeni_cli.whois.answer import Verdict, WhoisReport


def lines(report: WhoisReport) -> Iterator[Line]:
    """Yield the lines: the answer, what limits it, and the history."""
    when = f" at {report.at}" if report.at else ""
    yield bold(f"{report.address}{when}: {_answer(report.verdict, report.holder)}")
    if report.holder is not None:
        yield from _details(report.holder)
    for note in report.notes:
        yield f"note: {note}"
    if report.history:
        yield ""
        yield _history(report.history)


def _answer(verdict: Verdict, holder: Holder | None) -> str:
    if holder is None:
        return "not known" if verdict is Verdict.UNKNOWN else "nobody's"
    pod = f"pod {holder.namespace}/{holder.pod}"
    return {
        Verdict.POD: pod,
        Verdict.RETAINED: f"kept for the next {pod}",
        Verdict.NODE: f"node {holder.node} itself",
        Verdict.FREE: f"no pod's, on ENI {holder.eni} of node {holder.node}",
    }.get(verdict, "nobody's")


def _details(holder: Holder) -> Iterator[str]:
    shown = {
        "pod UID": holder.pod_uid,
        "node": holder.node,
        "ENI": holder.eni,
        "port": holder.port,
        "pool": holder.pool,
        "container": holder.container_id,
        "began": holder.began,
        "ended": f"{holder.ended} ({holder.end_reason})" if holder.ended else "",
    }
    yield from (f"  {name:<10}{value}" for name, value in shown.items() if value)


def _history(history: tuple[Holder, ...]) -> Line:
    found = table("BEGAN", "ENDED", "POD", "NODE", "REASON")
    for each in history:
        pod = f"{each.namespace}/{each.pod}"
        found.add_row(each.began or "?", each.ended or "", pod, each.node, each.end_reason)
    return found
