"""Remember what a pool's last reconciles found, so that the next one looks at changes only. Pure.

Sums over ENIs and the outcomes of nodes are kept up to date by what has changed. All of it follows
from the cluster state, and is computed anew from there whenever what it rests on changes, and
every `WHOLE_SECONDS`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool, ENIPoolSpec
from openeni_operator.enipool.memory.eni_totals import ENITotals, share_of
from openeni_operator.enipool.memory.node_outcomes import NodeOutcome, NodeOutcomes
from openeni_operator.enipool.memory.subnet_usage import Promises
from openeni_operator.enipool.port_selection import PortSelection, is_outdated
from openeni_operator.enipool.resolution import Resolution
from openeni_operator.index.changes import Changes
from openeni_operator.sizing.history import PoolHistory

WHOLE_SECONDS: Final = 300.0  # after which a reconcile goes over all nodes and ENIs


@dataclass(frozen=True)
class Basis:
    """What the plans of all nodes rest on."""

    uid: str
    deleting: bool
    spec: ENIPoolSpec
    resolution: Resolution | None
    selection: PortSelection | None


@dataclass(frozen=True)
class Room:
    """What the nodes of a pool may still get; None is without a limit."""

    enis: int | None
    addresses: int | None
    promised: Mapping[str, int]  # by subnet
    exhausted: frozenset[str]  # subnets

    def exceeds(self, before: "Room") -> bool:
        """Return True if there is more room than before, in any respect."""
        limits = (self.enis, before.enis), (self.addresses, before.addresses)
        return (
            any(old is not None and (new is None or new > old) for new, old in limits)
            or any(self.promised.get(s, 0) < count for s, count in before.promised.items())
            or not before.exhausted <= self.exhausted
        )


@dataclass(frozen=True)
class ENISource:
    """Where ENIs are looked up."""

    get: Callable[[str], ENI | None]
    every: Callable[[], Iterable[ENI]]  # of all pools


@dataclass
class PoolMemory:
    """What the process remembers of a pool."""

    history: PoolHistory = field(default_factory=PoolHistory)
    counted: float | None = None  # when its counts were written, by the monotonic clock
    totals: ENITotals = field(default_factory=ENITotals)
    promises: Promises = field(default_factory=lambda: Promises({}))
    outcomes: NodeOutcomes = field(default_factory=NodeOutcomes)
    gone: set[str] = field(default_factory=set[str])  # ENIs, until `forget_gone`
    _pending: set[str] = field(default_factory=set[str])  # nodes that are to be planned
    _changed: set[str] = field(default_factory=set[str])  # ENIs whose shares are not up to date
    _whole: bool = True  # go over everything
    _whole_at: float = 0.0
    _basis: Basis | None = None
    _elastic: bool = False
    _room: Room | None = None

    def note(self, changes: Changes) -> None:
        """Note what has changed in the cluster state."""
        self._pending |= changes.nodes
        self._changed |= changes.enis
        self._whole |= changes.everything

    def rest_on(self, basis: Basis, clock: float) -> None:
        """Note what plans rest on; another basis, or old age, makes all of them due."""
        old = clock - self._whole_at >= WHOLE_SECONDS
        if self._basis is None or old or basis != self._basis:
            self._basis, self._whole, self._whole_at = basis, True, clock

    def sum_up(self, pool: ENIPool, enis: ENISource, now: str) -> None:
        """Bring the sums up to date: by the ENIs that have changed, or by all of them."""
        resolution = self._basis.resolution if self._basis else None
        known = self.totals.names
        if self._whole:
            self.totals = ENITotals()
            self.promises = Promises(resolution.listed_ports if resolution else {})
            self._changed = {*known, *(eni.name for eni in enis.every())}
        before = known & self._changed
        for name in self._changed:
            self._count(pool, name, enis.get(name), now)
        self.gone |= before - self.totals.names
        self._changed = set()

    def _count(self, pool: ENIPool, name: str, eni: ENI | None, now: str) -> None:
        self.promises.replace(name, eni)
        share = None
        if eni is not None and eni.spec.pool_name == pool.name:
            selection = self._basis.selection if self._basis else None
            outdated = selection is not None and is_outdated(pool, eni, selection)
            share = share_of(eni, now, outdated=outdated)
        self.totals.replace(name, share)

    def choose_nodes(
        self, every: Callable[[], Iterable[str]], room: Room, clock: float, *, elastic: bool
    ) -> frozenset[str]:
        """Return the nodes to plan: each stays one until `planned`.

        `every` returns the nodes that the pool selects or has ENIs on.
        """
        if self._whole or elastic != self._elastic:
            self._whole, self._elastic = False, elastic
            self._pending |= {*every(), *self.history.nodes}
        elif self._room is not None and room.exceeds(self._room):
            self._pending |= self.outcomes.short
        self._pending |= self.outcomes.take_due(clock)
        return frozenset(self._pending)

    def planned(self, node: str, outcome: NodeOutcome | None, *, again: bool = False) -> None:
        """Note the outcome of a node's plan; None: it is none of the pool's.

        The node is to be planned `again` if its plan was not carried out.
        """
        self.outcomes.replace(node, outcome)
        if not again:
            self._pending.discard(node)

    def leave(self, room: Room) -> None:
        """Note what the plans have left: whatever exceeds it has become free since."""
        self._room = room

    def forget_gone(self) -> Iterable[str]:
        """Forget ENIs that are gone, and return their names."""
        names, self.gone = self.gone, set()
        for name in names:
            self.history.creations.forget(name)
            self.history.additions.forget(name)
        return names
