"""The ports with all their earlier versions, so that a read can be stale."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from openeni_testing.fake_openstack.messages import Moment
from openeni_testing.fake_openstack.resources import Address, PortRecord

Observe: TypeAlias = Callable[[PortRecord | None, PortRecord | None], None]


class _Version(NamedTuple):
    since: Moment
    port: PortRecord | None  # None from its deletion on


class PortTable:
    """Not thread-safe: the caller holds the cloud's lock.

    `observe` is called with a port before and after each change; None where it did not, or does
    not, exist.
    """

    def __init__(self) -> None:
        self.observe: Observe = lambda _before, _after: None
        self._versions: dict[str, list[_Version]] = {}
        self._current: dict[str, PortRecord] = {}
        self._by_name: dict[str, dict[str, PortRecord]] = {}
        self._taken: set[Address] = set()
        self._used: Counter[str] = Counter()  # addresses, by subnet

    def get(self, port_id: str, moment: Moment | None = None) -> PortRecord | None:
        """Return the port as it was at the moment, by default now."""
        if moment is None:
            return self._current.get(port_id)
        seen = [v.port for v in self._versions.get(port_id, ()) if _is_visible(v.since, moment)]
        return seen[-1] if seen else None

    def all(self, moment: Moment | None = None) -> list[PortRecord]:
        """Return the ports of the moment, in the order of their creation."""
        if moment is None:
            return list(self._current.values())
        return [p for port_id in self._versions if (p := self.get(port_id, moment)) is not None]

    def named(self, name: str) -> list[PortRecord]:
        """Return the present ports of this name, in the order of their latest changes."""
        return list(self._by_name.get(name, {}).values())

    def put(self, port: PortRecord, since: Moment) -> None:
        before = self._current.get(port.id)
        self._release(port.id)
        self._taken.update(port.addresses)
        self._used.update(address.subnet_id for address in port.addresses)
        self._current[port.id] = port
        self._by_name.setdefault(port.name, {})[port.id] = port
        self._versions.setdefault(port.id, []).append(_Version(since, port))
        self.observe(before, port)

    def remove(self, port_id: str, since: Moment) -> None:
        self._release(port_id)
        before = self._current.pop(port_id)
        self._versions[port_id].append(_Version(since, None))
        self.observe(before, None)

    def is_taken(self, address: Address) -> bool:
        return address in self._taken

    def used(self, subnet_id: str) -> int:
        """Return how many addresses of the subnet ports have."""
        return self._used[subnet_id]

    def _release(self, port_id: str) -> None:
        old = self._current.get(port_id)
        if old is not None:
            self._taken.difference_update(old.addresses)
            self._used.subtract(address.subnet_id for address in old.addresses)
            del self._by_name[old.name][port_id]


def _is_visible(since: Moment, moment: Moment) -> bool:
    return since.seconds <= moment.seconds and since.call <= moment.call
