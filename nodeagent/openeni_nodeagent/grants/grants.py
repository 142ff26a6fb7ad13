"""The ledger with its lock, its journal and the queue of ADDs that wait for an address.

The lock is held for a look at the ledger and one record of the journal, never during work of the
kernel or any other call. A grant is journalled before the kernel is configured, and its end
after the kernel has been cleaned up, so that every address in the kernel has a record.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from openeni_nodeagent.clock import boot_seconds
from openeni_nodeagent.cni.call import StoppingError
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.datapath_api import ENIFacts, NodeFacts, PodNetwork
from openeni_nodeagent.grants.journal import (
    ENIForgotten,
    ENISeen,
    Granted,
    GrantEnded,
    Journal,
    JournalError,
    JournalRecord,
    NodeSeen,
)
from openeni_nodeagent.grants.ledger import (
    Attachment,
    ENIView,
    Grant,
    GrantCounts,
    Ledger,
    RetireAnswers,
)

MAX_WAITING: Final = 128
_ALIVE_POLL_SECONDS: Final = 1.0  # until a killed executable is noticed
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class GrantRequest:
    """A request for one address of each family from a pool."""

    attachment: Attachment
    namespace: str
    name: str
    netns: str
    pool: str
    cool_down: float  # seconds
    assumed: bool = False


class Grants:
    """Safe for several threads. Methods that write the journal raise JournalError."""

    def __init__(self, journal: Journal) -> None:
        """Start from the state in the journal."""
        self._journal = journal
        self._changed = threading.Condition()
        self._ledger = Ledger()
        self._waiting: dict[str, deque[object]] = {}
        self._stopping = False
        self._listeners: list[Callable[[Grant], None]] = []
        self._facts = dict(journal.state.enis)
        self._ledger.restore_cool_downs(journal.state.cooling_until)
        for grant in journal.state.grants.values():
            self._ledger.record(grant)

    def subscribe(self, listener: Callable[[Grant], None]) -> None:
        """Call `listener` with every grant that is made, connected or ended. It must not block."""
        self._listeners.append(listener)

    def acquire(
        self, wanted: GrantRequest, deadline: float, alive: Callable[[], bool]
    ) -> Grant | None:
        """Return the attachment's grant, an existing or a new one; None at the deadline.

        Requests that wait for a pool are served in the order of their arrival. Raises CNIError if
        too many wait or if the caller is gone, StoppingError when the agent stops.
        """
        with self._changed:
            grant = self._existing(wanted.attachment) or self._try_grant(wanted, None)
            if grant is None:
                grant = self._wait(wanted, deadline, alive)
        if grant is not None:
            self._notify(grant)
        return grant

    def mark_connected(self, grant: Grant, pod_network: PodNetwork) -> None:
        """Record that the datapath of a grant has been built."""
        full = msgspec.structs.replace(
            grant,
            connected=True,
            host_interface=pod_network.host_interface,
            gateway=pod_network.gateway,
        )
        if full != grant:
            with self._changed:
                self._write(Granted(full))
                self._ledger.record(full)
            self._notify(full)

    def end_grant(self, grant: Grant, *, used: bool = True) -> None:
        """End a grant whose datapath is gone; addresses that were not used need no cool-down."""
        container_id, interface = grant.attachment.container_id, grant.attachment.interface
        with self._changed:
            if self._ledger.find(container_id, interface) is None:
                return
            cooling_until = boot_seconds() + (grant.cool_down if used else 0.0)
            times = dict.fromkeys(grant.addresses, cooling_until)
            self._write(GrantEnded(container_id, interface, times))
            self._ledger.end_grant(container_id, interface, cooling_until)
            self._changed.notify_all()
        self._notify(grant)

    def adopt(self, grant: Grant) -> None:
        """Record a grant that the kernel has and the journal has lost.

        Raises AddressOwnedError if one of its addresses has another owner.
        """
        with self._changed:
            self._ledger.require_free(grant)
            self._write(Granted(grant))
            self._ledger.record(grant)
        self._notify(grant)

    def find(self, container_id: str, interface: str) -> Grant | None:
        with self._changed:
            return self._ledger.find(container_id, interface)

    def all(self) -> tuple[Grant, ...]:
        with self._changed:
            return self._ledger.grants()

    def of_pod(self, uid: str) -> tuple[Grant, ...]:
        """Return a pod's grants, newest first: an old sandbox's DEL may follow a new one's ADD."""
        found = [g for g in self.all() if g.attachment.pod_uid == uid]
        return tuple(sorted(found, key=lambda g: -g.at))

    def of_eni(self, eni: str) -> tuple[Grant, ...]:
        return tuple(g for g in self.all() if g.eni == eni)

    def remember_node(self, facts: NodeFacts) -> None:
        """Record the node's facts for the next start."""
        if facts != self._journal.state.node:
            self._write(NodeSeen(facts))

    def observe(self, view: ENIView, facts: ENIFacts) -> None:
        """Update the ledger with what the API shows of an ENI, and wake waiting requests."""
        with self._changed:
            if self._facts.get(view.name) != facts:
                self._write(ENISeen(facts))
                self._facts[view.name] = facts
            self._ledger.observe(view, boot_seconds())
            self._changed.notify_all()

    def forget(self, eni: str) -> None:
        """Remove an ENI whose object is gone; its facts are kept as long as a grant needs them."""
        with self._changed:
            self._ledger.forget(eni)
            if eni in self._facts and not any(g.eni == eni for g in self._ledger.grants()):
                self._write(ENIForgotten(eni))
                del self._facts[eni]

    def facts(self, eni: str) -> ENIFacts | None:
        with self._changed:
            return self._facts.get(eni)

    def known_enis(self) -> tuple[ENIFacts, ...]:
        with self._changed:
            return tuple(self._facts.values())

    def acknowledge(self, eni: str) -> tuple[RetireAnswers, GrantCounts] | None:
        """Retire what the operator asks for, and count the rest; None if not observed yet."""
        with self._changed:
            now = boot_seconds()
            if not self._ledger.knows(eni):
                return None
            return self._ledger.acknowledge(eni, now), self._ledger.counts(eni, now)

    def next_cooled(self) -> float | None:
        """Return the seconds until the next cool-down ends; None if there is none."""
        with self._changed:
            now = boot_seconds()
            at = self._ledger.next_cooled(now)
            return None if at is None else at - now

    def reserve(self, addresses: Iterable[str]) -> frozenset[str]:
        """Reserve those of the kernel's addresses that have no grant, and return them."""
        with self._changed:
            self._ledger.reserve(addresses)
            self._changed.notify_all()
            return self._ledger.reserved()

    def reserved(self) -> frozenset[str]:
        with self._changed:
            return self._ledger.reserved()

    def retain_reserved(self, addresses: frozenset[str]) -> None:
        """Drop reservations but for `addresses`; none is added after the start."""
        with self._changed:
            self._ledger.reserve(self._ledger.reserved() & addresses)
            self._changed.notify_all()

    def stop(self) -> None:
        """Raise StoppingError in all waiting requests; grants stay as they are."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _write(self, *records: JournalRecord) -> None:
        try:
            self._journal.append(*records)
        except OSError as error:
            raise JournalError(
                f"the journal of grants cannot be written: {error.strerror}"
            ) from None

    def _existing(self, attachment: Attachment) -> Grant | None:
        grant = self._ledger.find(attachment.container_id, attachment.interface)
        if grant is not None and grant.attachment != attachment:
            owner = grant.attachment.pod_uid
            raise CNIError(
                Code.INVALID_ENVIRONMENT,
                f"container {attachment.container_id} already belongs to pod {owner}",
            )
        return grant

    def _try_grant(self, wanted: GrantRequest, ticket: object | None) -> Grant | None:
        """Make a grant if `ticket` is first in the queue and an address is available."""
        queue: Sequence[object] = self._waiting.get(wanted.pool, ())
        if queue and queue[0] is not ticket:
            return None
        now = boot_seconds()
        candidate = self._ledger.choose(wanted.pool, now)
        if candidate is None:
            return None
        grant = Grant(
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
        )
        self._write(Granted(grant))
        self._ledger.record(grant)
        return grant

    def _wait(
        self, wanted: GrantRequest, deadline: float, alive: Callable[[], bool]
    ) -> Grant | None:
        if sum(len(queue) for queue in self._waiting.values()) >= MAX_WAITING:
            raise CNIError(
                Code.TRY_AGAIN, f"{MAX_WAITING} pods of this node already wait for an address"
            )
        ticket = object()
        queue = self._waiting.setdefault(wanted.pool, deque())
        queue.append(ticket)
        try:
            while True:
                if self._stopping:
                    raise StoppingError
                if not alive():
                    raise CNIError(Code.TRY_AGAIN, "the runtime has abandoned this call")
                grant = self._try_grant(wanted, ticket)
                left = deadline - time.monotonic()
                if grant is not None or left <= 0:
                    return grant
                self._changed.wait(min(left, _ALIVE_POLL_SECONDS, self._seconds_to_next_cooled()))
        finally:
            queue.remove(ticket)
            self._changed.notify_all()

    def _seconds_to_next_cooled(self) -> float:
        now = boot_seconds()
        return max((self._ledger.next_cooled(now) or now + _ALIVE_POLL_SECONDS) - now, 0.001)

    def _notify(self, grant: Grant) -> None:
        for listener in self._listeners:
            listener(grant)
