"""Remember which claimed addresses the cloud did not give to an ENI, and why, for a while.

A restart forgets it, at the cost of another refused call.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Final

from openeni_operator.cause import Cause

REFUSED_SECONDS: Final = 60.0  # until the cloud is asked again


class ClaimRefusals:
    """Thread-safe; ENIs note refusals, and PodIPs report them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], tuple[float, Cause]] = {}

    def note(self, eni: str, address: str, cause: Cause) -> None:
        """Note that the cloud has refused to give the ENI this address."""
        now = self._clock()
        with self._lock:
            recent = {k: v for k, v in self._found.items() if now - v[0] < REFUSED_SECONDS}
            self._found = recent | {(eni, address): (now, cause)}

    def forget(self, eni: str, addresses: Iterable[str]) -> None:
        """Forget what was refused before a PodIP chose the ENI: it is asked for anew."""
        with self._lock:
            for address in addresses:
                self._found.pop((eni, address), None)

    def get(self, eni: str, address: str) -> Cause | None:
        """Return why the ENI was refused the address, if that was a short time ago."""
        with self._lock:
            found = self._found.get((eni, address))
        if found is None or self._clock() - found[0] >= REFUSED_SECONDS:
            return None
        return found[1]
