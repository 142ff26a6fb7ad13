"""Note what a look has found that others have changed: each is logged and counted. Pure."""

from collections.abc import Container, Iterable

from openeni_nodeagent.datapath.describe import sentence
from openeni_nodeagent.datapath.diff import differing_from
from openeni_nodeagent.datapath.model import NOTHING, Operation, State
from openeni_nodeagent.datapath.node.plan import Differences, Part
from openeni_nodeagent.datapath_api import Repair


class NotedRepairs:
    """Holds the operations that a look found necessary, by part.

    What was there when the look began, and has to come again, went with something that the look has
    removed, such as an address: nobody else has taken it away.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[Part, Operation]] = []
        self._before = NOTHING
        self.of_macs: tuple[Repair, ...] = ()

    def begin(self, seen: State) -> None:
        self._before = seen

    def note(self, part: Part, operations: Iterable[Operation]) -> None:
        self._noted += [(part, o) for o in differing_from(self._before, operations)]

    def done(self, refused: Container[Part], left: Differences) -> tuple[Repair, ...]:
        """Return what was noted, without what the kernel has refused to restore."""
        noted = (
            Repair(type(operation.item).__name__.lower(), sentence(operation))
            for part, operation in self._noted
            if part not in refused or operation not in left.get(part, ())
        )
        return *self.of_macs, *noted
