"""Validate the agent's report on an ENI.

An agent is trusted with its own ENIs only: an impossible report becomes a condition of that ENI and
affects no other. Pure.
"""

from dataclasses import dataclass

from openeni_crds.conditions import Reason, Status, Type, find
from openeni_crds.eni import ENI, NodeStatus
from openeni_crds.meta import parse_time


@dataclass(frozen=True)
class AgentReport:
    """An agent's counts, in pods; all zero if `error` gives a reason to reject the report."""

    granted: int = 0
    cooling: int = 0
    available: int = 0
    idle_seconds: float | None = None  # since a pod last had an address; None if one has
    error: str = ""


def families_of(eni: ENI) -> int:
    """Return how many addresses of the ENI a pod has: one for each IP family."""
    return max(1, len(eni.spec.subnet_ids))


def capacity_of(eni: ENI) -> int:
    """Return how many pods the ENI can serve."""
    port = eni.status.port
    return len(port.addresses) // families_of(eni) if port else eni.spec.address_count


def agent_report(eni: ENI, now: str) -> AgentReport:
    """Return the agent's report. `now` is RFC 3339 in UTC with whole seconds."""
    node = eni.status.node
    if node is None:
        return AgentReport()
    error = _find_error(eni, node)
    if error:
        return AgentReport(error=error)
    idle_seconds = None
    if node.idle_since:
        # Not longer than the ENI exists: an agent must not have a fresh one reclaimed.
        since = max(node.idle_since, eni.metadata.creation_timestamp)
        idle_seconds = max(0.0, (parse_time(now) - parse_time(since)).total_seconds())
    return AgentReport(node.granted, node.cooling, node.available, idle_seconds)


def uses_other_cni(eni: ENI) -> bool:
    """Return whether the agent found another CNI plugin on the ENI's node."""
    found = find(eni.status.conditions, Type.CNI_CONFIGURED)
    return found is not None and found.status == Status.FALSE and found.reason == Reason.OTHER_CNI


def _find_error(eni: ENI, node: NodeStatus) -> str:
    # Pods may still hold addresses that the port has lost.
    capacity = max(capacity_of(eni), eni.spec.address_count)
    if min(node.granted, node.cooling, node.available) < 0:
        return "status.node: a count is negative"
    total = node.granted + node.cooling + node.available
    if total > capacity:
        return (
            f"status.node: granted, cooling and available add up to {total}, but the port has "
            f"{capacity} addresses for pods"
        )
    try:
        if node.idle_since:
            parse_time(node.idle_since)
    except ValueError as error:
        return f"status.node.idleSince: {error}"
    return ""
