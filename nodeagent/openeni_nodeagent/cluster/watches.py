"""The agent's informers: objects of its own node, and the few kinds that concern every node."""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any, Final

from openeni_crds import names
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.names import Kind
from openeni_crds.podip import PodIP
from openeni_kube.store import NotFoundError, Store, StoreError
from openeni_kube.watches.informer import Informer
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.objects import (
    Namespace,
    Node,
    Pod,
    ServiceCIDR,
    by_own_uid,
    by_runtime_uid,
)

WATCH_DEAD_SECONDS: Final = 150.0  # the API server sends a bookmark every minute; two are missing
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caches:
    """The cache of each kind, filled by Watches."""

    nodes: Cache[Node] = field(default_factory=lambda: Cache(names.NODES, Node))
    pods: Cache[Pod] = field(
        default_factory=lambda: Cache(names.PODS, Pod, by_own_uid, by_runtime_uid)
    )
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
        """Watch ServiceCIDR objects too if `cidrs`; otherwise the settings have the networks."""
        self._store = store
        self._caches = caches
        own_node = f"spec.nodeName={node}"
        self._pods = self._informer(caches.pods, own_node)
        self._required = [
            self._informer(caches.nodes, f"metadata.name={node}"),
            self._pods,
            self._informer(caches.enis, own_node),
            self._informer(caches.podips, own_node),
            self._informer(caches.pools),
        ]
        self._cidrs = self._informer(caches.cidrs) if cidrs else None
        self._namespaces = self._informer(caches.namespaces)
        self._namespaces_lock = threading.Lock()  # of their start
        self._namespaces_started = threading.Event()
        caches.pools.subscribe(self._start_namespaces)
        caches.pods.subscribe(self._start_namespaces)  # again, where there was no thread for it

    def start(self) -> None:
        for informer in (*self._required, *((self._cidrs,) if self._cidrs else ())):
            informer.start()

    def stop(self) -> None:
        for informer in (
            *self._required,
            self._namespaces,
            *((self._cidrs,) if self._cidrs else ()),
        ):
            informer.stop()

    def wait(self, stopping: threading.Event) -> None:
        """Return when every informer has synced, or the agent stops."""
        for informer in self._required:
            while not informer.synced.wait(0.2) and not stopping.is_set():
                pass
        if self._cidrs is not None and self._cidrs_served():
            while not self._cidrs.synced.wait(0.2) and not stopping.is_set():
                pass

    def pods_current(self) -> bool:
        """Return True if the cache of pods has synced and its watch is alive."""
        return self._pods.synced.is_set() and self._pods.age() < WATCH_DEAD_SECONDS

    def ages(self) -> dict[str, float]:
        """Return the seconds since each watch last received anything, by resource."""
        return {informer.kind.plural: informer.age() for informer in self._started()}

    def unreachable(self) -> bool:
        """Return True while none of the watches reaches the API server; each keeps trying."""
        return all(informer.unreachable() for informer in self._started())

    def pods_age(self) -> float:
        """Return the seconds since the watch of pods last received anything."""
        return self._pods.age()

    def cluster_id(self) -> str:
        """Return the UID of the namespace kube-system, "" if there is none. Raises StoreError."""
        found = self._store.list(names.NAMESPACES, field_selector="metadata.name=kube-system")
        return str(found.items[0]["metadata"]["uid"]) if found.items else ""

    def _started(self) -> list[Informer]:
        informers = [*self._required, *((self._cidrs,) if self._cidrs else ())]
        if self._namespaces_started.is_set():
            informers.append(self._namespaces)
        return informers

    def _informer(self, cache: Cache[Any], field_selector: str = "") -> Informer:
        return Informer(
            self._store,
            cache.kind,
            on_change=cache.put,
            on_delete=cache.remove,
            on_restored=lambda: self._relist_others(cache.kind),
            field_selector=field_selector,
        )

    def _relist_others(self, kind: Kind) -> None:
        """Have the informers of other kinds list again, since one has found etcd restored."""
        cidrs = (self._cidrs,) if self._cidrs else ()
        for informer in (*self._required, *cidrs, self._namespaces):
            if informer.kind != kind:
                informer.relist()

    def _start_namespaces(self, _: str) -> None:
        """Watch namespaces once a pool selects by their labels."""
        with self._namespaces_lock:
            if self._namespaces_started.is_set():
                return
            if any(p.spec.namespace_selector is not None for p in self._caches.pools.all()):
                try:
                    self._namespaces.start()
                except RuntimeError as error:  # the container is at its limit of threads
                    _log.error("namespaces are watched at the next event of a pod: %s", error)
                    return
                self._namespaces_started.set()

    def _cidrs_served(self) -> bool:
        """Return False if the API server has no v1 ServiceCIDR (Kubernetes 1.33)."""
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
