"""The CNI commands as the agent's use cases: address, journal, kernel, answer.

The path of a warm ADD: the pod's pool from memory, a grant (one look at the ledger and one record),
the kernel, the reply. Nothing on it leaves the node, and two pods wait for each other only at the
ledger's lock. Calls for one container take turns, so that a DEL never meets its ADD half-way.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import seconds
from openeni_nodeagent.attachments.calls import Call
from openeni_nodeagent.attachments.container_locks import Turns
from openeni_nodeagent.attachments.grant_errors import why_empty
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.clock import boot_seconds
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.objects import Pod
from openeni_nodeagent.cni.protocol import (
    CniError,
    Code,
    Command,
    Interface,
    Request,
    Result,
    Route,
    encode_result,
)
from openeni_nodeagent.grants.grants import Ask, Grants
from openeni_nodeagent.grants.ledger import Grant, Holder, family
from openeni_nodeagent.wiring import (
    EniFacts,
    NamespaceGoneError,
    NicMissingError,
    PodFacts,
    Wired,
    Wiring,
    WiringError,
)

GC_AGE_SECONDS: Final = 120.0  # longer than any ADD may take: its pod may miss in the list
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """Where the use cases look things up."""

    pods: Cache[Pod]
    enis: Cache[ENI]
    chooser: PoolChooser
    prepared: Callable[[str], bool]  # whether this process has prepared the ENI's link
    ready: Callable[[float], bool]  # wait until the caches are filled; False at the deadline
    settled: Callable[[], bool]  # whether journal, kernel and PodIPs have been compared
    pods_known: Callable[[], bool]  # whether the cache of pods is filled and heard of lately


class Attach:
    """Handles every command but VERSION. Errors are CniError: one line for the pod's events."""

    def __init__(self, grants: Grants, wiring: Wiring, sources: Sources) -> None:
        self._grants = grants
        self._wiring = wiring
        self._sources = sources
        self._turns = Turns()

    def handle(self, call: Call) -> bytes:
        """Return the body of the answer. Raises CniError, StoppingError."""
        request = call.request
        match request.command:
            case Command.ADD:
                with self._turns.hold(request.container_id):
                    return self._add(call)
            case Command.DEL:
                with self._turns.hold(request.container_id), call.phases.phase("datapath"):
                    self.delete(request.container_id, request.interface, request.netns)
            case Command.CHECK:
                with self._turns.hold(request.container_id):
                    self._check(request)
            case Command.GC:
                self._collect(request)
            case Command.STATUS:
                pass  # to answer is the answer
        return b""

    def _add(self, call: Call) -> bytes:
        request = call.request
        with call.phases.phase("grant"):
            grant = self._grant(call)
        wired = self._connect(grant, request.netns)
        call.phases.include(wired.phases)
        with call.phases.phase("record"):
            self._grants.connected(grant, wired)
        return encode_result(request.config.cni_version, _result(request, grant, wired))

    def _grant(self, call: Call) -> Grant:
        request = call.request
        holder = Holder(request.pod_uid, request.container_id, request.interface)
        name = f"{request.pod_namespace}/{request.pod_name}"
        known = self._grants.find(request.container_id, request.interface)
        if known is not None and known.holder == holder:
            return known
        if not self._sources.ready(call.deadline):
            raise CniError(
                Code.TRY_AGAIN, "the agent has not read its objects from the API server yet"
            )
        chosen = self._sources.chooser.pool_for(request.pod_uid, name, call.deadline)
        pool = chosen.pool
        if chosen.assumed:
            _log.warning("pod %s: the API server is away, ENIPool %s is assumed", name, pool.name)
        ask = Ask(
            holder,
            request.pod_namespace,
            request.pod_name,
            request.netns,
            pool.name,
            seconds(pool.spec.cool_down),
            assumed=chosen.assumed,
        )
        grant = self._grants.acquire(ask, call.deadline, call.alive)
        if grant is None:
            raise CniError(Code.TRY_AGAIN, f"no address for pod {name}", self._why(pool))
        return grant

    def _why(self, pool: ENIPool) -> str:
        return why_empty(
            pool, (e for e in self._sources.enis.all() if e.spec.pool_name == pool.name)
        )

    def _connect(self, grant: Grant, netns: str) -> Wired:
        facts = self._grants.facts(grant.eni)
        if facts is None or not self._sources.prepared(grant.eni):
            if not grant.connected:
                self._grants.release(grant, used=False)
            raise CniError(Code.TRY_AGAIN, f"ENI {grant.eni} does not carry pods (yet)")
        try:
            return self._wiring.add(pod_facts(grant, facts), netns)
        except WiringError as error:
            # Wiring's word: after an error nothing of the pod is left in the kernel.
            self._grants.release(grant, used=grant.connected)
            code = Code.TRY_AGAIN if isinstance(error, NicMissingError) else Code.IO
            raise CniError(
                code, f"the datapath of {grant.addresses[0]} failed", str(error)
            ) from None

    def delete(self, container_id: str, interface: str, netns: str) -> None:
        """End a grant. A container without one is done already. Raises CniError."""
        grant = self._grants.find(container_id, interface)
        if grant is None:
            self._must_be_unknown(container_id)
            return
        self.disconnect(grant, netns)
        self._grants.release(grant)

    def _must_be_unknown(self, container_id: str) -> None:
        """After the loss of a journal, a container may still turn out to have an address."""
        unowned = self._grants.reserved()
        if unowned and not self._sources.settled():
            raise CniError(
                Code.TRY_AGAIN,
                f"whether container {container_id} has an address is not known yet",
                f"carried by the kernel without a grant: {', '.join(sorted(unowned))}",
            )

    def disconnect(self, grant: Grant, netns: str) -> None:
        """Take a grant's datapath out of the kernel. Raises CniError."""
        facts = self._grants.facts(grant.eni)
        try:
            if facts is not None and self._sources.prepared(grant.eni):
                try:
                    self._wiring.delete(pod_facts(grant, facts), netns)
                except NicMissingError:
                    self._delete_addresses(grant)
            else:
                self._delete_addresses(grant)
        except WiringError as error:
            raise CniError(
                Code.IO, f"the datapath of {grant.addresses[0]} cannot be removed", str(error)
            ) from None

    def _delete_addresses(self, grant: Grant) -> None:
        _log.info("ENI %s is not there: removing the node's part of its pods", grant.eni)
        for address in grant.addresses:
            self._wiring.delete_address(address)

    def replay(self, container_id: str, interface: str, netns: str, queued: float) -> None:
        """Do a DEL that was queued at `queued` (boot clock) while no agent ran.

        A grant that is younger than the DEL was not meant by it. Raises CniError.
        """
        with self._turns.hold(container_id):
            grant = self._grants.find(container_id, interface)
            if grant is not None and grant.at <= queued:
                self.delete(container_id, interface, netns)

    def end(self, grant: Grant) -> None:
        """End a grant whose container is known to be gone. Raises CniError."""
        with self._turns.hold(grant.holder.container_id):
            self.delete(grant.holder.container_id, grant.holder.interface, "")

    def reconnect(self, grant: Grant, facts: PodFacts) -> None:
        """Make the datapath of a connected grant again. Raises WiringError; the grant stays."""
        with self._turns.hold(grant.holder.container_id):
            if self._grants.find(grant.holder.container_id, grant.holder.interface) == grant:
                self._wiring.add(facts, grant.netns)

    def _check(self, request: Request) -> None:
        grant = self._grants.find(request.container_id, request.interface)
        if grant is None:
            raise CniError(
                Code.UNKNOWN_CONTAINER, f"container {request.container_id} has no address"
            )
        facts = self._grants.facts(grant.eni)
        if facts is None or not self._sources.prepared(grant.eni):
            raise CniError(Code.TRY_AGAIN, f"ENI {grant.eni} is not prepared")
        said = request.config.prev_result.ips if request.config.prev_result else ()
        differences = [
            f"the runtime's result has {ip.address}, the grant {', '.join(grant.addresses)}"
            for ip in said
            if ip.address.partition("/")[0] not in grant.addresses
        ]
        try:
            differences += self._wiring.check(pod_facts(grant, facts), request.netns)
        except NamespaceGoneError as error:
            raise CniError(Code.UNKNOWN_CONTAINER, str(error)) from None
        except WiringError as error:
            raise CniError(Code.IO, str(error)) from None
        if differences:
            raise CniError(
                Code.UNHEALTHY, "the pod's network is not as it was made", "; ".join(differences)
            )

    def _collect(self, request: Request) -> None:
        """GC: free what the runtime does not list and no pod stands for."""
        if not self._sources.pods_known():
            raise CniError(Code.TRY_AGAIN, "the pods of this node are not known for sure")
        listed = {(a.container_id, a.interface) for a in request.config.attachments or ()}
        now = boot_seconds()
        for grant in self._grants.all():
            key = (grant.holder.container_id, grant.holder.interface)
            if key in listed or now - grant.at < GC_AGE_SECONDS:
                continue
            if self._sources.pods.get(grant.holder.pod_uid) is None or self._replaced(
                grant, listed
            ):
                _log.warning("GC: container %s is unknown, its address is freed", key[0])
                self.end(grant)

    def _replaced(self, grant: Grant, listed: set[tuple[str, str]]) -> bool:
        """Whether the runtime lists a newer sandbox of the same pod.

        Several runtimes of one node may each know a part (containernetworking/cni#1086); one that
        lists the pod's newer sandbox would list this one too if it still had it.
        """
        return any(
            other.at > grant.at and (other.holder.container_id, other.holder.interface) in listed
            for other in self._grants.of_pod(grant.holder.pod_uid)
        )


def pod_facts(grant: Grant, eni: EniFacts) -> PodFacts:
    """What the datapath must know of a grant."""
    holder = grant.holder
    return PodFacts(
        holder.pod_uid, holder.container_id, holder.interface, grant.addresses, grant.mtu, eni
    )


def _result(request: Request, grant: Grant, wired: Wired) -> Result:
    gateways = {family(gateway): gateway for gateway in wired.gateway}
    return Result(
        Interface(wired.host_interface, wired.host_mac),
        Interface(request.interface, wired.pod_mac, request.netns, grant.mtu),
        grant.addresses,
        tuple(gateways.get(family(address), "") for address in grant.addresses),
        tuple(Route(route.destination, route.gateway) for route in wired.routes),
    )
