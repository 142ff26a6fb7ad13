"""PodIPs of one node, or of all: list them, release and mark those that need it."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from openeni_crds.conditions import merge
from openeni_crds.meta import Json, decode, encode
from openeni_crds.names import API_VERSION, FINALIZER_PODIP, MANAGER_OPERATOR, NODES, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.result import Done, Result, Retry
from openeni_kube.store import NotFoundError, Store, StoreError
from openeni_operator.finalizers import without_finalizer
from openeni_operator.mirror import Mirror
from openeni_operator.podip.review import Release, Tell, review

LOG: Final = logging.getLogger(__name__)
ALL = "*"  # no node is called that


@dataclass(frozen=True)
class World:
    """What a reconcile works with; made once in `__main__`."""

    mirror: Mirror
    store: Store
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds


class PodIPReconciler:
    """Called by the queue with the name of a node, or with ALL at each resync."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self, node: str) -> Result:
        try:
            return self._review(node)
        except StoreError as error:
            return Retry(str(error))

    def _review(self, node: str) -> Result:
        selector = "" if node == ALL else f"spec.nodeName={node}"
        listed = self._world.store.list(PODIPS, field_selector=selector).items
        podips = list(_readable(listed))
        gone = frozenset(n for n in {p.spec.node_name for p in podips} if self._is_gone(n))
        enis = {eni.name: eni for eni in self._world.mirror.enis()}
        for act in review(podips, gone, enis):
            match act:
                case Release(podip):
                    without_finalizer(self._world.store, PODIPS, podip.metadata, FINALIZER_PODIP)
                case Tell():
                    self._tell(act)
        return Done()

    def _is_gone(self, node: str) -> bool:
        """The mirror alone is not believed: a finalizer that is off stays off."""
        if self._world.mirror.node(node) is not None:
            return False
        try:
            self._world.store.get(NODES, node)
        except NotFoundError:
            return True
        return False

    def _tell(self, act: Tell) -> None:
        podip = act.podip
        conditions = merge(podip.status.conditions, (act.lost,), self._world.now())
        body: Json = {
            "apiVersion": API_VERSION,
            "kind": PODIPS.name,
            "metadata": {
                "name": podip.name,
                "namespace": podip.namespace,
                "uid": podip.metadata.uid,
            },
            "status": {"conditions": [encode(c) for c in conditions]},
        }
        try:
            self._world.store.apply(PODIPS, body, manager=MANAGER_OPERATOR, subresource="status")
        except NotFoundError:
            return


def _readable(bodies: Iterable[Json]) -> Iterator[PodIP]:
    """Yield the PodIPs that fit the model; one that does not is logged and stops no other."""
    for body in bodies:
        try:
            yield decode(body, PodIP)
        except msgspec.ValidationError as error:
            meta = body["metadata"]
            LOG.warning("PodIP %s/%s cannot be read: %s", meta["namespace"], meta["name"], error)
