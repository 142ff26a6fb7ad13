"""Choose the pool that an ADD draws from, from what this node's watches have shown.

kubelet may call before the watch shows the pod, so an unknown pod is waited for. While the API
server is away, a pod whose labels, annotations and namespace are unknown can only be given the pool
that every pod of this node would get: the one pool that serves the node, if it selects all pods of
all namespaces. The grant then records that its pool was assumed.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct, field

from openeni_crds.enipool import ENIPool
from openeni_crds.selection import NodeTraits, NoPool, PodTraits, choose_pool, serves
from openeni_nodeagent.cluster.facts import node_traits
from openeni_nodeagent.cluster.objects import Node, Pod, pod_with
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.event_reasons import PodReason

POD_SECONDS: Final = 2.0  # until the watch must have shown a new pod
API_AWAY_SECONDS: Final = 75.0  # the API server sends a bookmark a minute


class PoolChoice(Struct, frozen=True):
    pool: ENIPool
    pod_uid: str  # of the pod's object, which a static pod's runtime does not know; "" if unseen
    assumed: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])  # of the pod


class PoolChooser:
    """Applies openeni_crds.selection to the agent's caches."""

    def __init__(self, node: str, caches: Caches, *, silence: Callable[[], float]) -> None:
        """`silence` returns the seconds since the watch of pods last received anything."""
        self._node = node
        self._nodes = caches.nodes
        self._pods = caches.pods
        self._pools = caches.pools
        self._namespaces = caches.namespaces
        self._silence = silence
        self._node_traits: tuple[Node, NodeTraits] | None = None  # of that object

    def pool_for(self, uid: str, name: str, deadline: float) -> PoolChoice:
        """Return the pod's pool. Raises CNIError (try again) with the reason if it has none.

        `uid` is the runtime's, which the object of a static pod has in an annotation.
        """
        seconds = max(min(POD_SECONDS, deadline - time.monotonic()), 0)
        pod = self._pods.wait(pod_with(uid, name), seconds)
        if pod is None:
            return self._assume_only_pool(name)
        return self._choose(pod, name)

    def _choose(self, pod: Pod, name: str) -> PoolChoice:
        meta = pod.metadata
        traits = PodTraits(meta.namespace, meta.labels, meta.annotations, self._labels_of(pod))
        found = choose_pool(traits, self._traits(), self._pools.all())
        if isinstance(found, NoPool):
            raise CNIError(
                Code.TRY_AGAIN, f"no ENIPool for pod {name}", found.why, reason=PodReason.NO_POOL
            )
        return PoolChoice(found, meta.uid, annotations=meta.annotations)

    def _traits(self) -> NodeTraits:
        node = self._nodes.get(self._node)
        if node is None:
            raise CNIError(
                Code.TRY_AGAIN,
                f"the agent has not seen Node {self._node} at the API server yet",
                reason=PodReason.AGENT_NOT_SYNCED,
            )
        known = self._node_traits  # other threads replace it
        if known is None or known[0] is not node:
            known = self._node_traits = node, node_traits(node)
        return known[1]

    def _labels_of(self, pod: Pod) -> dict[str, str]:
        if not any(pool.spec.namespace_selector is not None for pool in self._pools.all()):
            return {}
        namespace = self._namespaces.wait(pod.metadata.namespace, POD_SECONDS)
        if namespace is None:
            raise CNIError(
                Code.TRY_AGAIN,
                f"the labels of namespace {pod.metadata.namespace} are not known yet",
                reason=PodReason.POD_NOT_SEEN,
            )
        return namespace.metadata.labels

    def _assume_only_pool(self, name: str) -> PoolChoice:
        if self._silence() < API_AWAY_SECONDS:
            raise CNIError(
                Code.TRY_AGAIN,
                f"pod {name} has not been seen on this node yet",
                reason=PodReason.POD_NOT_SEEN,
            )
        traits = self._traits()
        here = [pool for pool in self._pools.all() if serves(pool, traits)]
        if len(here) != 1 or not _selects_every_pod(here[0]):
            raise CNIError(
                Code.TRY_AGAIN,
                f"the API server is away and pod {name} is unknown, so its ENIPool is too",
                "only a node with a single ENIPool, whose podSelector is {} and which has no "
                "namespaceSelector, serves unknown pods",
                reason=PodReason.POD_NOT_SEEN,
            )
        return PoolChoice(here[0], "", assumed=True)


def _selects_every_pod(pool: ENIPool) -> bool:
    selector = pool.spec.pod_selector
    return (
        selector is not None
        and not (selector.match_labels or selector.match_expressions)
        and pool.spec.namespace_selector is None
    )
