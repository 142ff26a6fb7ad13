"""Publish a PodIP for each grant of this node, beside the path of the pods and never on it.

Level-based by the pod's name: the newest connected grant decides what the PodIP contains, and
without a grant there is no PodIP, unless it outlives its pod, or the pod waits for the addresses
that it asks for. The API server may be away for any time, and nothing is lost: grants are in the
journal.
"""

import dataclasses
import threading
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from openeni_crds.meta import Json, decode, encode, seconds
from openeni_crds.names import FINALIZER_PODIP, MANAGER_AGENT, PODIPS
from openeni_crds.podip import DELETE, PodIP
from openeni_kube.clock import now_text
from openeni_kube.result import Result, Retry, requeue
from openeni_kube.store import ConflictError, InvalidError, NotFoundError, Store, StoreError
from openeni_nodeagent.cluster.objects import Pod, pod_with
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.grants.adoption import LONGEST_COOL_DOWN_SECONDS
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import JournalError
from openeni_nodeagent.grants.retained import Retained, retained_by
from openeni_nodeagent.reports import podip_body

BLOCKED_SECONDS: Final = 2.0  # until a PodIP that must wait for another pod is looked at again
CLAIM_SECONDS: Final = 5.0  # until it is looked again whether a waiting pod still exists
RECREATE_SECONDS: Final = 0.2  # until the watch shows that the old PodIP is deleted


class PodIPPublisher:
    """A work queue calls `reconcile` with namespace/name as its key."""

    def __init__(
        self,
        store: Store,
        caches: Caches,
        grants: Grants,
        node: str,
        difference: Callable[[Attachment], podip_body.Difference | None],
    ) -> None:
        """`difference` returns how a pod's datapath differs from its plan, None if it does not."""
        self._store = store
        self._podips = caches.podips
        self._enis = caches.enis
        self._pods = caches.pods
        self._pools = caches.pools
        self._grants = grants
        self._node = node
        self._difference = difference
        grants.subscribe(self._note)
        self._lock = threading.Lock()  # of what is observed, and of the claims
        self._had: dict[str, tuple[str, ...]] = {}  # addresses of pods that outlive them, by name
        self._claims: dict[str, Grant] = {}  # by the pod's name: addresses that it waits for

    def observe(self, key: str) -> None:
        """Keep what the PodIP of a pod says is kept for it, as the cache has it now.

        So is what a lost journal had granted, before a reboot, say: nobody else gets the address
        of a pod that restarts. If it is not there any more, the pod gets another one.
        """
        with self._lock:  # who comes later has read the cache later
            podip = self._podips.get(key)
            kept = retained_by(podip) if podip is not None else None
            if podip is None:
                self._had.pop(key, None)
            elif kept is not None:
                kept = dataclasses.replace(kept, granted=self._was_granted(podip))
            elif podip.was_granted:
                since = podip.metadata.creation_timestamp
                pool, addresses = podip.spec.pool_name, podip.spec.addresses
                kept = Retained(pool, addresses, since=since, is_certain=False, is_lost=True)
            self._grants.retain(key, kept)

    def find(self, namespace: str, name: str) -> PodIP | None:
        """Return the PodIP, which may be another node's, from the API server. Raises StoreError.

        One that does not fit its schema keeps nothing.
        """
        try:
            return decode(self._store.get(PODIPS, name, namespace), PodIP)
        except (NotFoundError, msgspec.ValidationError):
            return None

    def claim(self, claim: Grant) -> None:
        """Have the PodIP of a pod without a grant say which addresses it waits for."""
        with self._lock:
            self._claims[claim.pod_key] = claim

    def reconcile(self, key: str) -> Result:
        """Create, update or delete the PodIP of one pod name."""
        grants = [g for g in self._grants.all() if g.pod_key == key]
        podip = self._podips.get(key)
        claim = self._claim_of(key, grants, podip)
        wanted = [*grants, *([claim] if claim is not None else ())]
        try:
            if podip is not None and not any(
                self._pod_uid(grant) == podip.spec.pod_uid for grant in wanted
            ):
                return requeue(self._end(podip, wanted))
            if podip is None and not wanted:
                self.observe(key)
            again = self._publish(podip, wanted)
            return requeue(CLAIM_SECONDS if claim is not None and again is None else again)
        except (StoreError, JournalError) as error:
            return Retry(f"PodIP {key}: {error}")

    def _claim_of(self, key: str, grants: list[Grant], podip: PodIP | None) -> Grant | None:
        """Return what the pod waits for, unless this is kept for it anyway.

        Forget it once the pod has a grant, or is gone.
        """
        claim = self._claims.get(key)
        if claim is None:
            return None
        if grants or self._pod_of(claim) is None:
            with self._lock:
                if self._claims.get(key) is claim:
                    del self._claims[key]
            return None
        kept = retained_by(podip) if podip is not None and podip.is_retained else None
        same = kept is not None and set(kept.addresses) == set(claim.addresses)
        return None if same and kept is not None and kept.granted else claim

    def _end(self, podip: PodIP, wanted: list[Grant]) -> float | None:
        """Delete the PodIP of a pod that has gone, or keep it; return when to look again.

        What its pod has only waited for is not kept: it would be had without its cool-down.
        """
        if self._grants.unexplained().intersection(podip.spec.addresses):
            return BLOCKED_SECONDS  # the grant of an address was lost: repair finds its owner
        if not wanted and self._restarts(podip):
            return CLAIM_SECONDS
        keeps = podip.is_retained and self._was_granted(podip) and not podip.metadata.deleting
        if keeps and not wanted:
            now = now_text()
            self._write_status(podip, podip_body.retained_status(podip, self._on_port(podip), now))
            return None
        self._delete(podip)
        return RECREATE_SECONDS if wanted else None

    def _restarts(self, podip: PodIP) -> bool:
        """Return True if its grant was lost, and its pod may ask for its address again.

        A PodIP that outlives its pod says that it does once no ENI here has the address for it:
        only then does the operator place it.
        """
        pod = self._pods.get(pod_with(podip.spec.pod_uid, podip.key))
        if pod is None or pod.is_over or podip.metadata.deleting or not podip.is_granted:
            return False
        eni, on_port = self._enis.get(podip.spec.eni_name), self._on_port(podip)
        is_here = on_port is None or on_port.issuperset(podip.spec.addresses)
        is_offered = eni is not None and not eni.is_ending and is_here
        return (is_offered or not podip.is_retained) and bool(self._lost(podip))

    def _was_granted(self, podip: PodIP) -> bool:
        """Return True if its pod has, or had, the addresses, whether or not it says so yet."""
        return podip.was_granted or self._had.get(podip.key) == podip.spec.addresses

    def _note(self, grant: Grant) -> None:
        """Note a grant that was made or has ended, which its PodIP may never have shown."""
        if grant.connected and grant.retention != DELETE:
            with self._lock:
                self._had[grant.pod_key] = grant.addresses

    def _lost(self, podip: PodIP) -> tuple[str, ...]:
        """Return those of its addresses whose grant was lost: no pod has them, and none had."""
        return self._grants.lost(podip.key, podip.spec.addresses) if podip.was_granted else ()

    def _publish(self, podip: PodIP | None, wanted_grants: list[Grant]) -> float | None:
        shown = [g for g in wanted_grants if g.connected or not g.eni]
        if not shown:
            return None
        grant = max(shown, key=lambda g: g.at)
        pod_uid = self._pod_uid(grant)
        if podip is None:
            podip = self._create(grant, pod_uid)
        if podip.spec.pod_uid != pod_uid:
            return BLOCKED_SECONDS  # an older pod of that name is still terminating
        wanted = podip_body.spec(grant, self._node, pod_uid)
        if not grant.eni:  # the operator says which ENI is to have the addresses
            wanted = replace(wanted, eni_name=podip.spec.eni_name)
        if not podip_body.same_grant(podip.spec, wanted):
            self._delete(podip)  # another address: what a PodIP records never changes
            return RECREATE_SECONDS
        if podip.spec != wanted:
            body = podip_body.body(grant, self._node, pod_uid) | {"spec": encode(wanted)}
            podip = decode(self._store.apply(PODIPS, body, manager=MANAGER_AGENT), PodIP)
        on_port = self._on_port(podip)
        status = (
            podip_body.granted_status(
                podip, grant, on_port, self._difference(grant.attachment), now_text()
            )
            if grant.eni
            else podip_body.claimed_status(podip, now_text())
        )
        self._write_status(podip, status)
        # kubelet may make a static pod's mirror pod, which owns the PodIP, anew at any time.
        return BLOCKED_SECONDS if podip.metadata.deleting else None

    def _on_port(self, podip: PodIP) -> frozenset[str] | None:
        """Return the addresses of the ENI's port; None if ENI or port are unknown."""
        eni = self._enis.get(podip.spec.eni_name)
        return frozenset(eni.status.port.addresses) if eni and eni.status.port else None

    def _write_status(self, podip: PodIP, status: podip_body.AgentStatus) -> None:
        if not podip_body.is_shown(podip, status):
            body = podip_body.status_body(podip, status)
            self._store.apply(PODIPS, body, manager=MANAGER_AGENT, subresource="status")

    def _pod_uid(self, grant: Grant) -> str:
        """Return the UID of the pod's object, as far as it is known."""
        pod = self._pod_of(grant)
        return pod.metadata.uid if pod else grant.api_uid or grant.attachment.pod_uid

    def _pod_of(self, grant: Grant) -> Pod | None:
        return self._pods.get(pod_with(grant.attachment.pod_uid, grant.pod_key))

    def _create(self, grant: Grant, pod_uid: str) -> PodIP:
        """Create the grant's PodIP; return it, or the one that already has its name."""
        body = podip_body.body(grant, self._node, pod_uid)
        try:
            return decode(self._store.create(PODIPS, body), PodIP)
        except ConflictError:
            return decode(self._store.get(PODIPS, grant.name, grant.namespace), PodIP)

    def _delete(self, podip: PodIP) -> None:
        """Remove the finalizer and delete the PodIP: no container has its address.

        Of an address whose grant was lost, the cool-down begins.
        """
        pool = self._pools.get(podip.spec.pool_name)
        cool_down = seconds(pool.spec.cool_down) if pool else LONGEST_COOL_DOWN_SECONDS
        for address in self._lost(podip):
            self._grants.end_unexplained(address, cool_down)
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
