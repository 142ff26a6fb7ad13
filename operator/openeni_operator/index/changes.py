"""Record, for each reader, which objects have changed since it last asked: a reader is a pool.

A reconcile that knows what has changed need not go over everything. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Changes:
    """Names of the nodes that something of has changed, and of ENIs that have, or are gone."""

    nodes: set[str] = field(default_factory=set[str])
    enis: set[str] = field(default_factory=set[str])
    everything: bool = False  # what is not of one node has changed, or nothing was read before


class ChangeLog:
    """Its size is bounded by the objects of the cluster. Not safe for several threads."""

    def __init__(self) -> None:
        self._unread: dict[str, Changes] = {}

    def note(self, *, nodes: Iterable[str] = (), eni: str = "", everything: bool = False) -> None:
        """Record a change for all readers."""
        names = {name for name in nodes if name}
        for changes in self._unread.values():
            changes.nodes |= names
            changes.everything |= everything
            if eni:
                changes.enis.add(eni)

    def take(self, reader: str) -> Changes:
        """Return what has changed since the reader last asked; everything, the first time."""
        found = self._unread.get(reader, Changes(everything=True))
        self._unread[reader] = Changes()
        return found

    def forget(self, reader: str) -> None:
        """Record nothing more for a reader that is gone."""
        self._unread.pop(reader, None)
