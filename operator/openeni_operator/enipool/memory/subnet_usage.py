"""Account for addresses of subnets beyond what a list of ports shows.

An ENI without a port has been promised addresses, and so has one that is to get more; one whose
port is newer than the list has them.
A subnet that has refused a port for lack of addresses counts as exhausted for a while: the ports of
other projects in it are invisible, so the number of free ones is only an upper bound.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from openeni_crds.conditions import Reason, Status, Type, find
from openeni_crds.eni import ENI
from openeni_operator.eni.report import families_of, held_by

EXHAUSTED_SECONDS: Final = 300.0  # for which a refusal is believed


@dataclass(frozen=True)
class SubnetUsage:
    """Addresses by subnet ID that do not show as taken, and the subnets that have refused some."""

    promised: Counter[str] = field(default_factory=Counter[str])
    exhausted: frozenset[str] = frozenset()
    # Held by who chooses a subnet until its addresses are promised.
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def promise(self, subnet_ids: Iterable[str], count: int) -> None:
        """Note that another ENI will take `count` addresses of each subnet."""
        for subnet_id in subnet_ids:
            self.promised[subnet_id] += count


@dataclass(frozen=True)
class _Share:
    subnet_ids: tuple[str, ...]
    missing: int  # addresses of each
    refused: bool


class Promises:
    """Addresses that ENIs of all pools have been promised beyond a list of ports: sums. Pure."""

    def __init__(self, listed_ports: Mapping[str, int]) -> None:
        """Count what is missing from a list: the number of fixed IPs by the port's ID."""
        self._listed_ports = listed_ports
        self._shares: dict[str, _Share] = {}
        self.promised: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()  # ENIs by the subnet that has refused them

    @property
    def refused(self) -> Iterable[str]:
        """The subnets that have refused an ENI."""
        return self._refused.keys()

    def replace(self, name: str, eni: ENI | None) -> None:
        """Replace the share of an ENI; None: it is gone."""
        before = self._shares.pop(name, None)
        if before is not None:
            self._add(before, -1)
        if eni is not None:
            listed = self._listed_ports.get(eni.status.port.id, 0) if eni.status.port else 0
            missing = max(0, held_by(eni) + 1 - listed // families_of(eni))
            share = self._shares[name] = _Share(eni.spec.subnet_ids, missing, is_refused(eni))
            self._add(share, 1)

    def _add(self, share: _Share, sign: int) -> None:
        for counter, count in ((self.promised, share.missing), (self._refused, int(share.refused))):
            for subnet_id in share.subnet_ids if count else ():
                counter[subnet_id] += sign * count
                if not counter[subnet_id]:
                    del counter[subnet_id]


class ExhaustedSubnets:
    """Thread-safe; shared by all pools. A restart forgets it, at the cost of a refused call."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def usage(self, promises: Promises) -> SubnetUsage:
        """Return the usage of all subnets."""
        now = self._clock()
        with self._lock:
            self._until |= dict.fromkeys(promises.refused, now + EXHAUSTED_SECONDS)
            self._until = {s: until for s, until in self._until.items() if until > now}
            return SubnetUsage(Counter(promises.promised), frozenset(self._until))

    def next_end(self, subnet_ids: Collection[str]) -> float | None:
        """Return when the first of these subnets counts as exhausted no more; None: none does."""
        with self._lock:
            return min((self._until[s] for s in subnet_ids if s in self._until), default=None)


def is_refused(eni: ENI) -> bool:
    """Return True if the ENI waits for addresses of its subnets, for a new port or for its own."""
    type_ = Type.PORT_READY if eni.status.port is None else Type.SIZED
    found = find(eni.status.conditions, type_)
    return (
        found is not None
        and found.status == Status.FALSE
        and found.reason == Reason.SUBNET_EXHAUSTED
    )
