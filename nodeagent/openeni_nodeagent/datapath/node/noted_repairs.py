"""Note what a look has found that others have changed: each is logged and counted. Pure."""

from collections.abc import Container, Iterable

from openeni_nodeagent.datapath.describe import sentence
from openeni_nodeagent.datapath.model import Operation
from openeni_nodeagent.datapath.node.plan import Differences, Part
from openeni_nodeagent.datapath_api import Repair


class NotedRepairs:
    """Holds the operations that one look made necessary, by part."""

    def __init__(self) -> None:
        self._noted: list[tuple[Part, Operation]] = []

    def note(self, part: Part, operations: Iterable[Operation]) -> None:
        self._noted += [(part, operation) for operation in operations]

    def done(self, refused: Container[Part], left: Differences) -> tuple[Repair, ...]:
        """Return what was noted, without what the kernel has refused to restore."""
        return tuple(
            Repair(type(operation.item).__name__.lower(), sentence(operation))
            for part, operation in self._noted
            if part not in refused or operation not in left.get(part, ())
        )
