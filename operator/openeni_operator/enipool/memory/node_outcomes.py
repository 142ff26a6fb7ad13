"""Keep what the last plan of each node came to, and when each is due again. Pure."""

import heapq
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from openeni_operator.enipool.capacity_status import NodeGroups, Obstacle


class Group(StrEnum):
    """Nodes that the pool selects, by what prevents an ENI there."""

    SERVED = "served"
    WITHOUT_AGENT = "without_agent"
    WITHOUT_DATAPATH = "without_datapath"
    WITHOUT_SUBNET = "without_subnet"


@dataclass(frozen=True)
class NodeOutcome:
    """The result of a node's plan."""

    group: Group | None = None  # None: the pool does not select the node
    at_limit: bool = False  # pods wait, but a limit of the node forbids another ENI
    without_slot: bool = False  # pods wait, but an ENI of another pool has found no slot
    stall: Obstacle | None = None  # pods wait for ENIs that make no progress towards Ready
    limits: tuple[str, ...] = ()  # fields of the pool's spec.limits that leave pods waiting
    paused: bool = False  # pods wait for the end of the pool's pause
    short: bool = False  # it lacks addresses, which room elsewhere may give it
    due: float | None = None  # when it is to be planned again, though nothing changes


AT_LIMIT: Final = "at_limit"
WITHOUT_SLOT: Final = "without_slot"
STALLED: Final = "stalled"
SHORT: Final = "short"
WAITING: Final = "waiting"
_LIMIT: Final = "limit "


class NodeOutcomes:
    """Outcomes by the node's name, and the nodes by what their outcomes say."""

    def __init__(self) -> None:
        self._outcomes: dict[str, NodeOutcome] = {}
        self._nodes: dict[str, set[str]] = {}
        self._due: list[tuple[float, str]] = []  # a heap, with times that no longer hold

    def replace(self, name: str, outcome: NodeOutcome | None) -> None:
        """Replace the outcome of a node; None: it is none of the pool's."""
        before = self._outcomes.pop(name, None)
        for word in _words_of(before):
            self._nodes[word].discard(name)
        for word in _words_of(outcome):
            self._nodes.setdefault(word, set()).add(name)
        if outcome is None:
            return
        self._outcomes[name] = outcome
        if outcome.due is not None and (before is None or before.due != outcome.due):
            heapq.heappush(self._due, (outcome.due, name))
            if len(self._due) > 2 * len(self._outcomes):
                times = ((known.due, other) for other, known in self._outcomes.items())
                self._due = [(at, other) for at, other in times if at is not None]
                heapq.heapify(self._due)

    def of(self, name: str) -> NodeOutcome | None:
        """Return the outcome of a node's last plan."""
        return self._outcomes.get(name)

    @property
    def short(self) -> AbstractSet[str]:
        """The nodes that lack addresses."""
        return self._of(SHORT)

    @property
    def waiting(self) -> AbstractSet[str]:
        """The nodes where pods wait because of a limit of the pool, or of a pause."""
        return self._of(WAITING)

    @property
    def limits(self) -> tuple[str, ...]:
        """The fields of spec.limits that leave pods waiting."""
        reached = (word for word, nodes in self._nodes.items() if nodes)
        return tuple(sorted(w.removeprefix(_LIMIT) for w in reached if w.startswith(_LIMIT)))

    def groups(self) -> NodeGroups:
        """Return the nodes by group: views, which change with the outcomes."""
        stalled = self._of(STALLED)
        return NodeGroups(
            served=self._of(Group.SERVED),
            without_agent=self._of(Group.WITHOUT_AGENT),
            without_datapath=self._of(Group.WITHOUT_DATAPATH),
            without_subnet=self._of(Group.WITHOUT_SUBNET),
            at_limit=self._of(AT_LIMIT),
            without_slot=self._of(WITHOUT_SLOT),
            stalled=stalled,
            first_stall=self._outcomes[min(stalled)].stall if stalled else None,
        )

    def take_due(self, now: float) -> set[str]:
        """Return the nodes that are due by now; each time counts once."""
        found: set[str] = set()
        while (due := self.next_due()) is not None and due <= now:
            _, name = heapq.heappop(self._due)
            self._outcomes[name] = replace(self._outcomes[name], due=None)
            found.add(name)
        return found

    def next_due(self) -> float | None:
        """Return when the next node is due."""
        while self._due:
            at, name = self._due[0]
            known = self._outcomes.get(name)
            if known is not None and known.due == at:
                return at
            heapq.heappop(self._due)
        return None

    def _of(self, word: str) -> AbstractSet[str]:
        return self._nodes.get(word, frozenset())


def _words_of(outcome: NodeOutcome | None) -> Iterator[str]:
    """Yield what the outcome says about its node."""
    if outcome is None:
        return
    if outcome.group is not None:
        yield outcome.group
    yield from (_LIMIT + limit for limit in outcome.limits)
    if outcome.limits or outcome.paused:
        yield WAITING
    for word, holds in (
        (AT_LIMIT, outcome.at_limit),
        (WITHOUT_SLOT, outcome.without_slot),
        (STALLED, outcome.stall is not None),
        (SHORT, outcome.short),
    ):
        if holds:
            yield word
