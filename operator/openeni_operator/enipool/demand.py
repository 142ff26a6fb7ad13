"""Compute how many addresses a node should hold."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeUsage:
    """A node's use of a pool, counted in pods: a dual-stack pod has one address of each family."""

    waiting: int = 0  # pods bound to the node that have no address yet
    granted: int = 0
    cooling: int = 0


def desired_addresses(
    usage: NodeUsage, min_available: int, max_pods: int, max_addresses: int | None
) -> int:
    """Return how many addresses the node should hold.

    That is the granted and cooling ones, one for each waiting pod, and `min_available` for the next
    pods; without the cooling ones at most what `max_pods` can use, and never above `max_addresses`.
    """
    useful = min(usage.waiting + usage.granted + min_available, max_pods)
    total = max(useful, usage.granted) + usage.cooling
    return total if max_addresses is None else min(total, max_addresses)
