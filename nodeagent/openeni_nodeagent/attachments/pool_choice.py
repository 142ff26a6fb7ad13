"""Select the pool of a pod's ADD, from what the informers of this node have shown.

kubelet may call ADD before the watch has shown the pod, so an unknown pod is waited for. With the
API server away and no pool that selects by labels, only the Default pool can serve a pod without an
annotation: it is assumed, and the grant records that.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from openeni_crds.enipool import ENIPool
from openeni_crds.selection import NoPool, PodFacts, choose_pool, default_pool
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.objects import Namespace, Pod
from openeni_nodeagent.cni.protocol import CniError, Code

POD_SECONDS: Final = 2.0  # until the watch must have shown a new pod
STALE_SECONDS: Final = 75.0  # the API server sends a bookmark a minute


@dataclass(frozen=True)
class SelectedPool:
    pool: ENIPool
    assumed: bool = False


class PoolSelector:
    """Applies openeni_crds.selection to the agent's caches."""

    def __init__(
        self,
        pods: Cache[Pod],
        pools: Cache[ENIPool],
        namespaces: Cache[Namespace],
        watch_age: Callable[[], float],
    ) -> None:
        """`watch_age` returns the seconds since the watch of pods last received anything."""
        self._pods = pods
        self._pools = pools
        self._namespaces = namespaces
        self._watch_age = watch_age

    def select(self, uid: str, name: str, deadline: float) -> SelectedPool:
        """Return the pod's pool. Raises CniError (try again) with the reason if there is none."""
        pod = self._pods.wait(uid, max(min(POD_SECONDS, deadline - time.monotonic()), 0))
        chosen = self._assume_default(name) if pod is None else self._choose(pod)
        if chosen.pool.metadata.deleting:
            raise CniError(Code.TRY_AGAIN, f"ENIPool {chosen.pool.name} is being deleted")
        return chosen

    def _choose(self, pod: Pod) -> SelectedPool:
        found = choose_pool(
            PodFacts(pod.metadata.labels, pod.metadata.annotations, self._labels_of(pod)),
            self._pools.all(),
        )
        if isinstance(found, NoPool):
            raise CniError(Code.TRY_AGAIN, found.why)
        return SelectedPool(found)

    def _labels_of(self, pod: Pod) -> dict[str, str]:
        if not any(pool.spec.namespace_selector is not None for pool in self._pools.all()):
            return {}
        namespace = self._namespaces.wait(pod.metadata.namespace, POD_SECONDS)
        if namespace is None:
            raise CniError(
                Code.TRY_AGAIN,
                f"the labels of namespace {pod.metadata.namespace} are not known yet",
            )
        return namespace.metadata.labels

    def _assume_default(self, name: str) -> SelectedPool:
        pools = self._pools.all()
        if self._watch_age() < STALE_SECONDS:
            raise CniError(Code.TRY_AGAIN, f"pod {name} has not been seen on this node yet")
        if any(p.spec.pod_selector or p.spec.namespace_selector for p in pools):
            raise CniError(
                Code.TRY_AGAIN,
                f"the API server is away and pod {name}'s labels, which decide its pool, "
                "are not known",
            )
        pool = default_pool(pools)
        if pool is None:
            raise CniError(
                Code.TRY_AGAIN,
                f"the API server is away, pod {name}'s annotations are not known, "
                "and there is no Default pool",
            )
        return SelectedPool(pool, assumed=True)
