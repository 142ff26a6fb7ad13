"""Validate the agent's report on an ENI.

An agent is trusted with its own ENIs only: an impossible report becomes a condition of that ENI and
affects no other. Pure.
"""

from collections.abc import Collection
from dataclasses import dataclass

from openeni_crds.conditions import Reason, Status, Type, find
from openeni_crds.eni import ENI
from openeni_crds.meta import parse_time
from openeni_operator.eni.resize import addresses_in


@dataclass(frozen=True)
class AgentReport:
    """An agent's counts, in pods; all zero if `error` gives a reason to reject the report."""

    granted: int = 0
    cooling: int = 0
    available: int = 0
    idle_seconds: float | None = None  # since a pod last had an address; None if one has
    error: str = ""


def capacity_of(eni: ENI) -> int:
    """Return how many pods the ENI can serve: each needs an address of each family it has."""
    port = eni.status.port
    if port is None:
        return eni.spec.address_count
    return min((len(addresses_in(subnet, port.addresses)) for subnet in port.subnets), default=0)


def families_of(eni: ENI) -> int:
    """Return how many addresses of the ENI a pod has: one for each IP family."""
    return max(1, len(eni.spec.subnet_ids))


def in_fuller_family(addresses: Collection[str]) -> int:
    """Return how many addresses there are of the IP family that has more of them."""
    sixes = sum(":" in address for address in addresses)
    return max(sixes, len(addresses) - sixes)


def held_by(eni: ENI) -> int:
    """Return how many addresses for pods the ENI takes from a subnet, or was promised.

    The port of one that offers no addresses gets no more.
    """
    port = eni.status.port
    if port is None:
        return eni.spec.address_count
    on_port = in_fuller_family((*port.addresses, *port.releasing))
    return max(on_port, eni.spec.address_count) if eni.offers_addresses else on_port


def had_by(eni: ENI) -> int:
    """Return how many addresses for pods the ENI's port has, or has had; without one, shall have.

    Those that it has lost are to come back with another port.
    """
    port = eni.status.port
    if port is None:
        return eni.spec.address_count
    return in_fuller_family((*port.addresses, *port.releasing, *port.lost))


def agent_report(eni: ENI, now: str) -> AgentReport:
    """Return the agent's report. `now` is RFC 3339 in UTC with whole seconds."""
    node = eni.status.node
    if node is None:
        return AgentReport()
    error = report_error(eni)
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


def report_is_about(eni: ENI, mac_address: str) -> bool:
    """Return whether GuestPrepared and LinkReady are about the port with this MAC address.

    A report of the port that the ENI had before may stand there for a while. An agent of an earlier
    release names none.
    """
    return eni.status.node is not None and eni.status.node.mac_address in {"", mac_address}


def report_error(eni: ENI) -> str:
    """Return why the agent's report cannot be true; "" if it can be, or if there is none."""
    node = eni.status.node
    if node is None:
        return ""
    port = eni.status.port
    # Pods may still hold addresses that the port has lost, and the report may be of before.
    capacity = max(held_by(eni), eni.spec.address_count)
    capacity += in_fuller_family(port.lost) if port else 0
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
