"""Compute how many addresses a node should hold. Pure."""

from dataclasses import dataclass

from openeni_operator.sizing.state import ENIState, NodeState, SizingPolicy


@dataclass(frozen=True)
class NodeUsage:
    """A node's use of a pool, counted in pods: a dual-stack pod has one address of each family."""

    waiting: int = 0  # pods bound to the node that have no address yet
    granted: int = 0
    cooling: int = 0


def target_addresses(node: NodeState, policy: SizingPolicy) -> int:
    """Return how many addresses the node should hold on usable ENIs, at least."""
    usage = usage_of(node)
    return desired_addresses(usage, _spare(node, policy, usage), node.max_pods, _most(node, policy))


def needed_addresses(node: NodeState) -> int:
    """Return how many addresses the node's pods need, whatever the pool allows."""
    return desired_addresses(usage_of(node), 0, node.max_pods, None)


def full_addresses(node: NodeState, policy: SizingPolicy) -> int:
    """Return up to how many addresses an elastic node is filled, and down to how many it shrinks.

    `min_available` above the target, so that not each pod costs a call, and that a node which was
    filled does not shrink again.
    """
    usage = usage_of(node)
    spare = _spare(node, policy, usage)
    more = 0 if node.cordoned else policy.min_available
    if policy.max_available is not None:
        more = min(more, max(0, policy.max_available - spare))
    return desired_addresses(usage, spare + more, node.max_pods, _most(node, policy))


def usage_of(node: NodeState) -> NodeUsage:
    """Return the use of the ENIs that stay."""
    usable = [e for e in node.enis if e.usable]
    return NodeUsage(node.waiting, sum(e.granted for e in usable), sum(e.cooling for e in usable))


def desired_addresses(
    usage: NodeUsage, spare: int, max_pods: int, max_addresses: int | None
) -> int:
    """Return how many addresses the node should hold.

    That is the granted and cooling ones, one for each waiting pod, and `spare` for the next pods;
    without the cooling ones at most what `max_pods` can use, and never above `max_addresses`.
    """
    useful = min(usage.waiting + usage.granted + spare, max_pods)
    total = max(useful, usage.granted) + usage.cooling
    return total if max_addresses is None else min(total, max_addresses)


def _most(node: NodeState, policy: SizingPolicy) -> int | None:
    """Return how many addresses the node may hold that any of its pods may get."""
    if policy.max_addresses is None:
        return None
    return max(0, policy.max_addresses - sum(map(_of_no_use, node.enis)))


def _of_no_use(eni: ENIState) -> int:
    """Return how many addresses the ENI holds, or is to get, that serve not just any pod.

    What an ENI that goes has is no room for others yet; one that is only retired may come back.
    """
    if not eni.usable:
        return 0 if eni.may_return else eni.held
    idle = eni.count - eni.reserved - eni.capacity
    return idle + (eni.claimed if eni.awaited else eni.reserved)


def _spare(node: NodeState, policy: SizingPolicy, usage: NodeUsage) -> int:
    """Return the addresses for pods that are yet to come; none are to come to a cordoned node.

    No more pods are expected than have an address, or had one before its cool-down: pods that the
    kubelet turns away arrive, too, and never take one.
    """
    if node.cordoned:
        return 0
    expected = min(node.expected, usage.granted + usage.cooling)
    if policy.max_available is not None:
        expected = min(expected, max(0, policy.max_available - policy.min_available))
    return policy.min_available + expected
