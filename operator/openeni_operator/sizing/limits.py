"""Hold the plans of all nodes to the limits of the pool. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from openeni_crds.capacity import Limits
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    GrowENI,
    NodeState,
    SizingPolicy,
)

# Fields of the pool's spec.limits.
ENIS: Final = "maxENIs"
ADDRESSES: Final = "maxAddresses"


@dataclass
class PoolBudget:
    """Holds what the pool may still get during one reconcile; None is without a limit."""

    enis: int | None
    addresses: int | None
    # By node, the fields that left it without addresses.
    refused: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def bind(self, policy: SizingPolicy, node: NodeState) -> SizingPolicy:
        """Return the policy for a node whose pods wait for certain addresses.

        There the pool's limit counts like the node's own: a free address makes room for them.
        """
        if self.addresses is None or not (policy.elastic and node.awaiting):
            return policy
        held = sum(max(e.held, e.asked) if e.usable else e.held for e in node.enis)
        most = held + self.addresses
        if policy.max_addresses is not None and policy.max_addresses <= most:
            return policy
        return replace(policy, max_addresses=most)

    def allow(self, action: Action, node: NodeState) -> Action | None:
        """Return the action for the node, made smaller to fit, or None if it does not fit."""
        match action:
            case CreateENI(name, wanted):
                if self.enis is not None and self.enis < 1:
                    self.refuse(ENIS, node)
                    return None
                count = self._take(wanted, node)
                if count and self.enis is not None:
                    self.enis -= 1
                return CreateENI(name, count) if count else None
            case GrowENI(name, wanted):
                eni = next(e for e in node.enis if e.name == name)
                free = min(wanted, eni.held)  # it has them, or was promised them
                count = free + (self._take(wanted - free, node) if wanted > free else 0)
                return GrowENI(name, count) if count > eni.count else None
            case _:
                return action

    def _take(self, wanted: int, node: NodeState) -> int:
        """Return how many of the addresses the pool may still get, and count them."""
        count = wanted if self.addresses is None else min(wanted, self.addresses)
        if not count:
            self.refuse(ADDRESSES, node)
        if self.addresses is not None:
            self.addresses -= count
        return count

    def waits_for(self, node: NodeState) -> tuple[str, ...]:
        """Return the limits for which pods of the node wait.

        One that only holds spare addresses does its job.
        """
        return tuple(sorted(self.refused.get(node.name, ()))) if node.pods_wait else ()

    def refuse(self, limit: str, node: NodeState) -> None:
        """Note that the limit leaves the node without addresses."""
        self.refused.setdefault(node.name, set()).add(limit)


def pool_budget(limits: Limits, enis: int, addresses: int) -> PoolBudget:
    """Return what so many ENIs with so many addresses leave; those being deleted still count."""
    return PoolBudget(
        None if limits.max_enis is None else max(0, limits.max_enis - enis),
        None if limits.max_addresses is None else max(0, limits.max_addresses - addresses),
    )


def by_need(nodes: Iterable[NodeState]) -> list[NodeState]:
    """Return the nodes in the order in which they get what is left: by their waiting pods.

    What a pod keeps comes first: it may have left another port for it, and is on none.
    """
    return sorted(nodes, key=lambda node: (-node.awaiting, -node.waiting, node.name))
