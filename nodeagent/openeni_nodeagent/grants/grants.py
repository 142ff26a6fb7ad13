"""The ledger with its lock, its journal and the queue of those who wait for an address.

The lock is held for a look at the ledger and one record of the journal, never for work of the
kernel or a call to anybody. Order: a grant is journalled before the kernel hears of it, its end
after the kernel has let go of it, so that whatever the kernel carries has a record.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from openeni_nodeagent.attachments.calls import StoppingError
from openeni_nodeagent.clock import boot_seconds
from openeni_nodeagent.cni.protocol import CniError, Code
from openeni_nodeagent.grants.journal import (
    EniForgotten,
    EniSeen,
    Freed,
    Granted,
    Journal,
    NodeSeen,
    Record,
)
from openeni_nodeagent.grants.ledger import Answers, Counts, EniView, Grant, Holder, Ledger
from openeni_nodeagent.wiring import EniFacts, NodeFacts, Wired

MOST_WAITING: Final = 128
_LOOK_SECONDS: Final = 1.0  # how soon a killed executable is noticed
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ask:
    """Who wants an address, and of which pool."""

    holder: Holder
    namespace: str
    name: str
    netns: str
    pool: str
    rest: float  # seconds
    assumed: bool = False


class Grants:
    """Safe for several threads. What writes raises CniError where the journal cannot be written."""

    def __init__(self, journal: Journal) -> None:
        """Go on where the journal ends."""
        self._journal = journal
        self._changed = threading.Condition()
        self._ledger = Ledger()
        self._waiting: dict[str, deque[object]] = {}
        self._stopping = False
        self._listeners: list[Callable[[Grant], None]] = []
        self._facts = dict(journal.known.enis)
        self._ledger.rest(journal.known.rested)
        for grant in journal.known.grants.values():
            self._ledger.record(grant)

    def listen(self, listener: Callable[[Grant], None]) -> None:
        """Tell `listener` of every grant that is made, connected or ended. It must return soon."""
        self._listeners.append(listener)

    def acquire(self, ask: Ask, deadline: float, alive: Callable[[], bool]) -> Grant | None:
        """Return the holder's grant: the one it has, or a new one; None at the deadline.

        Those who wait for a pool are served in the order they came. Raises CniError where too many
        wait or nobody waits for the answer any more, StoppingError when the agent stops.
        """
        with self._changed:
            grant = self._held(ask.holder) or self._take_turn(ask, None)
            if grant is None:
                grant = self._wait(ask, deadline, alive)
        if grant is not None:
            self._tell(grant)
        return grant

    def connected(self, grant: Grant, wired: Wired) -> Grant:
        """Note that the datapath of a grant stands."""
        full = msgspec.structs.replace(
            grant, connected=True, host_interface=wired.host_interface, gateway=wired.gateway
        )
        if full != grant:
            with self._changed:
                self._write(Granted(full))
                self._ledger.record(full)
            self._tell(full)
        return full

    def release(self, grant: Grant, *, used: bool = True) -> None:
        """End a grant whose datapath is gone; unused addresses need no rest."""
        holder = grant.holder
        with self._changed:
            if self._ledger.find(holder.container_id, holder.interface) is None:
                return
            rested = boot_seconds() + (grant.rest if used else 0.0)
            times = dict.fromkeys(grant.addresses, rested)
            self._write(Freed(holder.container_id, holder.interface, times))
            self._ledger.free(holder.container_id, holder.interface, rested)
            self._changed.notify_all()
        self._tell(grant)

    def adopt(self, grant: Grant) -> None:
        """Enter a grant that the kernel carries and the journal has lost."""
        with self._changed:
            self._ledger.record(grant)
            self._write(Granted(grant))
        self._tell(grant)

    def find(self, container_id: str, interface: str) -> Grant | None:
        with self._changed:
            return self._ledger.find(container_id, interface)

    def all(self) -> tuple[Grant, ...]:
        with self._changed:
            return self._ledger.grants()

    def of_pod(self, uid: str) -> tuple[Grant, ...]:
        """A pod's grants, newest first: an older sandbox's DEL may come after the newer's ADD."""
        found = [g for g in self.all() if g.holder.pod_uid == uid]
        return tuple(sorted(found, key=lambda g: -g.at))

    def of_eni(self, eni: str) -> tuple[Grant, ...]:
        return tuple(g for g in self.all() if g.eni == eni)

    def see_node(self, facts: NodeFacts) -> None:
        """Remember the node's facts for the next start."""
        if facts != self._journal.known.node:
            self._write(NodeSeen(facts))

    def observe(self, view: EniView, facts: EniFacts) -> None:
        """Take in what the API says of an ENI; those who wait look again."""
        with self._changed:
            if self._facts.get(view.name) != facts:
                self._write(EniSeen(facts))
                self._facts[view.name] = facts
            self._ledger.observe(view, boot_seconds())
            self._changed.notify_all()

    def forget(self, eni: str) -> None:
        """The ENI's object is gone. Its facts stay known as long as a grant needs them."""
        with self._changed:
            self._ledger.forget(eni)
            if eni in self._facts and not any(g.eni == eni for g in self._ledger.grants()):
                self._write(EniForgotten(eni))
                del self._facts[eni]

    def facts(self, eni: str) -> EniFacts | None:
        with self._changed:
            return self._facts.get(eni)

    def known_enis(self) -> tuple[EniFacts, ...]:
        with self._changed:
            return tuple(self._facts.values())

    def acknowledge(self, eni: str) -> tuple[Answers, Counts] | None:
        """Give up what the operator wants, and count what is left; None: not observed yet."""
        with self._changed:
            now = boot_seconds()
            if not self._ledger.knows(eni):
                return None
            return self._ledger.acknowledge(eni, now), self._ledger.counts(eni, now)

    def next_rested(self) -> float | None:
        """Seconds until the next cool-down ends."""
        with self._changed:
            now = boot_seconds()
            at = self._ledger.next_rested(now)
            return None if at is None else at - now

    def reserve(self, addresses: Iterable[str]) -> frozenset[str]:
        """Keep what the kernel carries from being granted; return what has no grant."""
        with self._changed:
            self._ledger.reserve(addresses)
            self._changed.notify_all()
            return self._ledger.reserved()

    def reserved(self) -> frozenset[str]:
        with self._changed:
            return self._ledger.reserved()

    def keep_reserved(self, addresses: frozenset[str]) -> None:
        """Let go what the kernel carries no more; nothing new is reserved after the start."""
        with self._changed:
            self._ledger.reserve(self._ledger.reserved() & addresses)
            self._changed.notify_all()

    def waiting(self) -> dict[str, int]:
        """How many wait, by pool."""
        with self._changed:
            return {pool: len(queue) for pool, queue in self._waiting.items() if queue}

    def stop(self) -> None:
        """Let those who wait go without an answer; grants stay as they are."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _write(self, *records: Record) -> None:
        try:
            self._journal.append(*records)
        except OSError as error:
            raise CniError(
                Code.IO, f"the journal of grants cannot be written: {error.strerror}"
            ) from None

    def _held(self, holder: Holder) -> Grant | None:
        grant = self._ledger.find(holder.container_id, holder.interface)
        if grant is not None and grant.holder != holder:
            raise CniError(
                Code.INVALID_ENVIRONMENT,
                f"container {holder.container_id} belongs to pod {grant.holder.pod_uid} already",
            )
        return grant

    def _take_turn(self, ask: Ask, ticket: object | None) -> Grant | None:
        """Grant if it is our turn and there is an address."""
        queue: Sequence[object] = self._waiting.get(ask.pool, ())
        if queue and queue[0] is not ticket:
            return None
        now = boot_seconds()
        chosen = self._ledger.choose(ask.pool, now)
        if chosen is None:
            return None
        grant = Grant(
            ask.holder,
            ask.namespace,
            ask.name,
            ask.netns,
            chosen.eni.name,
            chosen.eni.pool,
            chosen.addresses,
            chosen.eni.mode,
            chosen.eni.mtu,
            at=now,
            rest=ask.rest,
            assumed=ask.assumed,
        )
        self._write(Granted(grant))
        self._ledger.record(grant)
        return grant

    def _wait(self, ask: Ask, deadline: float, alive: Callable[[], bool]) -> Grant | None:
        if sum(len(queue) for queue in self._waiting.values()) >= MOST_WAITING:
            raise CniError(Code.TRY_AGAIN, f"{MOST_WAITING} pods of this node wait already")
        ticket = object()
        queue = self._waiting.setdefault(ask.pool, deque())
        queue.append(ticket)
        try:
            while True:
                if self._stopping:
                    raise StoppingError
                if not alive():
                    raise CniError(Code.TRY_AGAIN, "the runtime has given this call up")
                grant = self._take_turn(ask, ticket)
                left = deadline - time.monotonic()
                if grant is not None or left <= 0:
                    return grant
                self._changed.wait(min(left, _LOOK_SECONDS, self._until_rested()))
        finally:
            queue.remove(ticket)
            self._changed.notify_all()

    def _until_rested(self) -> float:
        now = boot_seconds()
        return max((self._ledger.next_rested(now) or now + _LOOK_SECONDS) - now, 0.001)

    def _tell(self, grant: Grant) -> None:
        for listener in self._listeners:
            listener(grant)
