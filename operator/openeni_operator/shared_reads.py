"""Share reads of a cloud that serve many objects, such as the list of all ports of a network.

One list for each network and resync serves the drift check of every settled ENI and the count of
free addresses of every pool, so that neither costs a call of its own. A port that is being
created, attached or deleted is looked up by name instead.
"""

import socket
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from openeni_operator.cloud.api import Cloud, Network, Place, Port, PortQuota, Subnet
from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.cloud.errors import CloudError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass
class _Entry(Generic[V]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    read_at: float = 0.0
    value: V | None = None


class SharedRead(Generic[K, V]):
    """A thread-safe cache. One thread reads while the others wait for its result.

    They are of the same cloud, and so of the same lane. None is not cached, nor is a failure: the
    cloud's pauses remember it.
    """

    def __init__(self, max_age: float, clock: Callable[[], float]) -> None:
        """Return values that are at most `max_age` seconds old."""
        self._max_age = max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[K, _Entry[V]] = {}

    def get(self, key: K, read: Callable[[], V], not_before: float | None = None) -> V:
        """Return the value, read after `not_before` by the clock. Raises what `read` raises."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
        with entry.lock:
            now = self._clock()
            if entry.value is None or self._is_old(entry.read_at, now, not_before):
                value = read()
                entry.read_at, entry.value = now, value
                self._drop_old(now)
                return value
            return entry.value

    def known(self, key: K) -> V | None:
        """Return the value that was last read, however old it is; None if there is none."""
        with self._lock:
            entry = self._entries.get(key)
        return None if entry is None else entry.value

    def _is_old(self, read_at: float, now: float, not_before: float | None) -> bool:
        if not_before is not None and read_at <= not_before:
            return True
        return read_at < now - self._max_age

    def _drop_old(self, now: float) -> None:
        """Forget what nobody has read for long: a pool's network may be gone."""
        with self._lock:
            for key, entry in list(self._entries.items()):
                if entry.value is not None and now - entry.read_at > 2 * self._max_age:
                    del self._entries[key]


@dataclass(frozen=True)
class PortList:
    """The ports of a network, and their addresses by subnet ID, as sorted numbers."""

    by_name: Mapping[str, tuple[Port, ...]]
    sizes: Mapping[str, int]  # the number of fixed IPs, by the port's ID
    numbers: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class NetworkFacts:
    """A network with its subnets, by ID."""

    network: Network
    subnets: Mapping[str, Subnet]


class CloudReads:
    """What ENIs and pools of one network read together."""

    def __init__(self, max_age: float, clock: Callable[[], float]) -> None:
        """Return values that are at most `max_age` seconds old."""
        self.max_age = max_age
        self._ports: SharedRead[tuple[str, Place, str], PortList] = SharedRead(max_age, clock)
        self._networks: SharedRead[tuple[str, Place, str], NetworkFacts] = SharedRead(
            max_age, clock
        )
        self._quotas: SharedRead[tuple[str, Place], PortQuota] = SharedRead(max_age, clock)
        self._known_quotas: dict[str, PortQuota] = {}
        self._servers: SharedRead[tuple[str, Place, str], bool | None] = SharedRead(max_age, clock)

    def ports_on(
        self, name: str, cloud: Cloud, network_id: str, not_before: float | None = None
    ) -> PortList:
        """Return the ports of the network, as listed after `not_before`. Raises a CloudError."""
        key = name, cloud.place, network_id
        return self._ports.get(key, lambda: _index(cloud.ports_on(network_id)), not_before)

    def network(
        self, name: str, cloud: Cloud, network_id: str, not_before: float | None = None
    ) -> NetworkFacts:
        """Return the network and its subnets, as read after `not_before`. Raises a CloudError."""

        def read() -> NetworkFacts:
            subnets = {s.id: s for s in cloud.subnets_of(network_id)}
            return NetworkFacts(cloud.network(network_id), subnets)

        return self._networks.get((name, cloud.place, network_id), read, not_before)

    def known_mtu(self, name: str, cloud: Cloud, network_id: str) -> int | None:
        """Return the network's MTU as it was last seen; no call is made."""
        found = self._networks.known((name, cloud.place, network_id))
        return None if found is None else found.network.mtu

    def port_quota(self, name: str, cloud: Cloud) -> PortQuota:
        """Return the project's quota. Raises a CloudError."""
        quota = self._quotas.get((name, cloud.place), cloud.port_quota)
        self._known_quotas = {**self._known_quotas, name: quota}
        return quota

    def note_port_quota(self, name: str, cloud: Cloud) -> None:
        """Look up the quota, for who asks for it later; a project may not be allowed to."""
        with suppress(CloudError, NotYetError):
            self.port_quota(name, cloud)

    def known_port_quotas(self) -> dict[str, PortQuota]:
        """Return the quotas as last seen, by cloud."""
        return self._known_quotas

    def server_was_seen(self, name: str, cloud: Cloud, server_id: str) -> bool:
        """Return whether Nova shows the server, or has recently shown it. Raises a CloudError."""
        key = name, cloud.place, server_id
        return bool(self._servers.get(key, lambda: cloud.server_exists(server_id) or None))


def _index(ports: tuple[Port, ...]) -> PortList:
    by_name: dict[str, tuple[Port, ...]] = {}
    for port in ports:
        by_name[port.name] = (*by_name.get(port.name, ()), port)
    sizes = {port.id: len(port.fixed_ips) for port in ports}
    return PortList(by_name, sizes, numbers_by_subnet(ports))


def numbers_by_subnet(ports: Iterable[Port]) -> dict[str, tuple[int, ...]]:
    """Return the addresses of all ports by subnet ID, as sorted numbers, each once."""
    found: dict[str, set[int]] = {}
    for port in ports:
        for fixed in port.fixed_ips:
            found.setdefault(fixed.subnet_id, set()).add(_number(fixed.address))
    return {subnet_id: tuple(sorted(numbers)) for subnet_id, numbers in found.items()}


def _number(address: str) -> int:
    """Return int(ip_address(address)) in a quarter of its time: a network may have 80,000."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return int.from_bytes(socket.inet_pton(family, address))
