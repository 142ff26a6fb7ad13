"""Which ENIs have an address, and which watched PodIPs name it or an ENI: indexes. Pure."""

from collections.abc import Iterable
from typing import TypeAlias

from openeni_crds.eni import ENI
from openeni_crds.podip import PodIP
from openeni_operator.index.groups import Groups

# A pool and an address in its network: others may have an equal one.
PoolAddress: TypeAlias = tuple[str, str]


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
        for _, address in old - new:
            self._enis.discard(address, before.name if before else "")
        for pool, address in new - old:
            name = after.name if after else ""
            self._enis.put(address, name, (pool, name))
        self._place(old ^ new)

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
        return self._podips.of((pool, address))

    def podips_on(self, eni: str) -> tuple[PodIP, ...]:
        """Return the PodIPs that have this ENI in their spec; "": those that have none."""
        return self._podips_by_eni.of(eni)

    def _place(self, addresses: Iterable[PoolAddress]) -> None:
        for pool, address in addresses:
            held = any(other == pool for other, _ in self._enis.of(address))
            if held or not self._podips.of((pool, address)):
                self._unplaced.discard((pool, address))
            else:
                self._unplaced.add((pool, address))


def _held_by(eni: ENI | None) -> set[PoolAddress]:
    port = eni.status.port if eni else None
    if eni is None or port is None:
        return set()
    pool = eni.spec.pool_name
    return {(pool, address) for address in (*port.primary, *port.addresses, *port.releasing)}


def _named_by(podip: PodIP | None) -> set[PoolAddress]:
    if podip is None:
        return set()
    return {(podip.spec.pool_name, address) for address in podip.spec.addresses}
