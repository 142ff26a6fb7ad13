"""The ledger: the owner of each address on this node, under the rule "one address, one owner".

Pure: what the API shows goes in (`observe`), candidates come out; the caller has the lock, the
clock and the journal. Owners are containers of pods. No rule looks an owner up by an address or by
a pod's name, so a late or repeated DEL of an old container cannot free what a new one has. All
times are seconds of CLOCK_BOOTTIME, which runs while the machine sleeps.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from openeni_nodeagent.addresses import family_of

NEVER: Final = float("-inf")


class Attachment(Struct, frozen=True):
    """One interface of one container (sandbox) of one pod: CNI's attachment."""

    pod_uid: str
    container_id: str
    interface: str


class Grant(Struct, frozen=True):
    """One attachment's addresses, one for each family, all of one ENI."""

    attachment: Attachment
    namespace: str  # of the pod, for its PodIP
    name: str
    netns: str
    eni: str
    pool: str
    addresses: tuple[str, ...]
    datapath_mode: str  # Datapath.word
    mtu: int  # bytes, of the pod's interface
    at: float  # when it was made
    cool_down: float  # of its addresses, in seconds
    assumed: bool = False  # the pod's pool was unknown and assumed
    connected: bool = False  # the datapath has been built
    host_interface: str = ""
    gateway: tuple[str, ...] = ()


@dataclass(frozen=True)
class ENIView:
    """One ENI as the API shows it, as far as grants are concerned."""

    name: str
    pool: str
    generation: int
    families: frozenset[int]  # 4, 6: a pod gets one address of each
    addresses: tuple[str, ...]
    retiring: frozenset[str] = frozenset()
    retired: frozenset[str] = frozenset()  # acknowledged before this process started
    deleting: bool = False
    datapath_mode: str = ""  # Datapath.word
    mtu: int = 0  # bytes, of its pods' interfaces
    usable: bool = True  # its port exists and is attached, and its link is ready


@dataclass(frozen=True)
class RetireAnswers:
    """The agent's answers about the addresses that the operator asks for."""

    generation: int
    retired: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class GrantCounts:
    """Counts of pods, not of addresses: with two families the scarcer one counts."""

    granted: int = 0
    cooling: int = 0
    available: int = 0


@dataclass(frozen=True)
class Candidate:
    """Addresses of one ENI that may be granted."""

    eni: ENIView
    addresses: tuple[str, ...]


class AddressOwnedError(ValueError):
    """A grant has an address of another attachment: it is not from `choose`."""


class Ledger:
    """The addresses of one node. Not safe for several threads: the caller locks."""

    def __init__(self) -> None:
        self._enis: dict[str, ENIView] = {}
        self._grants: dict[tuple[str, str], Grant] = {}  # by container ID and interface
        self._attachment_by_address: dict[str, tuple[str, str]] = {}
        self._cooling_until: dict[str, float] = {}  # address -> end of its cool-down
        self._retired: dict[str, set[str]] = {}  # ENI -> acknowledged, never granted again
        self._reserved: set[str] = set()  # in the kernel without a grant

    def observe(self, view: ENIView, now: float) -> None:
        """Replace the view of one ENI with a newer one.

        Addresses the operator asks for are retired as soon as they appear in the view: an
        acknowledgement from a previous process may still arrive. An address that has left the port
        is forgotten; if it returns, it counts as a new address. Acknowledgements of a previous
        process are read from the first view alone, because later ones show what this process
        wrote, which may be older than what it knows. Those of addresses in use are ignored: the
        operator had withdrawn its request before they arrived.
        """
        first = view.name not in self._enis
        retired = self._retired.setdefault(view.name, set())
        if first:
            retired |= {a for a in view.retired if not self._in_use(a)}
        retired &= set(view.addresses)
        self._enis[view.name] = view
        self.acknowledge(view.name, now)

    def forget(self, eni: str) -> None:
        """Remove an ENI; grants from it stay until they end."""
        self._enis.pop(eni, None)
        self._retired.pop(eni, None)

    def knows(self, eni: str) -> bool:
        return eni in self._enis

    def choose(self, pool: str, now: float) -> Candidate | None:
        """Return the addresses of one ENI of the pool that have been free the longest, if any."""
        best: tuple[float, Candidate] | None = None
        for view in sorted(self._enis.values(), key=lambda v: v.name):
            if view.pool != pool or not view.usable or view.deleting:
                continue
            picked = self._pick(view, now)
            if picked is not None and (best is None or picked[0] < best[0]):
                best = picked
        return best[1] if best else None

    def record(self, grant: Grant) -> None:
        """Enter a grant, or replace it with a newer version. Raises AddressOwnedError."""
        self.require_free(grant)
        key = _key(grant)
        before = self._grants.get(key)
        for address in before.addresses if before else ():
            self._attachment_by_address.pop(address, None)
        self._grants[key] = grant
        self._attachment_by_address.update(dict.fromkeys(grant.addresses, key))
        self._reserved.difference_update(grant.addresses)

    def require_free(self, grant: Grant) -> None:
        """Raise AddressOwnedError if another attachment has one of the grant's addresses."""
        key = _key(grant)
        for address in grant.addresses:
            if self._attachment_by_address.get(address, key) != key:
                raise AddressOwnedError(f"address {address} has another owner")

    def find(self, container_id: str, interface: str) -> Grant | None:
        return self._grants.get((container_id, interface))

    def grants(self) -> tuple[Grant, ...]:
        return tuple(self._grants.values())

    def end_grant(self, container_id: str, interface: str, cooling_until: float) -> None:
        """End a grant, if there is one; its addresses cool down until `cooling_until`."""
        grant = self._grants.pop((container_id, interface), None)
        for address in grant.addresses if grant else ():
            self._attachment_by_address.pop(address, None)
            self._cooling_until[address] = cooling_until

    def restore_cool_downs(self, cooling_until: Mapping[str, float]) -> None:
        """Enter cool-downs that a previous process started."""
        self._cooling_until.update(cooling_until)

    def reserve(self, addresses: Iterable[str]) -> None:
        """Reserve addresses that are in the kernel without a grant: they are not granted."""
        self._reserved = {a for a in addresses if a not in self._attachment_by_address}

    def reserved(self) -> frozenset[str]:
        return frozenset(self._reserved)

    def acknowledge(self, eni: str, now: float) -> RetireAnswers:
        """Retire the addresses that the operator asks for, and return the answers.

        Granted addresses are refused. An address that is cooling down gets no answer until the
        cool-down ends, because Neutron may assign a retired one at once; an ENI that is being
        deleted does not wait for that.
        """
        view = self._enis[eni]
        retired = self._retired[eni]
        refused: list[str] = []
        for address in view.addresses:
            if not (view.deleting or address in view.retiring):
                continue
            if self._in_use(address):
                refused.append(address)
            elif view.deleting or self._is_cooled(address, now):
                retired.add(address)
        return RetireAnswers(view.generation, tuple(sorted(retired)), tuple(refused))

    def counts(self, eni: str, now: float) -> GrantCounts:
        view = self._enis[eni]
        per_family = [
            self._count([a for a in view.addresses if family_of(a) == f], view, now)
            for f in view.families
        ] or [GrantCounts()]
        return GrantCounts(
            sum(1 for g in self._grants.values() if g.eni == eni),
            max(c.cooling for c in per_family),
            min(c.available for c in per_family),
        )

    def next_cooled(self, now: float) -> float | None:
        """Return the end of the next cool-down; None if there is none."""
        return min((t for t in self._cooling_until.values() if t > now), default=None)

    def _pick(self, view: ENIView, now: float) -> tuple[float, Candidate] | None:
        chosen: list[str] = []
        for wanted in sorted(view.families):
            free = [
                a for a in view.addresses if family_of(a) == wanted and self._is_free(a, view, now)
            ]
            if not free:
                return None
            chosen.append(min(free, key=self._cooled_at))
        if not chosen:
            return None
        return max(self._cooled_at(a) for a in chosen), Candidate(view, tuple(chosen))

    def _count(self, addresses: list[str], view: ENIView, now: float) -> GrantCounts:
        cooling = sum(1 for a in addresses if not self._in_use(a) and not self._is_cooled(a, now))
        free = sum(1 for a in addresses if self._is_free(a, view, now))
        return GrantCounts(0, cooling, free if view.usable and not view.deleting else 0)

    def _is_free(self, address: str, view: ENIView, now: float) -> bool:
        return not (
            self._in_use(address)
            or address in view.retiring
            or address in self._retired[view.name]
            or not self._is_cooled(address, now)
        )

    def _in_use(self, address: str) -> bool:
        return address in self._attachment_by_address or address in self._reserved

    def _is_cooled(self, address: str, now: float) -> bool:
        return self._cooled_at(address) <= now

    def _cooled_at(self, address: str) -> float:
        return self._cooling_until.get(address, NEVER)


def _key(grant: Grant) -> tuple[str, str]:
    return grant.attachment.container_id, grant.attachment.interface
