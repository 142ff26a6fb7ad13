"""Which ENIs have an address, and which watched PodIPs name it or an ENI: indexes. Pure."""

from collections.abc import Iterable

from openeni_crds.eni import ENI
from openeni_crds.podip import PodIP
from openeni_operator.index.groups import Groups


class AddressIndex:
    """Not safe for several threads: the cluster state locks."""

    def __init__(self) -> None:
        self._enis: dict[str, set[str]] = {}  # address -> names
        self._unplaced = set[str]()  # addresses that PodIPs name, and no ENI has
        self._podips: Groups[PodIP] = Groups()  # by address
        self._podips_by_eni: Groups[PodIP] = Groups()

    def replace_eni(self, before: ENI | None, after: ENI | None) -> None:
        """Replace an ENI by its newer version; None if it did not, or does not, exist."""
        old, new = _addresses_of(before), _addresses_of(after)
        for address in old - new:
            names = self._enis[address]
            names.discard(before.name if before else "")
            if not names:
                del self._enis[address]
        for address in new - old:
            self._enis.setdefault(address, set()).add(after.name if after else "")
        self._place(old ^ new)

    def replace_podip(self, before: PodIP | None, after: PodIP | None) -> None:
        """Replace a PodIP by its newer version; None if it did not, or does not, exist."""
        if before is not None:
            for address in before.spec.addresses:
                self._podips.discard(address, before.key)
            self._podips_by_eni.discard(before.spec.eni_name, before.key)
        if after is not None:
            for address in after.spec.addresses:
                self._podips.put(address, after.key, after)
            self._podips_by_eni.put(after.spec.eni_name, after.key, after)
        sides = (side.spec.addresses for side in (before, after) if side is not None)
        self._place(address for addresses in sides for address in addresses)

    def unplaced(self) -> frozenset[str]:
        """Return the addresses that PodIPs name, and no ENI has."""
        return frozenset(self._unplaced)

    def enis_with(self, address: str) -> tuple[str, ...]:
        """Return the names of the ENIs whose port has the address, the primary one included."""
        return tuple(sorted(self._enis.get(address, ())))

    def podips_naming(self, address: str) -> tuple[PodIP, ...]:
        return self._podips.of(address)

    def podips_on(self, eni: str) -> tuple[PodIP, ...]:
        """Return the PodIPs that have this ENI in their spec; "": those that have none."""
        return self._podips_by_eni.of(eni)

    def _place(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            if address in self._enis or not self._podips.of(address):
                self._unplaced.discard(address)
            else:
                self._unplaced.add(address)


def _addresses_of(eni: ENI | None) -> set[str]:
    port = eni.status.port if eni else None
    return {*port.primary, *port.addresses, *port.releasing} if port else set()
