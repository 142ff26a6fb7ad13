"""Which address of this node belongs to whom: the rules of "one address, one owner".

Pure: what the API says goes in (`observe`), grants come out, the caller keeps the lock, the clock
and the journal. Owners are pods and their containers; no rule looks an owner up by an address or a
pod's name, so a late or repeated DEL of an old container can free nothing that a new one holds.
All times are seconds of one clock that runs while the machine sleeps (CLOCK_BOOTTIME).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

NEVER: Final = float("-inf")


class Holder(Struct, frozen=True):
    """One interface of one container (sandbox) of one pod."""

    pod_uid: str
    container_id: str
    interface: str


class Grant(Struct, frozen=True):
    """One holder's addresses, one a family, all of one ENI."""

    holder: Holder
    namespace: str  # of the pod, for its PodIP
    name: str
    netns: str
    eni: str
    pool: str
    addresses: tuple[str, ...]
    mode: str  # Datapath.word
    mtu: int  # bytes, of the pod's interface
    at: float  # when it was given
    rest: float  # how long its addresses rest afterwards
    assumed: bool = False  # the pod's pool was not known; a pool was assumed
    connected: bool = False  # the datapath stands
    host_interface: str = ""
    gateway: tuple[str, ...] = ()


@dataclass(frozen=True)
class EniView:
    """One ENI as the API shows it, as far as granting goes."""

    name: str
    pool: str
    generation: int
    families: frozenset[int]  # 4, 6: a pod gets one address of each
    addresses: tuple[str, ...]
    retiring: frozenset[str] = frozenset()
    retired: frozenset[str] = frozenset()  # acknowledged before this process began
    deleting: bool = False
    mode: str = ""  # Datapath.word
    mtu: int = 0  # bytes, of its pods' interfaces
    usable: bool = True  # its port is there and attached, and its link carries pods


@dataclass(frozen=True)
class Answers:
    """What the operator is told about the addresses it wants back."""

    generation: int
    retired: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counts:
    """In pods: with two families the scarcer one counts."""

    granted: int = 0
    cooling: int = 0
    available: int = 0


@dataclass(frozen=True)
class Chosen:
    eni: EniView
    addresses: tuple[str, ...]


def family(address: str) -> int:
    return 6 if ":" in address else 4


class Ledger:
    """The addresses of one node. Not safe for several threads: the caller locks."""

    def __init__(self) -> None:
        self._enis: dict[str, EniView] = {}
        self._grants: dict[tuple[str, str], Grant] = {}  # by container ID and interface
        self._owners: dict[str, tuple[str, str]] = {}
        self._rested: dict[str, float] = {}  # address -> when it is, or was, rested
        self._retired: dict[str, set[str]] = {}  # ENI -> given up, never granted again
        self._reserved: set[str] = set()  # the kernel carries them, no grant is known

    def observe(self, view: EniView, now: float) -> None:
        """Take in what the API says of one ENI; the newest view replaces the older one.

        What the operator wants back is given up at sight: an acknowledgement that an earlier
        process sent may still be on its way. An address that has left the port is forgotten; comes
        it back, it is a new one. What was acknowledged before this process began is taken from the
        first view alone: later ones show what this process wrote, which may be behind what it
        knows; and what has an owner by now was withdrawn before that word arrived.
        """
        first = view.name not in self._enis
        given_up = self._retired.setdefault(view.name, set())
        if first:
            given_up |= {a for a in view.retired if not self._in_use(a)}
        given_up &= set(view.addresses)
        self._enis[view.name] = view
        self.acknowledge(view.name, now)

    def forget(self, eni: str) -> None:
        """The ENI is gone; grants that were made from it stay until they are freed."""
        self._enis.pop(eni, None)
        self._retired.pop(eni, None)

    def knows(self, eni: str) -> bool:
        return eni in self._enis

    def choose(self, pool: str, now: float) -> Chosen | None:
        """Return the longest rested addresses of one ENI of the pool, or None."""
        best: tuple[float, Chosen] | None = None
        for view in sorted(self._enis.values(), key=lambda v: v.name):
            if view.pool != pool or not view.usable or view.deleting:
                continue
            picked = self._pick(view, now)
            if picked is not None and (best is None or picked[0] < best[0]):
                best = picked
        return best[1] if best else None

    def record(self, grant: Grant) -> None:
        """Enter a grant, or a newer account of it.

        Raises ValueError where an address has another owner: two journals were mixed up, or
        `choose` was passed over.
        """
        key = (grant.holder.container_id, grant.holder.interface)
        for address in grant.addresses:
            if self._owners.get(address, key) != key:
                raise ValueError(f"address {address} has another owner")
        before = self._grants.get(key)
        for address in before.addresses if before else ():
            self._owners.pop(address, None)
        self._grants[key] = grant
        self._owners.update(dict.fromkeys(grant.addresses, key))
        self._reserved.difference_update(grant.addresses)

    def find(self, container_id: str, interface: str) -> Grant | None:
        return self._grants.get((container_id, interface))

    def grants(self) -> tuple[Grant, ...]:
        return tuple(self._grants.values())

    def free(self, container_id: str, interface: str, rested: float) -> Grant | None:
        """End a grant; its addresses rest until `rested`. None where there is no such grant."""
        grant = self._grants.pop((container_id, interface), None)
        for address in grant.addresses if grant else ():
            self._owners.pop(address, None)
            self._rested[address] = rested
        return grant

    def rest(self, addresses: Mapping[str, float]) -> None:
        """Enter cool-downs that an earlier process began."""
        self._rested.update(addresses)

    def rested(self) -> dict[str, float]:
        """When each address that ever had an owner is, or was, rested."""
        return dict(self._rested)

    def reserve(self, addresses: Iterable[str]) -> None:
        """Grant none of these: the kernel carries them for somebody whom no grant names."""
        self._reserved = {a for a in addresses if a not in self._owners}

    def reserved(self) -> frozenset[str]:
        return frozenset(self._reserved)

    def acknowledge(self, eni: str, now: float) -> Answers:
        """Give up what the operator wants back, and say so.

        What is granted is refused. What still cools down stays unanswered until it is rested,
        since Neutron may give it to anybody at once; only an ENI that is being deleted does not
        wait for that.
        """
        view = self._enis[eni]
        given_up = self._retired[eni]
        refused: list[str] = []
        for address in view.addresses:
            if not (view.deleting or address in view.retiring):
                continue
            if self._in_use(address):
                refused.append(address)
            elif view.deleting or self._is_rested(address, now):
                given_up.add(address)
        return Answers(view.generation, tuple(sorted(given_up)), tuple(refused))

    def counts(self, eni: str, now: float) -> Counts:
        view = self._enis[eni]
        per_family = [
            self._count([a for a in view.addresses if family(a) == f], view, now)
            for f in view.families
        ] or [Counts()]
        return Counts(
            sum(1 for g in self._grants.values() if g.eni == eni),
            max(c.cooling for c in per_family),
            min(c.available for c in per_family),
        )

    def next_rested(self, now: float) -> float | None:
        """When the next cool-down ends."""
        return min((t for t in self._rested.values() if t > now), default=None)

    def _pick(self, view: EniView, now: float) -> tuple[float, Chosen] | None:
        chosen: list[str] = []
        for wanted in sorted(view.families):
            free = [
                a for a in view.addresses if family(a) == wanted and self._is_free(a, view, now)
            ]
            if not free:
                return None
            chosen.append(min(free, key=self._rank))
        if not chosen:
            return None
        return max(self._rank(a) for a in chosen), Chosen(view, tuple(chosen))

    def _count(self, addresses: list[str], view: EniView, now: float) -> Counts:
        cooling = sum(1 for a in addresses if not self._in_use(a) and not self._is_rested(a, now))
        free = sum(1 for a in addresses if self._is_free(a, view, now))
        return Counts(0, cooling, free if view.usable and not view.deleting else 0)

    def _is_free(self, address: str, view: EniView, now: float) -> bool:
        return not (
            self._in_use(address)
            or address in view.retiring
            or address in self._retired[view.name]
            or not self._is_rested(address, now)
        )

    def _in_use(self, address: str) -> bool:
        return address in self._owners or address in self._reserved

    def _is_rested(self, address: str, now: float) -> bool:
        return self._rank(address) <= now

    def _rank(self, address: str) -> float:
        return self._rested.get(address, NEVER)
