"""Publish a PodIP for each grant of this node, beside the path of the pods and never on it.

Level-based by the pod's name: the newest connected grant decides what the PodIP contains, and
without a grant there is no PodIP. The API server may be away for any time, and nothing is lost:
grants are in the journal.
"""

from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import FINALIZER_PODIP, MANAGER_AGENT, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.result import Result, Retry, requeue
from openeni_kube.store import ConflictError, InvalidError, NotFoundError, Store, StoreError
from openeni_nodeagent.clock import now_text
from openeni_nodeagent.cluster.cache import Cache, object_key
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.ledger import Grant
from openeni_nodeagent.reports import podip_body

BLOCKED_SECONDS: Final = 2.0  # until a PodIP that must wait for another pod is looked at again
RECREATE_SECONDS: Final = 0.2  # until the watch shows that the old PodIP is deleted


def key_of(grant: Grant) -> str:
    return object_key(grant.namespace, grant.name)


class PodIPPublisher:
    """A work queue calls `reconcile` with namespace/name as its key."""

    def __init__(
        self, store: Store, podips: Cache[PodIP], enis: Cache[ENI], grants: Grants, node: str
    ) -> None:
        self._store = store
        self._podips = podips
        self._enis = enis
        self._grants = grants
        self._node = node

    def reconcile(self, key: str) -> Result:
        """Create, update or delete the PodIP of one pod name."""
        grants = [g for g in self._grants.all() if key_of(g) == key]
        podip = self._podips.get(key)
        try:
            if podip is not None and not any(
                g.attachment.pod_uid == podip.spec.pod_uid for g in grants
            ):
                if self._grants.reserved().intersection(podip.spec.addresses):
                    # The kernel has the address without a grant: repair finds its owner.
                    return requeue(BLOCKED_SECONDS)
                self._delete(podip)
                return requeue(RECREATE_SECONDS if grants else None)
            return requeue(self._publish(podip, grants))
        except StoreError as error:
            return Retry(f"PodIP {key}: {error}")

    def _publish(self, podip: PodIP | None, grants: list[Grant]) -> float | None:
        connected = [g for g in grants if g.connected]
        if not connected:
            return None
        grant = max(connected, key=lambda g: g.at)
        if podip is None:
            podip = self._create(grant)
        if podip.spec.pod_uid != grant.attachment.pod_uid:
            return BLOCKED_SECONDS  # an older pod of that name is still terminating
        wanted = podip_body.spec(grant, self._node)
        if not podip_body.same_grant(podip.spec, wanted):
            self._delete(podip)  # another address: what a PodIP records never changes
            return RECREATE_SECONDS
        if podip.spec != wanted:
            applied = self._store.apply(
                PODIPS, podip_body.body(grant, self._node), manager=MANAGER_AGENT
            )
            podip = decode(applied, PodIP)
        eni = self._enis.get(grant.eni)
        on_port = frozenset(eni.status.port.addresses) if eni and eni.status.port else None
        conditions = podip_body.conditions(podip, grant, on_port, now_text())
        if not podip_body.is_shown(podip, grant, conditions):
            body = podip_body.status_body(podip, grant, conditions)
            self._store.apply(PODIPS, body, manager=MANAGER_AGENT, subresource="status")
        return None

    def _create(self, grant: Grant) -> PodIP:
        """Create the grant's PodIP; return it, or the one that already has its name."""
        try:
            return decode(self._store.create(PODIPS, podip_body.body(grant, self._node)), PodIP)
        except ConflictError:
            return decode(self._store.get(PODIPS, grant.name, grant.namespace), PodIP)

    def _delete(self, podip: PodIP) -> None:
        """Remove the finalizer and delete the PodIP: no container has its address."""
        kept = [f for f in podip.metadata.finalizers if f != FINALIZER_PODIP]
        operations: list[Json] = [
            {"op": "test", "path": "/metadata/uid", "value": podip.metadata.uid},
            {"op": "replace", "path": "/metadata/finalizers", "value": kept},
        ]
        try:
            if FINALIZER_PODIP in podip.metadata.finalizers:
                self._store.patch(PODIPS, podip.name, podip.namespace, operations=operations)
            if not podip.metadata.deleting:
                self._store.delete(PODIPS, podip.name, podip.namespace, uid=podip.metadata.uid)
        except (NotFoundError, InvalidError):
            pass  # gone, or replaced by one of that name: `test` failed
