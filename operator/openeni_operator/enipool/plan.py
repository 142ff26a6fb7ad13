"""Plan the ENIs of one pool on one node: the addresses it should hold against those it has.

An ENI's size is fixed at creation, so the actions are: create an ENI, retire its addresses, delete
it. A node gets one new ENI at a time: until it is ready, the next one might fail in the same way.
"""

from dataclasses import dataclass
from typing import TypeAlias

from openeni_operator.enipool.demand import NodeUsage, desired_addresses


@dataclass(frozen=True)
class SizingPolicy:
    """The pool's capacity and reclaim settings, counted in pods."""

    addresses_per_eni: int
    max_enis: int
    min_available: int
    max_available: int | None = None
    max_addresses: int | None = None
    reclaim_after: float | None = None  # seconds that an ENI may be idle; None: for ever


@dataclass(frozen=True)
class ENIState:
    """An existing ENI; addresses are counted in pods."""

    name: str
    addresses: int  # on its port, or requested
    granted: int = 0
    cooling: int = 0
    ready: bool = False
    retiring: bool = False  # the operator has asked for its addresses
    all_retired: bool = False  # the agent can no longer grant any of its addresses
    deleting: bool = False
    orphaned: bool = False  # its server is no longer a node of the cluster
    idle_seconds: float | None = None  # since the last address was in use

    @property
    def usable(self) -> bool:
        return not (self.retiring or self.deleting or self.orphaned)


@dataclass(frozen=True)
class NodeState:
    """A node as one pool sees it."""

    name: str
    enis: tuple[ENIState, ...] = ()
    waiting: int = 0
    max_pods: int = 110
    selected: bool = True  # the pool is not being deleted and selects the node
    can_create: bool = True  # a new ENI can be created for it


@dataclass(frozen=True)
class CreateENI:
    node: str
    addresses: int


@dataclass(frozen=True)
class RetireENI:
    """Ask the agent for all addresses of the ENI."""

    eni: str


@dataclass(frozen=True)
class DeleteENI:
    eni: str


Action: TypeAlias = CreateENI | RetireENI | DeleteENI


@dataclass(frozen=True)
class Plan:
    actions: tuple[Action, ...] = ()
    limit_reached: bool = False  # pods wait, but a limit of the pool forbids another ENI


def plan(node: NodeState, policy: SizingPolicy) -> Plan:
    """Return the actions to take now; none if the node has what it should."""
    removals = tuple(
        action for eni in node.enis if (action := _remove(eni, selected=node.selected)) is not None
    )
    if not node.selected:
        return Plan(removals)
    target = target_addresses(node, policy)
    have = sum(e.addresses for e in node.enis if e.usable)
    if target > have:
        return _grow(node, policy, have, removals)
    return Plan(removals + _shrink(node, policy, target, have))


def target_addresses(node: NodeState, policy: SizingPolicy) -> int:
    """Return how many addresses the node should hold on usable ENIs."""
    usable = [e for e in node.enis if e.usable]
    usage = NodeUsage(node.waiting, sum(e.granted for e in usable), sum(e.cooling for e in usable))
    return desired_addresses(usage, policy.min_available, node.max_pods, policy.max_addresses)


def _remove(eni: ENIState, *, selected: bool) -> Action | None:
    """Return the next action to remove an ENI that must go: first retire it, then delete it."""
    if eni.deleting:
        return None
    if eni.orphaned or (eni.all_retired and (eni.retiring or not selected)):
        return DeleteENI(eni.name)
    return None if selected or eni.retiring else RetireENI(eni.name)


def _grow(node: NodeState, policy: SizingPolicy, have: int, removals: tuple[Action, ...]) -> Plan:
    limit = policy.max_addresses
    size = policy.addresses_per_eni
    if limit is not None:
        size = min(size, limit - have)
    if len(node.enis) >= policy.max_enis or size < 1:
        return Plan(removals, limit_reached=node.waiting > 0)
    in_progress = any(e.usable and not e.ready for e in node.enis)
    if in_progress or not node.can_create:
        return Plan(removals)
    return Plan((*removals, CreateENI(node.name, size)))


def _shrink(node: NodeState, policy: SizingPolicy, target: int, have: int) -> tuple[Action, ...]:
    """Retire at most one idle ENI, the newest first, if the others hold enough addresses."""
    idle = [e for e in node.enis if e.usable and e.idle_seconds is not None]
    for eni in sorted(idle, key=lambda e: e.name, reverse=True):
        if have - eni.addresses >= target and _is_surplus(eni, node, policy, have):
            return (RetireENI(eni.name),)
    return ()


def _is_surplus(eni: ENIState, node: NodeState, policy: SizingPolicy, have: int) -> bool:
    used = sum(e.granted + e.cooling for e in node.enis if e.usable)
    too_many = policy.max_available is not None and have - used > policy.max_available
    after = policy.reclaim_after
    expired = eni.idle_seconds is not None and after is not None and eni.idle_seconds >= after
    return too_many or expired
