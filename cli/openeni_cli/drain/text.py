"""Render the report of `openeni drain-node` as text. Pure."""

from collections.abc import Iterator
from typing import Final

from openeni_cli.drain.steps import DrainReport, Stage
from openeni_cli.output import Line, bold

MOST_SHOWN: Final = 10  # pods; -o json has all
SAYS: Final = {
    Stage.SCHEDULABLE: "new pods may come to it",
    Stage.IN_USE: "pods have addresses of it",
    Stage.REMOVABLE: "may be removed",
    Stage.RELEASING: "its ports are being released",
    Stage.RELEASED: "is released",
}


def lines(report: DrainReport) -> Iterator[Line]:
    """Yield the lines: how far the node is, what is in the way, what comes next."""
    yield bold(f"node {report.node}: {SAYS[report.stage]}")
    yield from (f"  pod {pod}" for pod in report.pods[:MOST_SHOWN])
    if len(report.pods) > MOST_SHOWN:
        yield f"  and {len(report.pods) - MOST_SHOWN} more; -o json lists them"
    yield from (f"  pod {pod}, which ends with the node" for pod in report.daemon_pods)
    for kept in report.kept:
        what = (
            "its next pod gets them on its own node"
            if kept.moves
            else "they cannot move to another node (growth Static): delete the PodIP for new ones"
        )
        yield f"  kept for {kept.pod}: {', '.join(kept.addresses)}; {what}"
    yield f"  {len(report.enis)} ENIs"
    yield f"next: {report.next}"
