"""What to do about one node's ENIs of one pool: wanted addresses against those it has.

An ENI never changes its size (growth is Static), so the steps are: make one, ask its addresses
back, delete it. One is made at a time on a node: while it is on its way, nothing tells whether
another would fail in the same way.
"""

from dataclasses import dataclass
from typing import TypeAlias

from openeni_operator.enipool.demand import Load, wanted


@dataclass(frozen=True)
class Limits:
    """The pool's capacity, and how long an ENI may be idle (seconds; None: for ever)."""

    addresses_per_eni: int
    max_enis: int
    min_available: int
    max_available: int | None = None
    max_addresses: int | None = None
    idle: float | None = None


@dataclass(frozen=True)
class Held:
    """An ENI that exists, in pods."""

    name: str
    addresses: int  # on its port, or asked for
    granted: int = 0
    cooling: int = 0
    ready: bool = False
    retiring: bool = False  # the operator has asked for its addresses back
    released: bool = False  # no address of it can be granted any more
    deleting: bool = False
    stranded: bool = False  # its server is no node any more
    idle: float | None = None  # seconds since the last address was in use

    @property
    def usable(self) -> bool:
        return not (self.retiring or self.deleting or self.stranded)


@dataclass(frozen=True)
class NodeState:
    """One node as one pool sees it."""

    name: str
    held: tuple[Held, ...] = ()
    waiting: int = 0
    pods: int = 110  # the node's allocatable pods
    stays: bool = True  # the pool is there and still selects the node
    serves: bool = True  # a new ENI can be made for it


@dataclass(frozen=True)
class CreateENI:
    node: str
    addresses: int


@dataclass(frozen=True)
class RetireENI:
    """Ask for all its addresses back."""

    eni: str


@dataclass(frozen=True)
class DeleteENI:
    eni: str


Action: TypeAlias = CreateENI | RetireENI | DeleteENI


@dataclass(frozen=True)
class Plan:
    actions: tuple[Action, ...] = ()
    short: bool = False  # pods wait and a limit is reached


def plan(node: NodeState, limits: Limits) -> Plan:
    """Return what to do now; nothing where the node has what it should."""
    going = tuple(a for held in node.held if (a := _let_go(held, stays=node.stays)) is not None)
    if not node.stays:
        return Plan(going)
    target = target_of(node, limits)
    have = sum(h.addresses for h in node.held if h.usable)
    if target > have:
        return _grow(node, limits, have, going)
    return Plan(going + _shrink(node, limits, target, have))


def target_of(node: NodeState, limits: Limits) -> int:
    """How many addresses the node should hold on ENIs that stay."""
    usable = [h for h in node.held if h.usable]
    load = Load(node.waiting, sum(h.granted for h in usable), sum(h.cooling for h in usable))
    return wanted(load, limits.min_available, node.pods, limits.max_addresses)


def _let_go(held: Held, *, stays: bool) -> Action | None:
    """Take an ENI away in its order: first every address, then the ENI."""
    if held.deleting:
        return None
    if held.stranded or (held.released and (held.retiring or not stays)):
        return DeleteENI(held.name)
    return None if stays or held.retiring else RetireENI(held.name)


def _grow(node: NodeState, limits: Limits, have: int, going: tuple[Action, ...]) -> Plan:
    room = limits.max_addresses
    size = limits.addresses_per_eni if room is None else min(limits.addresses_per_eni, room - have)
    full = len(node.held) >= limits.max_enis or size < 1
    on_its_way = any(h.usable and not h.ready for h in node.held)
    if full:
        return Plan(going, short=node.waiting > 0)
    if on_its_way or not node.serves:
        return Plan(going)
    return Plan((*going, CreateENI(node.name, size)))


def _shrink(node: NodeState, limits: Limits, target: int, have: int) -> tuple[Action, ...]:
    """Retire at most one idle ENI, the last made first, if the rest is enough."""
    idle = [h for h in node.held if h.usable and h.idle is not None]
    for held in sorted(idle, key=lambda h: h.name, reverse=True):
        if have - held.addresses >= target and _may_go(held, node, limits, have):
            return (RetireENI(held.name),)
    return ()


def _may_go(held: Held, node: NodeState, limits: Limits, have: int) -> bool:
    used = sum(h.granted + h.cooling for h in node.held if h.usable)
    too_many = limits.max_available is not None and have - used > limits.max_available
    rested = held.idle is not None and limits.idle is not None and held.idle >= limits.idle
    return too_many or rested
