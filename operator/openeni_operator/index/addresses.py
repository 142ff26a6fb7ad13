"""Which ENIs have an address, and which watched PodIPs name it or an ENI: indexes. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from openeni_crds.eni import ENI
from openeni_crds.podip import PodIP
from openeni_operator.index.groups import Groups


class PoolAddress(NamedTuple):
    """An address in a pool's network: others may have an equal one."""

    pool: str
    address: str


class AddressIndex:
    """Not safe for several threads: the cluster state locks."""

    def __init__(self) -> None:
        self._enis: Groups[tuple[str, str]] = Groups()  # their pool and name, by address
        self._unplaced = set[PoolAddress]()  # what PodIPs name, and no ENI of their pool has
        self._podips: Groups[PodIP] = Groups()  # by pool and address
        self._podips_by_eni: Groups[PodIP] = Groups()

    def replace_eni(self, before: ENI | None, after: ENI | None) -> None:
        """Replace an ENI by its newer version; None if it did not, or does not, exist."""
        old, new = _held_by(before), _held_by(after)
        for held, name in old - new:
            self._enis.discard(held.address, name)
        for held, name in new - old:
            self._enis.put(held.address, name, (held.pool, name))
        self._place(held for held, _ in old ^ new)

    def replace_podip(self, before: PodIP | None, after: PodIP | None) -> None:
        """Replace a PodIP by its newer version; None if it did not, or does not, exist."""
        old, new = _named_by(before), _named_by(after)
        if before is not None:
            for named in old:
                self._podips.discard(named, before.key)
            self._podips_by_eni.discard(before.spec.eni_name, before.key)
        if after is not None:
            for named in new:
                self._podips.put(named, after.key, after)
            self._podips_by_eni.put(after.spec.eni_name, after.key, after)
        self._place(old | new)

    def unplaced(self) -> frozenset[PoolAddress]:
        """Return the addresses that PodIPs name, and no ENI of their pool has."""
        return frozenset(self._unplaced)

    def enis_with(self, address: str) -> tuple[str, ...]:
        """Return the names of the ENIs whose port has the address, the primary one included."""
        return tuple(sorted(name for _, name in self._enis.of(address)))

    def podips_naming(self, pool: str, address: str) -> tuple[PodIP, ...]:
        """Return the PodIPs of the pool that name the address."""
        return self._podips.of(PoolAddress(pool, address))

    def podips_on(self, eni: str) -> tuple[PodIP, ...]:
        """Return the PodIPs that have this ENI in their spec; "": those that have none."""
        return self._podips_by_eni.of(eni)

    def _place(self, addresses: Iterable[PoolAddress]) -> None:
        for one in addresses:
            held = any(pool == one.pool for pool, _ in self._enis.of(one.address))
            if held or not self._podips.of(one):
                self._unplaced.discard(one)
            else:
                self._unplaced.add(one)


def _held_by(eni: ENI | None) -> set[tuple[PoolAddress, str]]:
    """Return the addresses of the ENI's port, each with the ENI's name."""
    port = eni.status.port if eni else None
    if eni is None or port is None:
        return set()
    held = (*port.primary, *port.addresses, *port.releasing)
    return {(PoolAddress(eni.spec.pool_name, address), eni.name) for address in held}


def _named_by(podip: PodIP | None) -> set[PoolAddress]:
    if podip is None:
        return set()
    return {PoolAddress(podip.spec.pool_name, address) for address in podip.spec.addresses}
