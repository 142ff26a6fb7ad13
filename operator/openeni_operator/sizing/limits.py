"""Hold the plans of all nodes to the limits of the pool. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from openeni_crds.capacity import Limits
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    GrowENI,
    NodeState,
    RetireAddresses,
    SizingPolicy,
)

# Fields of the pool's spec.limits.
ENIS: Final = "maxENIs"
ADDRESSES: Final = "maxAddresses"
NOTHING_KEPT: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass
class PoolBudget:
    """Holds what the pool may still get during one reconcile; None is without a limit."""

    enis: int | None
    addresses: int | None
    # More of them by node: what is on its way there.
    kept: dict[str, int] = field(default_factory=dict[str, int])
    # By node, the fields that left it without addresses.
    refused: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def bind(self, policy: SizingPolicy, node: NodeState) -> SizingPolicy:
        """Return the policy for a node whose pods wait for certain addresses.

        There the pool's limit counts like the node's own: a free address makes room for them.
        """
        if self.addresses is None or not (policy.elastic and node.awaiting):
            return policy
        most = node.counted + self.addresses + self.kept.get(node.name, 0)
        own = policy.max_addresses
        return replace(policy, max_addresses=most if own is None else min(own, most))

    def allow(self, action: Action, node: NodeState) -> Action | None:
        """Return the action for the node, made smaller to fit, or None if it does not fit.

        An ENI that may not grow is asked all the same for what leaves it: it makes room.
        """
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
                # It has them, or was promised them; what is leaving it may be another node's.
                free = min(wanted, max(eni.addresses, eni.asked))
                count = free + self._take(wanted - free, node)
                if count > eni.asked:
                    return GrowENI(name, count)
                return RetireAddresses(name, eni.count) if eni.misasked else None
            case _:
                return action

    def _take(self, wanted: int, node: NodeState) -> int:
        """Return how many of the addresses the node may still get, and count them.

        Those that are kept for it come first.
        """
        if self.addresses is None or not wanted:
            return wanted
        own = min(wanted, self.kept.get(node.name, 0))
        others = min(wanted - own, self.addresses)
        if not own + others:
            self.refuse(ADDRESSES, node)
        self.kept[node.name] = self.kept.get(node.name, 0) - own
        self.addresses -= others
        return own + others

    def waits_for(self, node: NodeState) -> tuple[str, ...]:
        """Return the limits for which pods of the node wait.

        One that only holds spare addresses does its job.
        """
        return tuple(sorted(self.refused.get(node.name, ()))) if node.pods_wait else ()

    def refuse(self, limit: str, node: NodeState) -> None:
        """Note that the limit leaves the node without addresses."""
        self.refused.setdefault(node.name, set()).add(limit)


def pool_budget(
    limits: Limits, enis: int, addresses: int, kept: Mapping[str, int] = NOTHING_KEPT
) -> PoolBudget:
    """Return what so many ENIs with so many addresses leave; those being deleted still count.

    Addresses on their way to nodes have the room that they have `kept` there, and there alone. If
    the pool has given some of it away already, whoever comes first has the rest.
    """
    free_enis = None if limits.max_enis is None else max(0, limits.max_enis - enis)
    if limits.max_addresses is None:
        return PoolBudget(free_enis, None)
    left = max(0, limits.max_addresses - addresses)
    kept = kept if sum(kept.values()) <= left else NOTHING_KEPT
    return PoolBudget(free_enis, left - sum(kept.values()), dict(kept))


def by_need(nodes: Iterable[NodeState]) -> list[NodeState]:
    """Return the nodes in the order in which they get what is left: by their waiting pods.

    What a pod keeps comes first: it may have left another port for it, and is on none.
    """
    return sorted(nodes, key=lambda node: (-node.awaiting, -node.waiting, node.name))
