"""The order in which addresses without a grant are tried for the next one. Pure.

First those that were never granted, as the port lists them, then those that have been free the
longest. It only saves an ADD from asking all addresses of the node: whether one may be granted, the
ledger says.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Final

from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.grants.eni_view import ENIView


class _Order:
    """The free addresses of one ENI."""

    def __init__(self, view: ENIView) -> None:
        self.places: Final = {address: place for place, address in enumerate(view.addresses)}
        self.entries: dict[str, tuple[float, int, str]] = {}
        self._sorted = {family: list[tuple[float, int, str]]() for family in view.families}
        self._first_at: float | None = None

    def put(self, address: str, cooled_at: float) -> None:
        self.take(address)
        if (entries := self._sorted.get(family_of(address))) is not None:
            entry = self.entries[address] = (cooled_at, self.places[address], address)
            insort(entries, entry)
            self._first_at = None

    def take(self, address: str) -> None:
        if entry := self.entries.pop(address, None):
            entries = self._sorted[family_of(address)]
            del entries[bisect_left(entries, entry)]
            self._first_at = None

    def first_at(self) -> float:
        if self._first_at is None:
            firsts = (entries[0][0] if entries else math.inf for entries in self._sorted.values())
            self._first_at = max(firsts, default=math.inf)
        return self._first_at

    def cooled(self, family: int, now: float) -> Iterator[str]:
        for cooled_at, _, address in self._sorted[family]:
            if cooled_at > now:
                return
            yield address


class ReuseOrder:
    """Not safe for several threads: the caller locks. Several ENIs may list the same address."""

    def __init__(self) -> None:
        self._enis: dict[str, _Order] = {}

    def observe(
        self, view: ENIView, granted: Container[str], cooled_at: Callable[[str], float]
    ) -> None:
        """Replace what an ENI lists; `cooled_at` returns NEVER for what was never granted."""
        order = self._enis[view.name] = _Order(view)
        for address in view.addresses:
            if address not in granted:
                order.put(address, cooled_at(address))

    def forget(self, eni: str) -> None:
        self._enis.pop(eni, None)

    def take(self, address: str) -> None:
        """Remove an address that has a grant now."""
        for order in self._enis.values():
            if address in order.entries:
                order.take(address)

    def put(self, address: str, cooled_at: float) -> None:
        """Enter an address that has no grant any more, or whose cool-down ends at another time."""
        for order in self._enis.values():
            if address in order.places:  # most ENIs do not list it
                order.put(address, cooled_at)

    def ranked(self, enis: Iterable[str]) -> list[tuple[float, str]]:
        """Return these ENIs by the time since when they may have free addresses, at the earliest.

        One that has none of a family comes last.
        """
        return sorted((self._enis[eni].first_at(), eni) for eni in enis)

    def cooled(self, eni: str, family: int, now: float) -> Iterable[str]:
        """Return an ENI's addresses of a family that have cooled down, the next one first."""
        return self._enis[eni].cooled(family, now)
