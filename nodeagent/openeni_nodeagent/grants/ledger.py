"""The ledger: the owner of each address on this node, under the rule "one address, one owner".

Pure, but for `interfaces`, which look at paths of namespaces: what the API shows goes in
(`observe`), candidates come out; the caller has the lock, the clock and the journal. Owners are
containers of pods. No rule looks an owner up by an address or by a pod's name, so a late or
repeated DEL of an old container cannot free what a new one has. All times are seconds of
CLOCK_BOOTTIME, which runs while the machine sleeps.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.grants.eni_view import Candidate, ENIView, GrantCounts, RetireAnswers
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.host_ports import HostPorts
from openeni_nodeagent.grants.interfaces import Interfaces
from openeni_nodeagent.grants.known_enis import is_of
from openeni_nodeagent.grants.reservations import NEVER, Reservations
from openeni_nodeagent.grants.retained import ANY, RetainedAddresses, Wanted
from openeni_nodeagent.grants.reuse_order import ReuseOrder


class AddressOwnedError(ValueError):
    """A grant has an address of another attachment: it is not from `choose`."""


class Ledger:
    """The addresses of one node. Not safe for several threads: the caller locks."""

    def __init__(self) -> None:
        self._enis: dict[str, ENIView] = {}
        self._grants: dict[tuple[str, str], Grant] = {}  # by container ID and interface
        self._attachment_by_address: dict[str, tuple[str, str]] = {}
        self.reservations: Final = Reservations()  # of addresses without a grant
        self.retained: Final = RetainedAddresses(self._has_record)  # for pods that come back
        self.interfaces: Final = Interfaces()  # of the grants' pods
        self.host_ports: Final = HostPorts()  # of the grants
        self._order = ReuseOrder()
        self._retired: dict[str, set[str]] = {}  # ENI -> acknowledged, and still asked for

    def observe(self, view: ENIView, now: float) -> None:
        """Replace the view of one ENI with a newer one.

        Addresses the operator asks for are retired as soon as they appear in the view: an
        acknowledgement from a previous process may still arrive. Those that it no longer asks for
        can be granted again: it heeds acknowledgements of the ENI's present generation only. An
        address that has left the port is forgotten; if it returns, it counts as a new address.
        Acknowledgements of a previous process are read from the first view alone: later ones may be
        older than what this process knows. Those of addresses in use are ignored: the operator had
        withdrawn its request before they arrived.
        """
        first = view.name not in self._enis
        retired = self._retired.setdefault(view.name, set())
        if first:
            retired |= {a for a in view.retired if not self._is_held(a)}
        retired &= set(view.addresses)
        if not view.deleting:  # which cannot be undone; a request for addresses can
            retired &= view.retiring
        self._enis[view.name] = view
        self._order.observe(view, self._attachment_by_address, self.reservations.cooled_at)
        self.acknowledge(view.name, now)

    def forget(self, eni: str) -> None:
        """Remove an ENI; grants from it stay until they end."""
        self._enis.pop(eni, None)
        self._order.forget(eni)
        self._retired.pop(eni, None)

    def knows(self, eni: str) -> bool:
        return eni in self._enis

    def choose(self, pool: str, now: float, wanted: Wanted = ANY) -> Candidate | None:
        """Return the addresses of one ENI of the pool that have been free the longest, if any.

        Those that are wanted by name must be among them; those that are kept for the pod come
        first.
        """
        best: tuple[float, Candidate] | None = None
        kept = set(self.retained.of(wanted.key, pool))
        views = {v.name: v for v in self._enis.values() if v.pool == pool and v.offers_addresses}
        ranked = self._order.ranked(views)
        if kept or wanted.addresses:  # which need not have cooled down
            ranked = [(NEVER, n) for _, n in ranked]
            ranked.sort(key=lambda r: (kept.isdisjoint(views[r[1]].addresses), r[1]))
        for first_at, name in ranked:
            if best is not None and best[0] <= first_at:
                break
            picked = self._pick(views[name], now, wanted)
            if picked is not None and (best is None or picked[0] < best[0]):
                best = picked
        return best[1] if best else None

    def record(self, grant: Grant) -> None:
        """Enter a grant, or replace it with a newer version. Raises AddressOwnedError."""
        self.require_free(grant)
        key = grant.key
        if (before := self._grants.get(key)) is not None:
            self.interfaces.remove(before)
        self.interfaces.enter(grant)
        self.host_ports.enter(grant)
        self._grants[key] = grant
        for address in grant.addresses:
            self._attachment_by_address[address] = key
            self._order.take(address)
            self.reservations.grant(address)
        if grant.connected:
            self.retained.end_restart(grant.pod_key)

    def require_free(self, grant: Grant) -> None:
        """Raise AddressOwnedError if others have an address, or the attachment has others."""
        key = grant.key
        before = self._grants.get(key, grant)
        if before.addresses != grant.addresses:
            raise AddressOwnedError(f"its container has {', '.join(before.addresses)} by now")
        for address in grant.addresses:
            if self._attachment_by_address.get(address, key) != key:
                raise AddressOwnedError(f"address {address} has another owner")

    def find(self, container_id: str, interface: str) -> Grant | None:
        return self._grants.get((container_id, interface))

    def owner(self, address: str) -> Grant | None:
        return self._grants.get(self._attachment_by_address.get(address, ("", "")))

    def given_up(self, grant: Grant) -> tuple[str, ...]:
        """Return what is kept for the grant's pod no longer, once it has this one."""
        if not grant.connected:
            return ()
        return self.retained.given_up(grant.pod_key, grant.addresses)

    def grants(self) -> tuple[Grant, ...]:
        return tuple(self._grants.values())

    def end_grant(self, container_id: str, interface: str, cooling_until: float) -> None:
        """End a grant, if there is one; its addresses cool down until `cooling_until`.

        They stay reserved until a look that begins later does not find them in the kernel.
        """
        grant = self._grants.pop((container_id, interface), None)
        if grant is None:
            return
        self.interfaces.remove(grant)
        self.host_ports.remove(grant)
        for address in grant.addresses:
            self._attachment_by_address.pop(address, None)
            self.cool_down(address, cooling_until, grant.pod_key)

    def cool_down(self, address: str, cooling_until: float, pod: str = "") -> None:
        """Reserve an address whose grant has ended; it may have another one already."""
        self.reservations.end(address, cooling_until, pod)
        if address not in self._attachment_by_address:
            self._order.put(address, cooling_until)

    def finish_look(self, look: int, kernel: Iterable[str], now: float) -> None:
        """Take over the addresses that a look has found in the kernel."""
        found = (a for a in kernel if a not in self._attachment_by_address)
        self.reservations.finish_look(look, found)
        on_ports = {a for view in self._enis.values() for a in view.addresses}
        self.reservations.prune(on_ports, now)

    def look_due(self, now: float) -> float | None:
        """Return when a look may make an address available; None if none waits for a look.

        That is at the end of its cool-down; at once where nobody waits for that: if the address is
        kept for a pod, or to leave the node.
        """
        leaving = {
            a for v in self._enis.values() for a in (v.addresses if v.deleting else v.retiring)
        }
        return min(
            (
                now if address in leaving or self.retained.keeper(address) else cooled_at
                for address, cooled_at in self.reservations.awaiting_look().items()
            ),
            default=None,
        )

    def is_in_use(self, eni: str, port: str) -> bool:
        """Return True if the ENI has a grant, may get one, or the kernel may have its address."""
        view = self._enis.get(eni)
        shown = view if view is not None and view.port == port else None
        if shown and (shown.offers_addresses or any(map(self._is_held, shown.addresses))):
            return True
        return any(is_of(grant, eni, port) for grant in self._grants.values())

    def acknowledge(self, eni: str, now: float) -> RetireAnswers:
        """Retire the addresses that the operator asks for, and return the answers.

        Addresses that a pod or the kernel has are refused, and those that are kept for a pod unless
        they are to leave the node, or the whole ENI is to go and the pod does not restart. One that
        the kernel may still have gets no answer, nor does one that is cooling down, because Neutron
        may assign a retired one at once; an address that goes after its pod does not wait for it.
        While pods have a former port, the whole ENI does not go: with it the operator would remove
        all ports that it knows. What leaves it does, but for the last ones.
        """
        view = self._enis[eni]
        retired = self._retired[eni]
        refused: list[str] = []
        whole = view.deleting or view.retiring.issuperset(view.addresses)
        is_needed = whole and any(
            grant.eni == eni and not is_of(grant, eni, view.port) for grant in self._grants.values()
        )
        shown = view.addresses if is_needed else ()
        withheld = [a for a in shown if not self.retained.leaves(a)] or shown
        for address in view.addresses:
            if not (view.deleting or address in view.retiring):
                continue
            if address in self._attachment_by_address or self.reservations.is_found(address):
                refused.append(address)
            elif self._is_held(address):
                continue
            elif address in withheld or self._stays(address, view, whole=whole):
                refused.append(address)
            elif self._is_cooled(address, now, own=self.retained.leaves(address)):
                retired.add(address)
        return RetireAnswers(view.generation, tuple(sorted(retired)), tuple(refused))

    def counts(self, eni: str, now: float) -> GrantCounts:  # kept addresses count as granted
        view = self._enis[eni]
        per_family = [self._count(view.of_family(f), view, now) for f in view.families] or [
            GrantCounts()
        ]
        scarcest = max(per_family, key=lambda c: c.granted + c.cooling)
        return GrantCounts(
            sum(is_of(g, eni, view.port) for g in self._grants.values()) + scarcest.granted,
            scarcest.cooling,
            min(c.available for c in per_family),
        )

    def _pick(self, view: ENIView, now: float, wanted: Wanted) -> tuple[float, Candidate] | None:
        if wanted.addresses and not set(wanted.addresses) <= set(view.addresses):
            return None
        chosen: list[str] = []
        for family in sorted(view.families):
            named = [a for a in wanted.addresses if family_of(a) == family]
            kept = self._kept_for(wanted.key, view, family)
            for address in named or chain(kept, self._order.cooled(view.name, family, now)):
                if self._is_free(address, view, now, wanted.key):
                    chosen.append(address)
                    break
            else:
                return None
        if not chosen:
            return None
        return max(map(self.reservations.cooled_at, chosen)), Candidate(view, tuple(chosen))

    def _kept_for(self, key: str, view: ENIView, family: int) -> tuple[str, ...]:
        """Return the ENI's addresses that are the pod's own of before, which need no cool-down."""
        kept = self.retained.of(key, view.pool) if key else ()
        return tuple(a for a in kept if family_of(a) == family and a in view.addresses)

    def _count(self, addresses: Sequence[str], view: ENIView, now: float) -> GrantCounts:
        free = sum(1 for a in addresses if self._is_free(a, view, now))
        cooling = sum(1 for a in addresses if self._is_cooling(a, now))
        kept = sum(1 for a in addresses if self._is_kept(a))
        return GrantCounts(kept, cooling, free if view.offers_addresses else 0)

    def _is_free(self, address: str, view: ENIView, now: float, key: str = "") -> bool:
        """Return True if a pod of that key may have it; its own of before needs no cool-down."""
        if self._is_held(address) or address in self._retired[view.name]:
            return False
        keeper = self.retained.keeper(address)
        if keeper is not None and (keeper != key or self.retained.returns(address)):
            return keeper == key and self._is_cooled(address, now, own=True)
        return address not in view.retiring and self._is_cooled(address, now)

    def _is_kept(self, address: str) -> bool:
        """Return True if the address has no grant, and is kept for a pod."""
        return address not in self._attachment_by_address and bool(self.retained.keeper(address))

    def _has_record(self, address: str) -> bool:
        """Return True if the address has a grant, or is known to have had one."""
        cooled_at = self.reservations.cooled_at(address)
        return address in self._attachment_by_address or cooled_at != NEVER

    def _is_held(self, address: str) -> bool:
        """Return True if the address has a grant, or the kernel may have it without one."""
        return address in self._attachment_by_address or self.reservations.is_reserved(address)

    def _is_cooling(self, address: str, now: float) -> bool:
        """Return True if the address has no grant and comes back by itself."""
        if address in self._attachment_by_address or self._is_kept(address):
            return False
        return self.reservations.is_reserved(address) or not self._is_cooled(address, now)

    def _stays(self, address: str, view: ENIView, *, whole: bool) -> bool:
        """Return True if the address is kept here for a pod, even if the `whole` ENI is to go.

        One that is deleted or broken offers it to nobody: its pod gets another.
        """
        restarts = self.retained.restarts(address) and not (view.deleting or view.broken)
        return restarts or (self.retained.is_placed(address) and not whole)

    def _is_cooled(self, address: str, now: float, *, own: bool = False) -> bool:
        """Return True if it may be granted; to its `own` pod at once, unless another had it."""
        last = self.reservations.last_pod(address)
        own = own and last in {"", self.retained.keeper(address)}
        return own or self.reservations.cooled_at(address) <= now
