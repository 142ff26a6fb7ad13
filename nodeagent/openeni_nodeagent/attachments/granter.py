"""Make the grant of an ADD: choose the pod's pool, find what the pod asks for, take an address.

Any free address of the pool is granted without a call off the node. A pod that keeps its address,
or asks for one by name, has a PodIP that says which; if this node's watch has not shown it, the API
server is asked for it. What is not on the node yet is asked of the operator by such a PodIP, and
waited for.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import seconds
from openeni_crds.podip import DELETE, PodIP
from openeni_crds.selection import AddressWish, WishError, wish_of
from openeni_kube.clock import boot_seconds
from openeni_kube.store import StoreError
from openeni_nodeagent.attachments.grant_errors import explain_named_addresses, no_address
from openeni_nodeagent.attachments.pool_choice import PoolChoice, PoolChooser
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cni.call import Call
from openeni_nodeagent.cni.protocol import CNIError, Code, Request
from openeni_nodeagent.cni.runtime_config import bandwidth, port_mappings
from openeni_nodeagent.event_reasons import PodReason
from openeni_nodeagent.grants.grant import Attachment, Grant, pod_key
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.netns_identity import identify
from openeni_nodeagent.grants.requests import GrantRequest

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class GranterDependencies:
    """The caches and callbacks that a grant depends on."""

    enis: Cache[ENI]
    podips: Cache[PodIP]
    pool_chooser: PoolChooser
    wait_until_synced: Callable[[float, Callable[[], bool]], bool]  # see Readiness
    find_podip: Callable[[str, str], PodIP | None]  # by namespace and name; raises StoreError
    on_claim: Callable[[Grant], None]  # a pod waits for these addresses: its PodIP is to say so


class Granter:
    """Safe for several threads."""

    def __init__(self, grants: Grants, dependencies: GranterDependencies) -> None:
        self._grants = grants
        self._dependencies = dependencies

    def make_grant(self, call: Call, asked_at: float) -> Grant:
        """Return a new grant for the container, whose ADD came at `asked_at` (boot clock).

        Raises CNIError, StoppingError, JournalError.
        """
        request = call.request
        if not self._dependencies.wait_until_synced(call.deadline, call.alive):
            raise CNIError(
                Code.TRY_AGAIN,
                "the agent has not read its objects from the API server yet",
                reason=PodReason.AGENT_NOT_SYNCED,
            )
        key = pod_key(request.pod_namespace, request.pod_name)
        chosen = self._dependencies.pool_chooser.pool_for(request.pod_uid, key, call.deadline)
        if chosen.assumed:
            _log.warning(
                "pod %s: the API server is away, assuming ENIPool %s", key, chosen.pool.name
            )
        wanted = self._request(request, key, chosen, asked_at)
        grant = self._acquire(wanted, call, chosen.pool)
        if grant is None:
            raise no_grant(
                wanted,
                chosen.pool,
                self._dependencies.enis,
                self._dependencies.podips,
                self._grants,
            )
        return grant

    def _request(
        self, request: Request, key: str, chosen: PoolChoice, asked_at: float
    ) -> GrantRequest:
        wish, pool = self._wish(key, chosen), chosen.pool
        return GrantRequest(
            attachment_of(request),
            request.pod_namespace,
            request.pod_name,
            request.netns,
            pool.name,
            seconds(pool.spec.cool_down),
            asked_at,
            assumed=chosen.assumed,
            netns_id=identify(request.netns),
            api_uid=chosen.pod_uid,
            host_ports=port_mappings(request.config.runtime_config),
            bandwidth=bandwidth(request.config.runtime_config),
            retention=wish.retention,
            requested=wish.addresses,
            awaited=wish.retention != DELETE
            and not wish.addresses
            and self._must_await(request, key, pool),
        )

    def _wish(self, key: str, chosen: PoolChoice) -> AddressWish:
        """Return what the pod asks for; of an unknown pod, that it may keep what it has."""
        if chosen.assumed:
            podip = self._dependencies.podips.get(key)
            return AddressWish(podip.spec.retention if podip else DELETE)
        try:
            return wish_of(chosen.annotations)
        except WishError as error:
            raise CNIError(
                Code.TRY_AGAIN,
                f"no address for pod {key}",
                str(error),
                reason=PodReason.INVALID_ANNOTATION,
            ) from None

    def _must_await(self, request: Request, key: str, pool: ENIPool) -> bool:
        """Return True if addresses of the pool are kept for the pod where the watch shows none."""
        if self._grants.find_retained(key, pool.name):
            return False
        try:
            podip = self._dependencies.find_podip(request.pod_namespace, request.pod_name)
        except StoreError as error:
            raise CNIError(
                Code.TRY_AGAIN,
                f"it is not known which address is kept for pod {key}",
                str(error),
                reason=PodReason.ADDRESS_NOT_AVAILABLE,
            ) from None
        return (
            podip is not None
            and podip.is_retained
            and not podip.metadata.deleting
            and podip.spec.pool_name == pool.name
        )

    def _acquire(self, wanted: GrantRequest, call: Call, pool: ENIPool) -> Grant | None:
        """Return the grant; None at the deadline. What is asked for by name is asked for aloud."""
        if wanted.requested:
            grant = self._grants.acquire(wanted, time.monotonic(), call.alive)
            if grant is not None:
                return grant
            self._dependencies.on_claim(_claim(wanted, pool))
        return self._grants.acquire(wanted, call.deadline, call.alive)


def no_grant(
    wanted: GrantRequest, pool: ENIPool, enis: Cache[ENI], podips: Cache[PodIP], grants: Grants
) -> CNIError:
    """Return the error that the request gets no grant; `enis` are those on this node."""
    kept = grants.find_retained(wanted.key, pool.name)
    addresses = wanted.requested or kept
    if not (addresses or wanted.awaited):
        return no_address(wanted.key, pool, enis.all())
    mine = [eni for eni in enis.all() if eni.spec.pool_name == pool.name]
    owners = {a: o for a in addresses if (o := grants.owner_of(a)) not in {"", wanted.key}}
    return CNIError(
        Code.TRY_AGAIN,
        f"no address for pod {wanted.key}",
        explain_named_addresses(addresses, podips.get(wanted.key), mine, owners),
        reason=PodReason.ADDRESS_NOT_AVAILABLE,
    )


def attachment_of(request: Request) -> Attachment:
    """Return the attachment that a request is about."""
    return Attachment(request.pod_uid, request.container_id, request.interface)


def _claim(wanted: GrantRequest, pool: ENIPool) -> Grant:
    """Return what the PodIP of a waiting pod is to record: a grant that has no ENI yet."""
    return Grant(
        wanted.attachment,
        wanted.namespace,
        wanted.name,
        wanted.netns,
        "",
        wanted.pool,
        wanted.requested,
        pool.spec.datapath.word,
        0,
        at=boot_seconds(),
        cool_down=wanted.cool_down,
        api_uid=wanted.api_uid,
        retention=wanted.retention,
        requested=True,
    )
