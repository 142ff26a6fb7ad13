"""Keep the PodIPs of this node as its grants are, beside the pods' path and never on it.

Level-based by the pod's name: the newest connected grant decides what the PodIP says; without a
grant there is none. The API server may be away for as long as it likes, nothing is lost: grants
are in the journal.
"""

from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import FINALIZER_PODIP, MANAGER_AGENT, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.result import Result, Retry, requeue
from openeni_kube.store import ConflictError, InvalidError, NotFoundError, Store, StoreError
from openeni_nodeagent.clock import now_text
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.ledger import Grant
from openeni_nodeagent.reports import podip_body

WAIT_SECONDS: Final = 2.0  # for an older pod's PodIP to go
LAG_SECONDS: Final = 0.2  # for the watch to show what was just done


def key_of(grant: Grant) -> str:
    return f"{grant.namespace}/{grant.name}"


class Publisher:
    """`reconcile` is a work queue's; its key is namespace/name."""

    def __init__(
        self, store: Store, podips: Cache[PodIP], enis: Cache[ENI], grants: Grants, node: str
    ) -> None:
        self._store = store
        self._podips = podips
        self._enis = enis
        self._grants = grants
        self._node = node

    def reconcile(self, key: str) -> Result:
        """Bring one PodIP up to date."""
        grants = [g for g in self._grants.all() if key_of(g) == key]
        there = self._podips.get(key)
        try:
            if there is not None and not any(
                g.holder.pod_uid == there.spec.pod_uid for g in grants
            ):
                if self._grants.reserved().intersection(there.spec.addresses):
                    return requeue(
                        WAIT_SECONDS
                    )  # the kernel carries it: repair.py looks whose it is
                self._end(there)
                return requeue(LAG_SECONDS if grants else None)
            return requeue(self._publish(there, grants))
        except StoreError as error:
            return Retry(f"PodIP {key}: {error}")

    def _publish(self, there: PodIP | None, grants: list[Grant]) -> float | None:
        connected = [g for g in grants if g.connected]
        if not connected:
            return None
        grant = max(connected, key=lambda g: g.at)
        if there is None:
            there = self._create(grant)
        if there.spec.pod_uid != grant.holder.pod_uid:
            return WAIT_SECONDS  # an older pod of that name is still on its way out
        wanted = podip_body.spec(grant, self._node)
        if not podip_body.same_grant(there.spec, wanted):
            self._end(there)  # another address: what a PodIP records never changes
            return LAG_SECONDS
        if there.spec != wanted:
            applied = self._store.apply(
                PODIPS, podip_body.body(grant, self._node), manager=MANAGER_AGENT
            )
            there = decode(applied, PodIP)
        eni = self._enis.get(grant.eni)
        on_port = frozenset(eni.status.port.addresses) if eni and eni.status.port else None
        body, same = podip_body.status(there, grant, on_port, now_text())
        if not same:
            self._store.apply(PODIPS, body, manager=MANAGER_AGENT, subresource="status")
        return None

    def _create(self, grant: Grant) -> PodIP:
        """Return the PodIP of that name: ours now, or another pod's that was there before."""
        try:
            return decode(self._store.create(PODIPS, podip_body.body(grant, self._node)), PodIP)
        except ConflictError:
            return decode(self._store.get(PODIPS, grant.name, grant.namespace), PodIP)

    def _end(self, podip: PodIP) -> None:
        """Take the finalizer off and delete: nobody holds the address any more."""
        kept = [f for f in podip.metadata.finalizers if f != FINALIZER_PODIP]
        operations: list[Json] = [
            {"op": "test", "path": "/metadata/uid", "value": podip.metadata.uid},
            {"op": "replace", "path": "/metadata/finalizers", "value": kept},
        ]
        try:
            if FINALIZER_PODIP in podip.metadata.finalizers:
                self._store.patch(PODIPS, podip.name, operations, podip.namespace)
            if not podip.metadata.deleting:
                self._store.delete(PODIPS, podip.name, podip.namespace, uid=podip.metadata.uid)
        except (NotFoundError, InvalidError):
            pass  # gone, or another one by that name: `test` failed
