"""Cache what a pool's names resolve to, so that the cloud is asked once a resync, not per pod."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from openeni_crds.enipool import ENIPool, ENIPoolSpec
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import Cloud
from openeni_operator.enipool.resolution import Resolution
from openeni_operator.enipool.resolve import NetworkReads, resolve
from openeni_operator.shared_reads import CloudReads


@dataclass(frozen=True)
class _Entry:
    spec: ENIPoolSpec
    cloud: Cloud  # a new connection may have other credentials, which see other resources
    resolved_at: float
    resolution: Resolution


class ResolutionCache:
    """A thread-safe cache. A failure is not cached, so that a correction takes effect at once."""

    def __init__(
        self,
        cloud: Callable[[str], Cloud],
        reads: CloudReads,
        max_age: float,
        clock: Callable[[], float],
    ) -> None:
        """Return resolutions that are at most `max_age` seconds old."""
        self._cloud = cloud
        self._reads = reads
        self._max_age = max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def __call__(self, pool: ENIPool) -> Resolution | Cause:
        """Resolve the pool's names. Raises a CloudError."""
        name = pool.spec.cloud
        cloud = self._cloud(name)
        with self._lock:
            entry = self._entries.get(pool.name)
        if entry is not None and self._is_valid(entry, pool, cloud):
            return entry.resolution
        now = self._clock()
        reads = NetworkReads(
            network=lambda network: self._reads.network(name, cloud, network, not_before=now),
            ports=lambda network: self._reads.ports_on(name, cloud, network),
        )
        resolved = resolve(pool, cloud, reads)
        if isinstance(resolved, Resolution):
            with self._lock:
                self._entries[pool.name] = _Entry(pool.spec, cloud, now, resolved)
        self._reads.note_port_quota(name, cloud)
        return resolved

    def _is_valid(self, entry: _Entry, pool: ENIPool, cloud: Cloud) -> bool:
        fresh = self._clock() - entry.resolved_at <= self._max_age
        return fresh and entry.spec == pool.spec and entry.cloud is cloud
