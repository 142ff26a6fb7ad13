"""What the agent watches: the objects of its own node, and the few that concern every node."""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any, Final

from openeni_crds import names
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.podip import PodIP
from openeni_kube.informer import Informer
from openeni_kube.store import NotFoundError, Store, StoreError
from openeni_nodeagent.cluster.cache import Cache, by_uid
from openeni_nodeagent.cluster.objects import Namespace, Node, Pod, ServiceCIDR

SILENT_SECONDS: Final = 150.0  # two bookmarks have not come
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caches:
    """One a kind; filled by Watches."""

    nodes: Cache[Node] = field(default_factory=lambda: Cache(names.NODES, Node))
    pods: Cache[Pod] = field(default_factory=lambda: Cache(names.PODS, Pod, by_uid))
    enis: Cache[ENI] = field(default_factory=lambda: Cache(names.ENIS, ENI))
    podips: Cache[PodIP] = field(default_factory=lambda: Cache(names.PODIPS, PodIP))
    pools: Cache[ENIPool] = field(default_factory=lambda: Cache(names.ENIPOOLS, ENIPool))
    namespaces: Cache[Namespace] = field(default_factory=lambda: Cache(names.NAMESPACES, Namespace))
    cidrs: Cache[ServiceCIDR] = field(
        default_factory=lambda: Cache(names.SERVICE_CIDRS, ServiceCIDR)
    )


class Watches:
    """The informers that fill the caches."""

    def __init__(self, store: Store, caches: Caches, node: str, *, cidrs: bool) -> None:
        """`cidrs`: whether the service networks come from the cluster's ServiceCIDR objects."""
        self._store = store
        self._caches = caches
        mine = f"spec.nodeName={node}"
        self._pods = self._informer(caches.pods, mine)
        self._wanted = [
            self._informer(caches.nodes, f"metadata.name={node}"),
            self._pods,
            self._informer(caches.enis, mine),
            self._informer(caches.podips, mine),
            self._informer(caches.pools),
        ]
        self._cidrs = self._informer(caches.cidrs) if cidrs else None
        self._namespaces = self._informer(caches.namespaces)
        self._namespaces_wanted = threading.Event()
        caches.pools.listen(self._want_namespaces)

    def start(self) -> None:
        for informer in (*self._wanted, *((self._cidrs,) if self._cidrs else ())):
            informer.start()

    def stop(self) -> None:
        for informer in (*self._wanted, self._namespaces, *((self._cidrs,) if self._cidrs else ())):
            informer.stop()

    def wait(self, stopping: threading.Event) -> None:
        """Return when every cache is filled, or the agent stops."""
        for informer in self._wanted:
            while not informer.synced.wait(0.2) and not stopping.is_set():
                pass
        if self._cidrs is not None and self._cidrs_served():
            while not self._cidrs.synced.wait(0.2) and not stopping.is_set():
                pass

    def pods_known(self) -> bool:
        """Whether the cache of pods is filled and the API server has been heard of lately."""
        return self._pods.synced.is_set() and self._pods.age() < SILENT_SECONDS

    def pods_silence(self) -> float:
        """Seconds since the API server was last heard of."""
        return self._pods.age()

    def _informer(self, cache: Cache[Any], field_selector: str = "") -> Informer:
        return Informer(
            self._store,
            cache.kind,
            on_change=cache.take,
            on_delete=cache.drop,
            field_selector=field_selector,
        )

    def _want_namespaces(self, _: str) -> None:
        """Labels of namespaces matter only once a pool asks for them."""
        asked = any(p.spec.namespace_selector is not None for p in self._caches.pools.all())
        if asked and not self._namespaces_wanted.is_set():
            self._namespaces_wanted.set()
            self._namespaces.start()

    def _cidrs_served(self) -> bool:
        """ServiceCIDR is v1 since Kubernetes 1.33."""
        try:
            self._store.list(names.SERVICE_CIDRS)
        except NotFoundError:
            _log.error(
                "this cluster has no networking.k8s.io/v1 ServiceCIDR: "
                "set OPENENI_SERVICE_CIDRS to its service networks"
            )
            return False
        except StoreError:
            return True
        return True
