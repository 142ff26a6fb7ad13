"""Cache the list of all ports of a network.

One list for each network and resync serves the drift check of every settled ENI and the count of
free addresses of every pool, so that neither costs a call of its own. A port that is being
created, attached or deleted is looked up by name instead.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from openeni_operator.cloud.api import Cloud, Port


@dataclass(frozen=True)
class _PortList:
    listed_at: float
    ports: tuple[Port, ...]


class PortCache:
    """A thread-safe cache. One thread lists a network while the others wait for its result."""

    def __init__(self, max_age: float, clock: Callable[[], float]) -> None:
        """Return lists that are at most `max_age` seconds old."""
        self._max_age = max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._list_locks: dict[tuple[str, str], threading.Lock] = {}
        self._lists: dict[tuple[str, str], _PortList] = {}

    def ports_on(self, cloud_name: str, cloud: Cloud, network_id: str) -> tuple[Port, ...]:
        """Return the ports of the network. Raises a CloudError."""
        key = (cloud_name, network_id)
        with self._lock:
            list_lock = self._list_locks.setdefault(key, threading.Lock())
        with list_lock:
            cached = self._lists.get(key)
            if cached is None or self._clock() - cached.listed_at > self._max_age:
                cached = _PortList(self._clock(), cloud.ports_on(network_id))
                self._lists[key] = cached
            return cached.ports
