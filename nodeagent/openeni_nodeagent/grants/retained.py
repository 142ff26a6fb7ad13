"""Addresses that are kept for pods by their names: which, and for whom. Pure.

A PodIP keeps them: one that outlives its pod, or that asks for addresses which its pod has not got
yet. They are granted to a pod of its name only, from the moment its grant has ended, or before they
are on the node at all.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from msgspec import Struct

from openeni_crds.podip import PodIP


@dataclass(frozen=True)
class Retained:
    """The addresses of one PodIP."""

    pool: str
    addresses: tuple[str, ...]
    placed: bool = True  # they are, or shall be, on an ENI of this node
    granted: bool = True  # a pod of this name has had them
    since: str = ""  # creation of the PodIP
    is_certain: bool = True  # the pod gets no others
    is_lost: bool = False  # its last grant is not known, nor how that ended


class Wanted(Struct, frozen=True):
    """Addresses that a pod asks for; for other families, and if there are none, any will do."""

    key: str = ""  # the pod's: its namespace and name
    addresses: tuple[str, ...] = ()


ANY: Wanted = Wanted()


def retained_by(podip: PodIP) -> Retained | None:
    """Return what a PodIP of this node keeps; None: nothing, it goes with its pod."""
    if not podip.is_watched or podip.metadata.deleting:
        return None
    spec = podip.spec
    return Retained(
        spec.pool_name,
        spec.addresses,
        placed=bool(spec.eni_name),
        granted=podip.was_granted,
        since=podip.metadata.creation_timestamp,
        is_lost=podip.is_granted,
    )


class RetainedAddresses:
    """Not safe for several threads: the caller locks.

    If several PodIPs name an address, one that has had it, or shall have it here, keeps it, else
    the oldest.
    """

    def __init__(self, has_record: Callable[[str], bool]) -> None:
        """`has_record` returns True if a grant of an address is known, or the end of one."""
        self._has_record = has_record
        self._by_key: dict[str, Retained] = {}
        self._keepers: dict[str, str] = {}  # address -> key

    def keep(self, key: str, retained: Retained | None) -> None:
        """Keep these addresses for a pod, and no others; None: none any more.

        What is not certain is kept only if its grant was lost, and not found since.
        """
        before = self._by_key.pop(key, None)
        if retained is not None:
            was_lost = before is not None and before.is_lost
            is_lost = was_lost or not all(map(self._has_record, retained.addresses))
            retained = replace(retained, is_lost=retained.is_lost and is_lost)
            if retained.is_certain or retained.is_lost:
                self._by_key[key] = retained
        if self._by_key.get(key) != before:
            self._choose_keepers()

    def lost(self, key: str, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return those of a pod's addresses of which neither a grant is known nor the end of one.

        All, if its grant was lost, and since then only an ADD that failed has had them.
        """
        restarts = self.is_restarting(key)
        return tuple(a for a in addresses if restarts or not self._has_record(a))

    def has(self, key: str) -> bool:
        """Return True if something is kept for a pod that it has had."""
        found = self._by_key.get(key)
        return found is not None and found.granted

    def end_restart(self, key: str) -> None:
        """Note that a pod whose grant was lost has another: nothing is kept but what is certain."""
        if (found := self._by_key.get(key)) is not None and found.is_lost:
            self.keep(key, replace(found, is_lost=False) if found.is_certain else None)

    def given_up(self, key: str, granted: Collection[str]) -> tuple[str, ...]:
        """Return what is kept for a pod until it has another grant, of these addresses."""
        found = self._by_key.get(key)
        kept = () if found is None or found.is_certain else found.addresses
        return tuple(a for a in kept if a not in granted and not self._has_record(a))

    def is_restarting(self, key: str) -> bool:
        """Return True if something is kept for a pod whose grant was lost."""
        found = self._by_key.get(key)
        return found is not None and found.is_lost

    def of(self, key: str, pool: str) -> tuple[str, ...]:
        """Return the addresses of the pool that are kept for a pod."""
        found = self._by_key.get(key)
        return found.addresses if found is not None and found.pool == pool else ()

    def certain(self, key: str, pool: str) -> tuple[str, ...]:
        """Return the addresses of the pool that a pod waits for, whatever others are free."""
        found = self._by_key.get(key)
        return self.of(key, pool) if found is not None and found.is_certain else ()

    def keeper(self, address: str) -> str | None:
        """Return the key of the pod that the address is kept for."""
        return self._keepers.get(address)

    def is_placed(self, address: str) -> bool:
        """Return True if the address is kept, and is to stay on its ENI."""
        keeper = self._keepers.get(address)
        return keeper is not None and self._by_key[keeper].placed

    def returns(self, address: str) -> bool:
        """Return True if the address stays for a pod whose own it was: it needs no cool-down."""
        return self.is_placed(address) and self.has(self._keepers.get(address, ""))

    def leaves(self, address: str) -> bool:
        """Return True if it is for a pod whose own it was, and which may be on another node now."""
        return not self.is_placed(address) and self.has(self._keepers.get(address, ""))

    def restarts(self, address: str) -> bool:
        """Return True if its pod restarts: the end of the grant that it had is not known."""
        return self.is_restarting(self._keepers.get(address, ""))

    def _choose_keepers(self) -> None:
        ranked = sorted(self._by_key.items(), key=_rank, reverse=True)
        self._keepers = {address: key for key, kept in ranked for address in kept.addresses}


def _rank(item: tuple[str, Retained]) -> tuple[bool, str, str]:
    key, retained = item
    return not (retained.granted or retained.placed), retained.since, key
