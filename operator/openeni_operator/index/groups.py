"""Values by their names, in groups: an index. Pure."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Groups(Generic[T]):
    """A group exists while it has a value. Not safe for several threads."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, dict[str, T]] = {}

    def put(self, group: Hashable, name: str, value: T) -> None:
        """Add the value, or replace the one of that name in the group."""
        self._groups.setdefault(group, {})[name] = value

    def discard(self, group: Hashable, name: str) -> None:
        """Remove the value of that name, if the group has one."""
        members = self._groups.get(group)
        if members is None:
            return
        members.pop(name, None)
        if not members:
            del self._groups[group]

    def of(self, group: Hashable) -> tuple[T, ...]:
        """Return the values of the group."""
        return tuple(self._groups.get(group, {}).values())
