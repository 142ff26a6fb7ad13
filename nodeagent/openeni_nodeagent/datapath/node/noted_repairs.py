"""Note what a look has found that others have changed: each is logged and counted. Pure."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from openeni_nodeagent.datapath.describe import sentence
from openeni_nodeagent.datapath.diff import differing_from
from openeni_nodeagent.datapath.model import NOTHING, Operation, State, Verb
from openeni_nodeagent.datapath.node.plan import Differences, Part
from openeni_nodeagent.datapath_api import NodeFacts, Repair


@dataclass(frozen=True)
class LastLook:
    """Holds what tells a repair from a change of what is wanted."""

    # By MACs of ENIs, indexes of NICs that were as planned once: what differs of these is a repair.
    configured: Mapping[str, int] = field(default_factory=dict[str, int])
    planned: Mapping[Part, State] = field(default_factory=dict[Part, State])
    node: NodeFacts | None = None  # to what it is told of, pods have routes

    def and_nics(self, indexes: Mapping[str, int]) -> Self:
        """Return it with NICs that have been configured since, by the MACs of their ENIs."""
        return replace(self, configured={**self.configured, **indexes})


class NotedRepairs:
    """Holds the operations that a look found necessary, by part.

    What was there when the look began, and has to come again, went with something that the look has
    removed, such as an address: nobody else has taken it away. Nor has anybody changed what the
    last look had not `planned` of a part, or planned and does no more: the node is another one.
    """

    def __init__(self, last: LastLook | None = None) -> None:
        self.last = last or LastLook()
        self._noted: list[tuple[Part, Operation]] = []
        self._before = NOTHING
        self.of_macs: tuple[Repair, ...] = ()

    def begin(self, seen: State) -> None:
        self._before = seen

    def note(self, part: Part, operations: Iterable[Operation]) -> None:
        """Note what differs on the node, all of it if the last look had no plan of the part."""
        if (planned := self.last.planned.get(part)) is not None:
            operations = [o for o in operations if (o.verb is Verb.REMOVE) != (o.item in planned)]
        self.note_all(part, operations)

    def note_all(self, part: Part, operations: Iterable[Operation]) -> None:
        """Note what differs wherever it is."""
        self._noted += [(part, o) for o in differing_from(self._before, operations)]

    def done(self, refused: Container[Part], left: Differences) -> tuple[Repair, ...]:
        """Return what was noted, without what the kernel has refused to restore."""
        noted = (
            Repair(type(operation.item).__name__.lower(), sentence(operation))
            for part, operation in self._noted
            if part not in refused or operation not in left.get(part, ())
        )
        return *self.of_macs, *noted
