"""Reservations: which addresses without a grant may not be granted yet. Pure.

An address is granted only if the kernel is known not to have it. Once its grant has ended it stays
reserved until a look at the kernel that began later has not found it, whatever the removal of its
datapath reported; its cool-down runs meanwhile, and both must be over. A process that has not
looked yet knows of no address that the kernel does not have.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class _Ended:
    """An address whose grant has ended."""

    cooling_until: float
    looks: int  # that had begun when the grant ended
    pod: str = ""  # its key, as far as it is known


class Reservations:
    """Times are seconds on the caller's clock. Looks may overlap: the newest counts."""

    def __init__(self) -> None:
        self._begun = 0
        self._finished = 0  # the newest look that has finished
        self._ended: dict[str, _Ended] = {}
        self._found: frozenset[str] = frozenset()  # by that look, without a grant

    def end(self, address: str, cooling_until: float, pod: str = "") -> None:
        """Reserve an address whose grant, to the pod of this key, has ended."""
        self._ended[address] = _Ended(cooling_until, self._begun, pod)

    def grant(self, address: str) -> None:
        """Drop the reservation of an address that has a grant now."""
        self._ended.pop(address, None)
        if address in self._found:
            self._found -= {address}

    def begin_look(self) -> int:
        """Return the number of the look; call it before the kernel is read."""
        self._begun += 1
        return self._begun

    def finish_look(self, look: int, found: Iterable[str]) -> None:
        """Take over the addresses without a grant that a look has found in the kernel."""
        if look > self._finished:  # else a newer look was faster
            self._finished = look
            self._found = frozenset(found)

    def prune(self, kept: Container[str], now: float) -> None:
        """Forget ended grants that restrict nothing any more, but for addresses in `kept`."""
        self._ended = {
            address: ended
            for address, ended in self._ended.items()
            if address in kept or ended.cooling_until > now or self.is_reserved(address)
        }

    def is_reserved(self, address: str) -> bool:
        """Return True unless the kernel is known not to have the address."""
        if self._finished == 0 or address in self._found:
            return True
        ended = self._ended.get(address)
        return ended is not None and ended.looks >= self._finished

    def reserved(self) -> frozenset[str]:
        """Return the addresses known by name that are reserved."""
        return self._found | {address for address in self._ended if self.is_reserved(address)}

    def awaiting_look(self) -> Mapping[str, float]:
        """Return the addresses that ended since the newest look began, and when they are cooled."""
        return {
            address: ended.cooling_until
            for address, ended in self._ended.items()
            if ended.looks >= self._finished
        }

    def is_found(self, address: str) -> bool:
        """Return True if the newest look found the address."""
        return address in self._found

    def leftovers(self) -> frozenset[str]:
        """Return what the newest look found of grants whose end is known."""
        return self._found & self._ended.keys()

    def unexplained(self) -> frozenset[str]:
        """Return what the newest look found of grants that are not known at all."""
        return self._found - self._ended.keys()

    def cooled_at(self, address: str) -> float:
        """Return the end of the address's last cool-down, NEVER if there was none."""
        ended = self._ended.get(address)
        return NEVER if ended is None else ended.cooling_until

    def last_pod(self, address: str) -> str:
        """Return the key of the pod whose grant of the address has ended last; "": not known."""
        ended = self._ended.get(address)
        return "" if ended is None else ended.pod

    def next_cooled(self, now: float) -> float | None:
        """Return the end of the next cool-down; None if there is none."""
        times = (ended.cooling_until for ended in self._ended.values())
        return min((t for t in times if t > now), default=None)

    def cool_downs(self, now: float) -> Mapping[str, float]:
        """Return the cool-downs that the next process must know of."""
        return {
            address: ended.cooling_until
            for address, ended in self._ended.items()
            if ended.cooling_until > now or self.is_reserved(address)
        }
