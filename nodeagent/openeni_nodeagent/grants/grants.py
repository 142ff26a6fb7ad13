"""The ledger with its lock, its journal and the queue of ADDs that wait for an address.

The lock is held for a look at the ledger and one record of the journal, never during work of the
kernel or any other call. A grant is journalled before the kernel is configured, and its end
after the kernel has been cleaned up, so that every address in the kernel has a record.
"""

import threading
from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from openeni_crds.podip import DELETE
from openeni_kube.clock import boot_seconds
from openeni_nodeagent.datapath_api import ENIFacts, NodeFacts, PodNetwork
from openeni_nodeagent.grants.eni_view import ENIView, GrantCounts, RetireAnswers
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grant_log import EndReason, GrantLog
from openeni_nodeagent.grants.journal import (
    CoolDowns,
    ENIForgotten,
    ENISeen,
    Granted,
    GrantEnded,
    Journal,
    NodeSeen,
)
from openeni_nodeagent.grants.known_enis import KnownENIs, followers
from openeni_nodeagent.grants.ledger import Ledger
from openeni_nodeagent.grants.requests import GrantRequest, Requests, Wait
from openeni_nodeagent.grants.retained import Retained


class Grants:
    """Safe for several threads. Methods that write the journal raise JournalError."""

    def __init__(self, journal: Journal, log: GrantLog, is_at_work: Callable[[str], bool]) -> None:
        """Start from the state in the journal; `is_at_work` is as of `Requests`."""
        self._journal = journal
        self._log = log
        self._changed = threading.Condition()
        self._ledger = Ledger()
        self._reservations = self._ledger.reservations
        self._requests = Requests(self._ledger, self._changed, self._record_new, is_at_work)
        self._listeners: list[Callable[[Grant], None]] = []
        self._known = KnownENIs.of_facts(journal.state.enis.all())
        for address, until in journal.state.cooling_until.items():
            self._ledger.cool_down(address, until)
        for grant in journal.state.grants.values():
            self._ledger.record(grant)

    def subscribe(self, listener: Callable[[Grant], None]) -> None:
        """Call `listener` with each grant of `notify`, adoption or end; it must not block."""
        self._listeners.append(listener)

    def notify(self, grant: Grant) -> None:
        """Tell the listeners of a grant: once for each ADD, whatever has become of it."""
        for listener in self._listeners:
            listener(grant)

    def acquire(
        self, wanted: GrantRequest, deadline: float, alive: Callable[[], bool]
    ) -> Grant | None:
        """Return the attachment's grant, an existing or a new one; None at the deadline.

        Requests that wait for a pool are served in the order of their arrival. Raises CNIError if
        too many wait or if the caller is gone, StoppingError when the agent stops.
        """
        return self._requests.acquire(wanted, deadline, alive)

    def mark_connected(self, grant: Grant, pod_network: PodNetwork) -> None:
        """Record that the datapath of a grant has been built."""
        with self._changed:
            known = self._ledger.find(*grant.key)
            port = known.port if known else grant.port  # it may have followed its addresses
            host, gateway = pod_network.host_interface, pod_network.gateway
            built = replace(grant, connected=True, host_interface=host, gateway=gateway, port=port)
            self._enter(built)

    def require_free_interface(self, its: Attachment, netns_id: tuple[int, int] | None) -> None:
        """Raise CNIError if another container has the interface in the namespace."""
        with self._changed:
            self._ledger.interfaces.require_free(its, netns_id)

    def move(self, grant: Grant, netns: str, netns_id: tuple[int, int]) -> Grant:
        """Record that the container has another namespace; return the grant. Raises CNIError."""
        moved = replace(grant, netns=netns, netns_id=netns_id, connected=False)
        with self._changed:
            self._ledger.interfaces.require_free(moved.attachment, netns_id)
            self._enter(moved)
        return moved

    def end_grant(self, grant: Grant, reason: EndReason, *, used: bool = True) -> None:
        """End a grant whose datapath was removed; addresses that were not used cool down no longer.

        They are reserved until a look does not find them in the kernel. If its PodIP outlives it,
        they are kept for the next pod of its name, until `retain` says otherwise.
        """
        with self._changed:
            if self._ledger.find(*grant.key) is None:
                return
            seconds = grant.cool_down if used else 0.0
            cooling_until = max(boot_seconds() + seconds, grant.cooling_until)
            times = dict.fromkeys(grant.addresses, cooling_until)
            self._journal.append(GrantEnded(*grant.key, times))
            self._ledger.end_grant(*grant.key, cooling_until)
            key, retained = grant.pod_key, self._ledger.retained
            if grant.retention != DELETE and not retained.has(key):
                retained.keep(key, Retained(grant.pool, grant.addresses))
            self._changed.notify_all()
        self._log.ended(grant, reason)
        self.notify(grant)

    def adopt(self, grant: Grant) -> None:
        """Record a grant that the kernel has and the journal has lost.

        Raises AddressOwnedError if an address has another owner, or the container other addresses.
        """
        with self._changed:
            self._ledger.require_free(grant)
            self._enter(grant)
        self._log.adopted(grant)
        self.notify(grant)

    def retain(self, key: str, retained: Retained | None) -> None:
        """Take over what the PodIP of a pod keeps for it; None: nothing, or there is none."""
        with self._changed:
            self._ledger.retained.keep(key, retained)
            self._changed.notify_all()

    def find_retained(self, key: str, pool: str) -> tuple[str, ...]:
        """Return the addresses of the pool that are kept for a pod, which gets no others."""
        with self._changed:
            return self._ledger.retained.certain(key, pool)

    def owner_of(self, address: str) -> str:
        """Return the key of the pod that has the address, or that it is kept for; "" if none."""
        with self._changed:
            grant = self._ledger.owner(address)
            return grant.pod_key if grant else self._ledger.retained.keeper(address) or ""

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

    def known_node(self) -> NodeFacts | None:
        """Return the node's facts as the journal has them."""
        return self._journal.state.node

    def remember_node(self, facts: NodeFacts) -> None:
        """Record the node's facts for the next start."""
        if facts != self.known_node():
            self._journal.append(NodeSeen(facts))

    def observe(self, view: ENIView, facts: ENIFacts) -> None:
        """Update the ledger with what the API shows of an ENI, and wake waiting requests."""
        with self._changed:
            if self._known.named(view.name) != facts:
                self._journal.append(ENISeen(facts))
                self._known.see(facts)
            if moved := followers(self._ledger.grants(), facts, view.addresses):
                self._enter(*moved)
            self._ledger.observe(view, boot_seconds())
            self._changed.notify_all()

    def withdraw(self, eni: str) -> None:
        """Grant no more addresses of an ENI whose object is gone; its grants stay."""
        with self._changed:
            self._ledger.forget(eni)

    def forget(self, eni: str) -> None:
        """Remove the facts of an ENI that has been withdrawn and left."""
        with self._changed:
            if self._known.named(eni):
                self._journal.append(ENIForgotten(eni))
                self._known.forget(eni)

    def facts_of(self, grant: Grant) -> ENIFacts | None:
        """Return the facts of the ENI, or its former port, that the grant's addresses are of."""
        with self._changed:
            return self._known.of(grant)

    def known_enis(self) -> tuple[ENIFacts, ...]:
        with self._changed:
            return self._known.all()

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
            at = self._reservations.next_cooled(now := boot_seconds())
            return None if at is None else at - now

    def look(self, read: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
        """Return what `read` does: the addresses that the kernel has, with their devices.

        What it does not find, and had no grant when it began, is no longer reserved.
        """
        with self._changed:
            look = self._reservations.begin_look()
        kernel = read()
        with self._changed:
            self._ledger.finish_look(look, kernel, boot_seconds())
            self._changed.notify_all()
        return kernel

    def reserved(self) -> frozenset[str]:
        """Return the addresses without a grant that the kernel has, or may still have."""
        with self._changed:
            return self._reservations.reserved()

    def seconds_to_look(self) -> float | None:
        """Return in how many seconds a look may make an address available; None: in none."""
        with self._changed:
            due = self._ledger.look_due(now := boot_seconds())
            return None if due is None else max(due - now, 0.0)

    def leftovers(self) -> frozenset[str]:
        """Return addresses that the last look found although their grants had ended."""
        with self._changed:
            return self._reservations.leftovers()

    def unexplained(self) -> frozenset[str]:
        """Return addresses that the last look found and of whose grants nothing is known."""
        with self._changed:
            return self._reservations.unexplained()

    def lost(self, key: str, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return those of a pod's addresses of which neither a grant is known nor its end."""
        with self._changed:
            return self._ledger.retained.lost(key, addresses)

    def end_unexplained(self, address: str, cool_down: float) -> None:
        """Record that the unknown grant of an address has ended; it cools down so many seconds."""
        with self._changed:
            cooling_until = boot_seconds() + cool_down
            self._journal.append(CoolDowns({address: cooling_until}))
            self._ledger.cool_down(address, cooling_until)

    def is_in_use(self, eni: ENIFacts) -> bool:
        """Return True if the ENI has a grant, may get one, or the kernel may have its address."""
        with self._changed:
            return self._ledger.is_in_use(eni.name, eni.port)

    def knows(self, eni: str) -> bool:
        """Return True once the ENI has been observed, until it is withdrawn."""
        with self._changed:
            return self._ledger.knows(eni)

    def counts(self, eni: str) -> GrantCounts | None:
        """Count an ENI's addresses; None if it has not been observed yet."""
        with self._changed:
            return self._ledger.counts(eni, boot_seconds()) if self._ledger.knows(eni) else None

    def waits(self) -> tuple[Wait, ...]:
        """Return the requests that wait for an address, the one that waits longest first."""
        return self._requests.waits()

    def compact(self) -> bool:
        """Rewrite a long journal; True if somebody had taken its file away. Raises OSError."""
        with self._changed:
            return self._journal.compact(self._reservations.cool_downs(boot_seconds()))

    def stop(self) -> None:
        """Raise StoppingError in all waiting requests; grants stay as they are."""
        self._requests.stop()

    def _record_new(self, grant: Grant, changed: tuple[Grant, ...]) -> None:
        self._enter(*changed, grant)
        self._log.began(grant)

    def _enter(self, *grants: Grant) -> None:
        """Journal grants, and enter them in the ledger, whose lock the caller has."""
        # What was kept for a pod until it has another grant cools down from now on.
        now = boot_seconds()
        times = {a: now + g.cool_down for g in grants for a in self._ledger.given_up(g)}
        self._journal.append(*map(Granted, grants), *([CoolDowns(times)] if times else []))
        for grant in grants:
            self._ledger.record(grant)
        for address, cooling_until in times.items():
            self._ledger.cool_down(address, cooling_until)
