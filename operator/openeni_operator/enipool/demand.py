"""How many addresses a node should hold: a pure sum, easy to check against a table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """One node's use of one pool, in pods: with two families a pod takes one address of each."""

    waiting: int = 0  # pods bound to the node that have no address yet
    granted: int = 0
    cooling: int = 0


def wanted(load: Load, min_available: int, pods: int, max_addresses: int | None) -> int:
    """Return how many addresses the node should hold.

    Those in use, those that rest, one for each waiting pod, and `min_available` for the next ones.
    Never more than the node's `pods` can use, beside those that rest; never above `max_addresses`.
    """
    useful = min(load.waiting + load.granted + min_available, pods)
    total = max(useful, load.granted) + load.cooling
    return total if max_addresses is None else min(total, max_addresses)
