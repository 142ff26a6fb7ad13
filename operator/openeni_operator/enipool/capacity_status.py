"""Find out what keeps a pool from its addresses, for the condition CapacityAvailable. Pure."""

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from openeni_crds.conditions import Condition, Reason, Status, Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_operator.sizing.stalls import STUCK_SECONDS
from openeni_operator.sizing.state import ENIState, NodeState

NODES_SHOWN: Final = 5  # names of nodes in a message
# An ENI that is not Ready for one of these reasons makes progress, unless it lasts STUCK_SECONDS
# while pods wait; any other needs attention.
IN_PROGRESS: Final = frozenset(
    {
        Reason.WAITING_FOR_PORT,
        Reason.WAITING_FOR_AGENT,
        Reason.WAITING_FOR_ATTACH,
        Reason.WAITING_FOR_NIC,
        Reason.UPDATING,
        Reason.DELETING,
        Reason.OUTCOME_UNKNOWN,
        Reason.ATTACH_UNKNOWN,
        Reason.CLOUD_UNREACHABLE,
        Reason.THROTTLED,
        Reason.PAUSED,
    }
)


class Obstacle(NamedTuple):
    reason: str
    message: str


@dataclass(frozen=True)
class NodeGroups:
    """Names of the pool's nodes, by what prevents an ENI there."""

    served: Collection[str] = ()
    without_agent: Collection[str] = ()
    without_datapath: Collection[str] = ()
    without_subnet: Collection[str] = ()
    at_limit: Collection[str] = ()  # pods wait, but a limit of the pool forbids another ENI
    without_slot: Collection[str] = ()  # pods wait, but an ENI of another pool has found no slot
    stalled: Collection[str] = ()  # pods wait for ENIs that make no progress towards Ready
    first_stall: Obstacle | None = None  # of the first of these nodes


NO_NODES: Final = NodeGroups()


def capacity_obstacles(
    pool: ENIPool,
    nodes: NodeGroups,
    failed: Obstacle | None,
    limits: tuple[str, ...],
    waiting: Collection[str],
) -> Iterator[Obstacle]:
    """Yield what keeps the pool from its addresses, the most important first.

    `failed` is that of the first ENI with one. `limits` are the fields of spec.limits that hold
    growth, `waiting` the nodes where pods wait for them or for the end of a pause.
    """
    if nodes.first_stall is not None:
        reason, message = nodes.first_stall
        which = f"; on node {min(nodes.stalled)}" if len(nodes.stalled) > 1 else ""
        yield Obstacle(reason, f"pods wait on {name_nodes(nodes.stalled)}{which}: {message}")
    if failed is not None:
        yield failed
    if waiting and pool.spec.paused:
        yield Obstacle(
            Reason.PAUSED,
            f"spec.paused is true and pods wait for an address on {name_nodes(waiting)}: set it "
            "to false",
        )
    if limits:
        fields = " and ".join(f"spec.limits.{field}" for field in limits)
        yield Obstacle(
            Reason.POOL_LIMIT,
            f"pods wait on {name_nodes(waiting)}, and {fields} allows no more in this pool: raise "
            "it, or run fewer pods there",
        )
    if nodes.at_limit:
        yield Obstacle(
            Reason.NODE_LIMIT,
            f"pods wait on {name_nodes(nodes.at_limit)}: raise spec.capacity.maxENIsPerNode or "
            "maxAddressesPerNode, or run fewer pods there",
        )
    if nodes.without_slot:
        yield Obstacle(
            Reason.NO_HOTPLUG_SLOT,
            f"pods wait on {name_nodes(nodes.without_slot)}, where an ENI of another pool has "
            "found no slot for its NIC: lower spec.capacity.maxENIsPerNode of one of the pools, or "
            "give the flavor more slots",
        )
    if nodes.without_subnet:
        yield Obstacle(
            Reason.INVALID_SPEC,
            f"spec.subnets has none for the zone of {name_nodes(nodes.without_subnet)}: "
            "add one with that zone, or one without a zone",
        )


def eni_obstacle(eni: ENI) -> Obstacle | None:
    """Return the failure of an ENI that is not Ready, or whose port gets no addresses."""
    for type_ in (Type.READY, Type.SIZED):
        found = find(eni.status.conditions, type_)
        failed = found is not None and found.status != Status.TRUE
        if found is not None and failed and found.reason not in IN_PROGRESS:
            return Obstacle(
                found.reason, f"ENI {eni.name} on node {eni.spec.node_name}: {found.message}"
            )
    return None


def stall_of(node: NodeState, enis: Iterable[ENI]) -> Obstacle | None:
    """Return why the node's pods wait, if each ENI that could serve them soon is stalled.

    `enis` are the node's, in the order in which they are named.
    """
    unready = {e.name: e for e in node.enis if e.usable and not e.ready}
    if not unready or any(e.stalled_seconds < STUCK_SECONDS for e in unready.values()):
        return None
    known = ((eni.name, find(eni.status.conditions, Type.READY)) for eni in enis)
    found = [(name, ready) for name, ready in known if name in unready and ready is not None]
    if not found:
        return None
    name, first = found[0]
    who, have = ("ENIs", "have") if len(found) > 1 else ("ENI", "has")
    message = (
        f"{who} {' and '.join(name for name, _ in found)} {have} made no progress towards Ready "
        f"for over {STUCK_SECONDS / 60:.0f} minutes: {first.message}"
    )
    return Obstacle(first.reason, f"{message}; {_way_out(unready[name], first, unready.values())}")


def _way_out(eni: ENIState, ready: Condition, unready: Iterable[ENIState]) -> str:
    """Return what to do about the first of a node's stalled ENIs, beside what `ready` says."""
    if not eni.stuck:
        return f"see {ready.reason} in docs/conditions.md"
    several = sum(other.stuck for other in unready) > 1
    return (
        ("check the node and its server first, " if several else "")
        + f"or run kubectl delete eni {eni.name}: another one is created, {eni.name} goes once its "
        "pods have ended"
    )


def name_nodes(nodes: Collection[str]) -> str:
    """Return the names of some of the nodes, and how many more there are."""
    rest = len(nodes) - NODES_SHOWN
    shown = ", ".join(heapq.nsmallest(NODES_SHOWN, nodes))
    return (
        f"node {shown}"
        if len(nodes) == 1
        else f"nodes {shown}" + (f" and {rest} more" if rest > 0 else "")
    )
