"""All ports of a network in one list, kept for a while: drift and free addresses cost no call each.

One list for each network and resync serves every ENI that has nothing to do and every pool that
counts free addresses; what is on its way is looked up by name instead.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from openeni_operator.cloud.api import Cloud, Port


@dataclass(frozen=True)
class _Listed:
    at: float
    ports: tuple[Port, ...]


class PortLists:
    """Safe for threads; one of them lists while the others wait for its list."""

    def __init__(self, age: float, clock: Callable[[], float]) -> None:
        """`age` in seconds: how old a list may be that is handed out."""
        self._age = age
        self._clock = clock
        self._lock = threading.Lock()
        self._networks: dict[tuple[str, str], threading.Lock] = {}
        self._lists: dict[tuple[str, str], _Listed] = {}

    def of(self, name: str, cloud: Cloud, network_id: str) -> tuple[Port, ...]:
        """Return the network's ports as they were at most `age` ago. Raises a CloudError."""
        key = (name, network_id)
        with self._lock:
            listing = self._networks.setdefault(key, threading.Lock())
        with listing:
            known = self._lists.get(key)
            if known is None or self._clock() - known.at > self._age:
                known = _Listed(self._clock(), cloud.ports_on(network_id))
                self._lists[key] = known
            return known.ports
