"""A pool's names are looked up once a resync, not at every pod: answers are kept for a while."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from openeni_crds.enipool import ENIPool, ENIPoolSpec
from openeni_operator.cloud.api import Cloud
from openeni_operator.enipool.resolve import Problem, Resolution, resolve
from openeni_operator.ports import PortLists


@dataclass(frozen=True)
class _Known:
    spec: ENIPoolSpec
    cloud: Cloud  # another one: other credentials, which may see other things
    at: float
    resolution: Resolution


class Resolver:
    """Safe for threads. Problems are not kept: somebody is at work on them."""

    def __init__(
        self,
        cloud: Callable[[str], Cloud],
        ports: PortLists,
        age: float,
        clock: Callable[[], float],
    ) -> None:
        """`age` in seconds: how old an answer may be."""
        self._cloud = cloud
        self._ports = ports
        self._age = age
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def __call__(self, pool: ENIPool) -> Resolution | Problem:
        """Return what the pool's names mean. Raises a CloudError."""
        name = pool.spec.cloud
        cloud = self._cloud(name)
        with self._lock:
            known = self._known.get(pool.name)
        if known is not None and self._holds(known, pool, cloud):
            return known.resolution
        found = resolve(pool.spec, cloud, lambda network: self._ports.of(name, cloud, network))
        if isinstance(found, Resolution):
            with self._lock:
                self._known[pool.name] = _Known(pool.spec, cloud, self._clock(), found)
        return found

    def _holds(self, known: _Known, pool: ENIPool, cloud: Cloud) -> bool:
        young = self._clock() - known.at <= self._age
        return young and known.spec == pool.spec and known.cloud is cloud
