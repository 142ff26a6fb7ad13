"""What a pool's plan works on and returns: settings, a node with its ENIs, actions. Pure.

All numbers of addresses are counted in pods: a dual-stack pod has one address of each family.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

UNBOUNDED: Final = 2**31  # addresses


@dataclass(frozen=True)
class SizingPolicy:
    """The pool's capacity and reclaim settings."""

    addresses_per_eni: int
    max_enis: int
    min_available: int
    max_available: int | None = None
    max_addresses: int | None = None
    reclaim_after: float | None = None  # seconds that an ENI may be idle; None: for ever
    elastic: bool = False  # addresses can be added to ports and removed from them


@dataclass(frozen=True)
class ENIState:
    """An existing ENI."""

    name: str
    addresses: int  # for pods on its port, or requested
    releasing: int = 0  # more, which are being removed from its port
    granted: int = 0
    cooling: int = 0
    ready: bool = False
    retiring: bool = False  # the operator has asked for its addresses
    all_asked: bool = False  # for every one that its port has by now
    all_retired: bool = False  # the agent can no longer grant any of its addresses
    deleting: bool = False
    orphaned: bool = False  # its server is no longer a node of the cluster
    broken: bool = False  # its port was changed so that it cannot serve pods any more
    inactive: bool = False  # its port stays attached and not ACTIVE
    parked: bool = False  # all its addresses are asked for until its port is attached
    no_slot: bool = False  # its server has no slot for another NIC
    stuck: bool = False  # no progress for STUCK_SECONDS, for a reason of its own
    stalled_seconds: float = 0.0  # since it last made progress towards Ready
    exhausted: bool = False  # its subnets have no address left for its port, and others have
    idle_seconds: float | None = None  # since the last address was in use
    wanted: int | None = None  # addresses that an elastic one shall have; None: those it has
    # How many its spec is to ask for, if it asks in vain for more: nobody adds any to its port.
    settled: int | None = None
    misasked: bool = False  # others than its surplus are asked for, or some that pods have
    refused: bool = False  # the cloud does not add the addresses that it lacks
    scarce: bool = False  # as there are none: another ENI of its subnets would get none either
    lacking_seconds: float = 0.0  # since its port has lacked any
    claimed: int = 0  # addresses for certain pods that its port is to get
    awaited: int = 0  # pods that wait for those
    all_leave: bool = False  # all that its port has are to go to other nodes
    subnets: frozenset[str] = frozenset()  # IDs
    room: int = UNBOUNDED  # addresses that these may still have, by estimate

    @property
    def usable(self) -> bool:
        return not (self.retiring or self.deleting or self.orphaned or self.broken)

    @property
    def may_return(self) -> bool:
        """Return True if it is retired, and serves pods again once that is withdrawn."""
        gone = self.deleting or self.orphaned or self.broken or self.no_slot
        return self.retiring and not gone and (self.granted > 0 or not self.stuck)

    @property
    def resizable(self) -> bool:
        """Return True if its addresses may be planned: not while its port is attached anew."""
        return self.usable and not (self.inactive or self.parked)

    @property
    def asked(self) -> int:
        """Return how many addresses its spec asks for."""
        return self.addresses if self.wanted is None else self.wanted

    @property
    def count(self) -> int:
        """Return how many addresses it shall have; those that the cloud refuses are not awaited."""
        return min(self.asked, self.addresses) if self.refused else self.asked

    @property
    def held(self) -> int:
        """Return how many it takes from the subnets: also those that it is to get, or to lose.

        One that is to go gets no more, and pods may take theirs along.
        """
        there = self.addresses + self.releasing
        return max(there, self.count) if self.usable else there

    @property
    def reserved(self) -> int:
        """Return how many of them are for certain pods, and not on its port yet."""
        return min(self.claimed, max(0, self.count - self.addresses))

    @property
    def capacity(self) -> int:
        """Return how many pods it serves, or will serve once it is ready.

        What it is to get for certain pods serves no other, and the cloud may refuse it for long. A
        stuck one serves the pods that have an address of it, if any.
        """
        if self.no_slot or not self.usable:
            return 0
        return self.granted + self.cooling if self.stuck else self.count - self.reserved

    @property
    def serving(self) -> int:
        """Return how many pods it serves now: until ready, those that have an address already."""
        return self.capacity if self.ready else min(self.capacity, self.granted + self.cooling)


@dataclass(frozen=True)
class NodeState:
    """A node as one pool sees it."""

    name: str
    enis: tuple[ENIState, ...] = ()
    waiting: int = 0  # pods that any address serves
    max_pods: int = 110
    selected: bool = True  # the pool is not being deleted and selects the node
    can_create: bool = True  # a new ENI can be created for it
    missing: bool = False  # there is no such Node, perhaps for a moment only
    cordoned: bool = False  # no more pods are scheduled there
    no_slot: bool = False  # an ENI of another pool has found no slot on its server
    expected: int = 0  # pods that arrive while addresses are being added
    peak: int | None = None  # highest target during reclaim_after; None: not watched for so long
    alternative: frozenset[str] = frozenset()  # subnets that have addresses for another ENI

    def has_elsewhere(self, eni: ENIState) -> bool:
        """Return True if another ENI would find addresses where this one's subnets have none."""
        return bool(self.alternative) and self.alternative != eni.subnets

    @property
    def awaiting(self) -> int:
        """Return how many pods wait for certain addresses that ENIs of the node are to get."""
        return sum(eni.awaited for eni in self.enis)

    @property
    def counted(self) -> int:
        """Return how many addresses the pool's limit counts: also those that the cloud refuses."""
        return sum(max(e.held, e.asked) if e.usable else e.held for e in self.enis)

    @property
    def pods_wait(self) -> bool:
        return self.waiting + self.awaiting > 0


@dataclass(frozen=True)
class CreateENI:
    node: str
    addresses: int


@dataclass(frozen=True)
class GrowENI:
    """Let the ENI have so many addresses: withdraw requests for some, add those it lacks."""

    eni: str
    addresses: int


@dataclass(frozen=True)
class RetireAddresses:
    """Ask the agent for all but `keep` of its addresses, to remove them from the port."""

    eni: str
    keep: int


@dataclass(frozen=True)
class RetireENI:
    """Ask the agent for all addresses of the ENI."""

    eni: str


@dataclass(frozen=True)
class UnretireENI:
    """Withdraw the request for its addresses."""

    eni: str


@dataclass(frozen=True)
class DeleteENI:
    eni: str


Action: TypeAlias = CreateENI | GrowENI | RetireAddresses | RetireENI | UnretireENI | DeleteENI


@dataclass(frozen=True)
class Plan:
    actions: tuple[Action, ...] = ()
    limit_reached: bool = False  # pods wait, but a limit forbids another ENI

    @property
    def growth(self) -> tuple[Action, ...]:
        """Return the actions that give the node more addresses."""
        return tuple(a for a in self.actions if isinstance(a, CreateENI | GrowENI | UnretireENI))

    @property
    def grows(self) -> bool:
        """Return True if the node gets more addresses, or would without a limit."""
        return self.limit_reached or bool(self.growth)
