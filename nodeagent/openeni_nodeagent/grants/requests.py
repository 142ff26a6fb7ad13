"""Requests for addresses: each becomes a grant at once, or waits in the queue of its pool."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from openeni_crds.podip import DELETE
from openeni_kube.clock import boot_seconds
from openeni_nodeagent.cni.call import ALIVE_POLL_SECONDS, StoppingError, require_alive
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.event_reasons import PodReason
from openeni_nodeagent.grants.eni_view import Candidate
from openeni_nodeagent.grants.grant import Attachment, Grant, pod_key
from openeni_nodeagent.grants.host_ports import MOST_OF_NODE
from openeni_nodeagent.grants.ledger import Ledger
from openeni_nodeagent.grants.retained import Wanted
from openeni_nodeagent.grants.waiting import CERTAIN, Ticket, WaitingRequests
from openeni_nodeagent.pod_options import UNLIMITED, Bandwidth, PortMapping

# Fewer than the ADDs that the server lets in, so that one of another pool gets as far as its queue.
MAX_WAITING: Final = 96


class GrantRequest(Struct, frozen=True):
    """A request for one address of each family from a pool.

    A pod gets those that are kept for it, unless it asks for others by name.
    """

    attachment: Attachment
    namespace: str
    name: str
    netns: str
    pool: str
    cool_down: float  # seconds
    asked_at: float  # boot clock, when the ADD came
    assumed: bool = False
    netns_id: tuple[int, int] | None = None
    api_uid: str = ""
    host_ports: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth = UNLIMITED
    retention: str = DELETE
    requested: tuple[str, ...] = ()  # by name
    awaited: bool = False  # its addresses are kept on another node

    @property
    def key(self) -> str:
        return pod_key(self.namespace, self.name)


@dataclass(frozen=True)
class Wait:
    """A request that waits."""

    request: GrantRequest
    since: float  # time.monotonic()


class Requests:
    """Shares the ledger and its lock, `changed`, which is notified when an address may be free."""

    def __init__(
        self,
        ledger: Ledger,
        changed: threading.Condition,
        record: Callable[[Grant, tuple[Grant, ...]], None],
        is_at_work: Callable[[str], bool],
    ) -> None:
        """`record` journals a new grant, with others that it changes, and enters all of them.

        `is_at_work` returns True while a call of a container may have read its grant.
        """
        self._ledger = ledger
        self._changed = changed
        self._record = record
        self._is_at_work = is_at_work
        self._waiting = WaitingRequests(MAX_WAITING)
        self._waits: dict[Ticket, Wait] = {}
        self._stopping = False

    def acquire(
        self, wanted: GrantRequest, deadline: float, alive: Callable[[], bool]
    ) -> Grant | None:
        """Do what Grants.acquire says."""
        with self._changed:
            grant = self._existing(wanted.attachment)
            if grant is not None:
                return grant
            require_alive(alive)
            return self._try_grant(wanted, None) or self._wait(wanted, deadline, alive)

    def waits(self) -> tuple[Wait, ...]:
        """Return the requests that wait, the one that has waited longest first."""
        with self._changed:
            return tuple(self._waits.values())

    def stop(self) -> None:
        """Raise StoppingError in all waiting requests."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _existing(self, attachment: Attachment) -> Grant | None:
        grant = self._ledger.find(attachment.container_id, attachment.interface)
        if grant is not None and grant.attachment != attachment:
            owner = grant.attachment.pod_uid
            raise CNIError(
                Code.INVALID_ENVIRONMENT,
                f"the container of CNI_CONTAINERID, {attachment.container_id}, already belongs to "
                f"pod {owner}, not to the one of CNI_ARGS, {attachment.pod_uid}",
            )
        return grant

    def _try_grant(self, wanted: GrantRequest, ticket: Ticket | None) -> Grant | None:
        """Make a grant if `ticket` is first in its queue and an address is available."""
        addresses = self._named_addresses(wanted)
        if not self._waiting.is_next(ticket.queue if ticket else self._queue(wanted), ticket):
            # It waits behind nobody for what nobody else gets: its own of before a reboot.
            addresses = () if addresses else self._ledger.retained.of(wanted.key, wanted.pool)
            if not addresses:
                return None
        if wanted.awaited and not addresses:
            return None
        now = boot_seconds()
        candidate = self._ledger.choose(wanted.pool, now, Wanted(wanted.key, addresses))
        if candidate is None:
            return None
        self._require_free(wanted)  # also at the end of a long wait
        grant = _grant(wanted, candidate, now, self._cooling_until(wanted, candidate, now))
        earlier = self._ledger.host_ports.released(wanted.host_ports, wanted.attachment)
        self._record(grant, earlier)
        return grant

    def _cooling_until(self, wanted: GrantRequest, candidate: Candidate, now: float) -> float:
        """Return how long the addresses would cool down without the grant; 0.0: no longer."""
        addresses = candidate.addresses
        if any(map(self._ledger.retained.restarts, addresses)):
            return now + wanted.cool_down
        cooled_at = max(map(self._ledger.reservations.cooled_at, addresses))
        return cooled_at if cooled_at > now else 0.0

    def _require_free(self, wanted: GrantRequest) -> None:
        """Raise CNIError if the interface or a host port is not to be had; that may end soon."""
        self._ledger.interfaces.require_free(wanted.attachment, wanted.netns_id)
        if not wanted.host_ports:
            return
        ports = self._ledger.host_ports
        taken = ports.find_taken(wanted.host_ports, wanted.attachment, self._is_at_work)
        if taken is None:
            _require_room(wanted, ports.others(wanted.attachment))
            return
        owner = taken.owner
        is_earlier = owner.attachment.pod_uid == wanted.attachment.pod_uid
        raise CNIError(
            Code.TRY_AGAIN,
            f"host port {taken.port} of pod {wanted.namespace}/{wanted.name} is in use on this "
            "node",
            f"pod {owner.namespace}/{owner.name} (container {owner.attachment.container_id}) has "
            "it until its network is deleted"
            + (", or the call that is at work ends" if is_earlier else ""),
            reason=PodReason.HOST_PORT_IN_USE,
        )

    def _is_alone(self, wanted: GrantRequest) -> bool:
        """Return True for a pod that takes one address alone: it keeps the others of no pod."""
        return wanted.awaited or bool(self._named_addresses(wanted))

    def _queue(self, wanted: GrantRequest) -> str:
        return f"{wanted.pool} {wanted.key}" if self._is_alone(wanted) else wanted.pool

    def _named_addresses(self, wanted: GrantRequest) -> tuple[str, ...]:
        """Return the only addresses that will do; none if any will."""
        return wanted.requested or self._ledger.retained.certain(wanted.key, wanted.pool)

    def _wait(
        self, wanted: GrantRequest, deadline: float, alive: Callable[[], bool]
    ) -> Grant | None:
        self._require_free(wanted)
        group = CERTAIN if self._is_alone(wanted) else wanted.pool
        ticket = self._waiting.enter(self._queue(wanted), group, wanted.namespace)
        if ticket is None:
            raise _too_many(wanted)
        self._waits[ticket] = Wait(wanted, time.monotonic())
        try:
            while True:
                if self._stopping:
                    raise StoppingError
                if ticket.displaced:
                    raise _too_many(wanted)
                require_alive(alive)
                if wanted.awaited and self._named_addresses(wanted):
                    wanted = replace(wanted, awaited=False)  # if they go again, any will do
                grant = self._try_grant(wanted, ticket)
                left = deadline - time.monotonic()
                if grant is not None or left <= 0:
                    return grant
                self._changed.wait(min(left, ALIVE_POLL_SECONDS, self._seconds_to_next_cooled()))
        finally:
            del self._waits[ticket]
            self._waiting.leave(ticket)
            self._changed.notify_all()

    def _seconds_to_next_cooled(self) -> float:
        now = boot_seconds()
        at = self._ledger.reservations.next_cooled(now) or now + ALIVE_POLL_SECONDS
        return max(at - now, 0.001)


def _grant(wanted: GrantRequest, candidate: Candidate, now: float, cooling_until: float) -> Grant:
    return Grant(
        wanted.attachment,
        wanted.namespace,
        wanted.name,
        wanted.netns,
        candidate.eni.name,
        candidate.eni.pool,
        candidate.addresses,
        candidate.eni.datapath_mode,
        candidate.eni.mtu,
        at=now,
        cool_down=wanted.cool_down,
        assumed=wanted.assumed,
        netns_id=wanted.netns_id,
        api_uid=wanted.api_uid,
        port=candidate.eni.port,
        retention=wanted.retention,
        requested=bool(wanted.requested),
        host_ports=wanted.host_ports,
        bandwidth=wanted.bandwidth,
        cooling_until=cooling_until,
        asked_at=wanted.asked_at,
    )


def _require_room(wanted: GrantRequest, taken: int) -> None:
    """Raise CNIError if the node has no room for so many host ports; other pods may go."""
    if taken + len(wanted.host_ports) > MOST_OF_NODE:
        raise CNIError(
            Code.TRY_AGAIN,
            f"no room for the {len(wanted.host_ports)} host ports of pod {wanted.key}",
            f"other pods of this node have {taken}, and openeni gives out {MOST_OF_NODE} on a "
            "node: delete pods with host ports, or run this one on another node",
            reason=PodReason.TOO_MANY_HOST_PORTS,
        )


def _too_many(wanted: GrantRequest) -> CNIError:
    return CNIError(
        Code.TRY_AGAIN,
        f"{MAX_WAITING} pods of this node already wait for an address",
        f"as many of them for ENIPool {wanted.pool} as for any other, and of namespace "
        f"{wanted.namespace} as of any other with pods that wait there",
        reason=PodReason.TOO_MANY_PODS_WAIT,
    )
