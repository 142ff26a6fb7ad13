"""What a node's agent reports about one ENI, held to what can be.

An agent is trusted with its own ENIs and no more: a report that cannot be true is that ENI's
condition and changes nothing else. Pure.
"""

from dataclasses import dataclass

from openeni_crds.eni import ENI, NodeStatus
from openeni_crds.meta import parse_time


@dataclass(frozen=True)
class Report:
    """An agent's counts, in pods; all zero where `problem` says why the report is not used."""

    granted: int = 0
    cooling: int = 0
    available: int = 0
    idle: float | None = None  # seconds since a pod last had an address; None: one has, or unknown
    problem: str = ""


def families_of(eni: ENI) -> int:
    """Return how many addresses of the ENI one pod takes: one for each IP family."""
    return max(1, len(eni.spec.subnet_ids))


def capacity_of(eni: ENI) -> int:
    """Return how many pods the ENI can serve."""
    port = eni.status.port
    return len(port.addresses) // families_of(eni) if port else eni.spec.address_count


def report_of(eni: ENI, now: str) -> Report:
    """Return the agent's report. `now` is RFC 3339 in UTC with whole seconds."""
    node = eni.status.node
    if node is None:
        return Report()
    problem = _problem(eni, node)
    if problem:
        return Report(problem=problem)
    idle = None
    if node.idle_since:
        idle = max(0.0, (parse_time(now) - parse_time(node.idle_since)).total_seconds())
    return Report(node.granted, node.cooling, node.available, idle)


def _problem(eni: ENI, node: NodeStatus) -> str:
    # A port that lost addresses has fewer than pods may still hold.
    most = max(capacity_of(eni), eni.spec.address_count)
    if min(node.granted, node.cooling, node.available) < 0:
        return "status.node: a count is negative"
    total = node.granted + node.cooling + node.available
    if total > most:
        return (
            f"status.node: granted, cooling and available add up to {total}, but the port has "
            f"{most} addresses for pods"
        )
    try:
        if node.idle_since:
            parse_time(node.idle_since)
    except ValueError as error:
        return f"status.node.idleSince: {error}"
    return ""
