"""The CNI commands: ADD, DEL, CHECK and GC, from request to result.

A warm ADD selects the pod's pool from the caches, makes a grant (one look at the ledger, one record
of the journal), configures the kernel and replies. Nothing of it leaves the node, and two pods wait
for each other only at the ledger's lock. Calls of one container are serialized, so that a DEL never
runs during the container's ADD.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import seconds
from openeni_nodeagent.attachments.add_result import add_result
from openeni_nodeagent.attachments.container_locks import ContainerLocks
from openeni_nodeagent.attachments.grant_errors import (
    explain_no_address,
    journal_error_as_cni_error,
)
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.clock import boot_seconds
from openeni_nodeagent.cluster.cache import Cache, object_key
from openeni_nodeagent.cluster.objects import Pod
from openeni_nodeagent.cni.call import Call
from openeni_nodeagent.cni.protocol import (
    CNIError,
    Code,
    Command,
    Request,
    encode_result,
)
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    NamespaceGoneError,
    NICMissingError,
    NodeDatapath,
    PodInterface,
    PodNetwork,
)
from openeni_nodeagent.grants.grants import GrantRequest, Grants
from openeni_nodeagent.grants.ledger import Attachment, Grant

# Longer than any ADD: the runtime's list may not have a younger grant's container yet.
GC_AGE_SECONDS: Final = 120.0
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class CommandDependencies:
    """The caches and callbacks that the commands read."""

    pods: Cache[Pod]
    enis: Cache[ENI]
    pool_chooser: PoolChooser
    is_link_ready: Callable[[str], bool]  # True once this process has configured the ENI's link
    wait_until_synced: Callable[[float], bool]  # False at the deadline
    repaired: Callable[[], bool]  # True once journal, kernel and PodIPs have been compared
    pods_current: Callable[[], bool]  # True while the cache of pods is synced and up to date


class CNICommands:
    """Handles every command but VERSION, which the executable answers itself."""

    def __init__(
        self, grants: Grants, datapath: NodeDatapath, dependencies: CommandDependencies
    ) -> None:
        self._grants = grants
        self._datapath = datapath
        self._dependencies = dependencies
        self._locks = ContainerLocks()

    @journal_error_as_cni_error()
    def handle(self, call: Call) -> bytes:
        """Return the body of the answer. Raises CNIError, StoppingError."""
        request = call.request
        match request.command:
            case Command.ADD:
                with self._locks.locked(request.container_id):
                    return self._add(call)
            case Command.DEL:
                with self._locks.locked(request.container_id), call.stopwatch.phase("datapath"):
                    self._delete(request.container_id, request.interface, request.netns)
            case Command.CHECK:
                with self._locks.locked(request.container_id):
                    self._check(request)
            case Command.GC:
                self._gc(request)
            case Command.STATUS:
                pass  # only an older executable asks: any answer means that the agent is there
        return b""

    def _add(self, call: Call) -> bytes:
        request = call.request
        with call.stopwatch.phase("grant"):
            grant = self._grant(call)
        pod_network = self._connect(grant, request.netns)
        call.stopwatch.include(pod_network.phases)
        with call.stopwatch.phase("record"):
            self._grants.mark_connected(grant, pod_network)
        return encode_result(request.config.cni_version, add_result(request, grant, pod_network))

    def _grant(self, call: Call) -> Grant:
        request = call.request
        attachment = Attachment(request.pod_uid, request.container_id, request.interface)
        name = object_key(request.pod_namespace, request.pod_name)
        known = self._grants.find(request.container_id, request.interface)
        if known is not None and known.attachment == attachment:
            return known
        if not self._dependencies.wait_until_synced(call.deadline):
            raise CNIError(
                Code.TRY_AGAIN, "the agent has not read its objects from the API server yet"
            )
        chosen = self._dependencies.pool_chooser.pool_for(request.pod_uid, name, call.deadline)
        pool = chosen.pool
        if chosen.assumed:
            _log.warning("pod %s: the API server is away, assuming ENIPool %s", name, pool.name)
        wanted = GrantRequest(
            attachment,
            request.pod_namespace,
            request.pod_name,
            request.netns,
            pool.name,
            seconds(pool.spec.cool_down),
            assumed=chosen.assumed,
        )
        grant = self._grants.acquire(wanted, call.deadline, call.alive)
        if grant is None:
            raise CNIError(Code.TRY_AGAIN, f"no address for pod {name}", self._explain(pool))
        return grant

    def _explain(self, pool: ENIPool) -> str:
        return explain_no_address(
            pool, (e for e in self._dependencies.enis.all() if e.spec.pool_name == pool.name)
        )

    def _connect(self, grant: Grant, netns: str) -> PodNetwork:
        facts = self._grants.facts(grant.eni)
        if facts is None or not self._dependencies.is_link_ready(grant.eni):
            if not grant.connected:
                self._grants.end_grant(grant, used=False)
            raise CNIError(Code.TRY_AGAIN, f"the link of ENI {grant.eni} is not ready on this node")
        try:
            return self._datapath.add(pod_interface(grant, facts), netns)
        except DatapathError as error:
            # NodeDatapath.add leaves nothing of the pod in the kernel after an error.
            self._grants.end_grant(grant, used=grant.connected)
            code = Code.TRY_AGAIN if isinstance(error, NICMissingError) else Code.IO
            raise CNIError(
                code, f"the datapath of {grant.addresses[0]} cannot be built", str(error)
            ) from None

    def _delete(self, container_id: str, interface: str, netns: str) -> None:
        """End a container's grant; done if it has none. Raises CNIError."""
        grant = self._grants.find(container_id, interface)
        if grant is None:
            self._require_repaired(container_id)
            return
        self._disconnect(grant, netns)
        self._grants.end_grant(grant)

    def _require_repaired(self, container_id: str) -> None:
        """Raise CNIError while a repair may still find a grant for a container without one.

        This concerns the time after a journal was lost.
        """
        reserved = self._grants.reserved()
        if reserved and not self._dependencies.repaired():
            raise CNIError(
                Code.TRY_AGAIN,
                f"it is not known yet if container {container_id} has an address",
                f"in the kernel without a grant: {', '.join(sorted(reserved))}",
            )

    def _disconnect(self, grant: Grant, netns: str) -> None:
        """Remove a grant's datapath from the kernel. Raises CNIError."""
        facts = self._grants.facts(grant.eni)
        try:
            if facts is not None and self._dependencies.is_link_ready(grant.eni):
                try:
                    self._datapath.delete(pod_interface(grant, facts), netns)
                except NICMissingError:
                    self._delete_addresses(grant)
            else:
                self._delete_addresses(grant)
        except DatapathError as error:
            raise CNIError(
                Code.IO, f"the datapath of {grant.addresses[0]} cannot be removed", str(error)
            ) from None

    def _delete_addresses(self, grant: Grant) -> None:
        _log.info("ENI %s is gone: removing the host's part of its pods by address", grant.eni)
        for address in grant.addresses:
            self._datapath.delete_address(address)

    @journal_error_as_cni_error()
    def replay(self, container_id: str, interface: str, netns: str, queued: float) -> None:
        """Run a DEL that the executable queued at `queued` (boot clock) while no agent answered.

        A grant that is younger than the DEL is kept. Raises CNIError.
        """
        with self._locks.locked(container_id):
            grant = self._grants.find(container_id, interface)
            if grant is not None and grant.at <= queued:
                self._delete(container_id, interface, netns)

    @journal_error_as_cni_error()
    def end_grant(self, grant: Grant) -> None:
        """End the grant of a container that no longer exists. Raises CNIError."""
        with self._locks.locked(grant.attachment.container_id):
            self._delete(grant.attachment.container_id, grant.attachment.interface, "")

    def reconnect(self, grant: Grant, facts: PodInterface) -> None:
        """Build the datapath of a connected grant again. Raises DatapathError; the grant stays."""
        with self._locks.locked(grant.attachment.container_id):
            if (
                self._grants.find(grant.attachment.container_id, grant.attachment.interface)
                == grant
            ):
                self._datapath.add(facts, grant.netns)

    def _check(self, request: Request) -> None:
        grant = self._grants.find(request.container_id, request.interface)
        if grant is None:
            raise CNIError(
                Code.UNKNOWN_CONTAINER, f"container {request.container_id} has no address"
            )
        facts = self._grants.facts(grant.eni)
        if facts is None or not self._dependencies.is_link_ready(grant.eni):
            raise CNIError(Code.TRY_AGAIN, f"the link of ENI {grant.eni} is not ready on this node")
        result_ips = request.config.prev_result.ips if request.config.prev_result else ()
        differences = [
            f"the runtime's result has {ip.address}, the grant {', '.join(grant.addresses)}"
            for ip in result_ips
            if ip.address.partition("/")[0] not in grant.addresses
        ]
        try:
            differences += self._datapath.check(pod_interface(grant, facts), request.netns)
        except NamespaceGoneError as error:
            raise CNIError(Code.UNKNOWN_CONTAINER, str(error)) from None
        except DatapathError as error:
            raise CNIError(Code.IO, str(error)) from None
        if differences:
            raise CNIError(
                Code.UNHEALTHY, "the pod's network differs from its plan", "; ".join(differences)
            )

    def _gc(self, request: Request) -> None:
        """End grants whose container the runtime does not list and whose pod is gone.

        A pod also counts as gone if the runtime lists a newer sandbox of it.
        """
        if not self._dependencies.pods_current():
            raise CNIError(Code.TRY_AGAIN, "the agent's list of this node's pods is not up to date")
        listed = {(a.container_id, a.interface) for a in request.config.attachments or ()}
        now = boot_seconds()
        for grant in self._grants.all():
            key = (grant.attachment.container_id, grant.attachment.interface)
            if key in listed or now - grant.at < GC_AGE_SECONDS:
                continue
            if self._dependencies.pods.get(grant.attachment.pod_uid) is None or self._replaced(
                grant, listed
            ):
                _log.warning(
                    "GC: ending the grant of container %s, which the runtime lacks", key[0]
                )
                self.end_grant(grant)

    def _replaced(self, grant: Grant, listed: set[tuple[str, str]]) -> bool:
        """Return True if the runtime lists a newer sandbox of the same pod.

        A node may have several runtimes, each of which lists its own containers
        (containernetworking/cni#1086). The one that lists the newer sandbox would list this one
        too if it still existed.
        """
        return any(
            other.at > grant.at
            and (other.attachment.container_id, other.attachment.interface) in listed
            for other in self._grants.of_pod(grant.attachment.pod_uid)
        )


def pod_interface(grant: Grant, eni: ENIFacts) -> PodInterface:
    """Return what the datapath needs to know of a grant."""
    attachment = grant.attachment
    return PodInterface(
        attachment.pod_uid,
        attachment.container_id,
        attachment.interface,
        grant.addresses,
        grant.mtu,
        eni,
    )
