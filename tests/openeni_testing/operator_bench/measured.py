"""What the benchmark measures of one size, and what follows from it. Pure."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from openeni_operator.cloud.budget import CallType

OPERATOR: Final = "operator"
TENTHS: Final = 10
CALL_TYPES: Final = {
    "attach port": CallType.ATTACH,
    "detach port": CallType.ATTACH,
    "create port": CallType.WRITE,
    "set security groups": CallType.WRITE,
    "set QoS policy": CallType.WRITE,
    "set fixed IPs": CallType.WRITE,
    "probe fixed IPs": CallType.WRITE,
    "delete port": CallType.WRITE,
    "tag port": CallType.WRITE,
    "untag port": CallType.WRITE,
}  # every other operation is a read


@dataclass(frozen=True)
class Samples:
    """A value that was measured several times."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@dataclass(frozen=True)
class Growth:
    """From the pool's creation until every ENI is Ready."""

    seconds: float
    times: Mapping[str, Sequence[float]]  # of the calls, from the beginning, by operation
    cpu: Mapping[str, float]  # seconds of a processor, by part of the cluster
    reconciles: Mapping[str, int]  # by kind

    @property
    def calls(self) -> dict[str, int]:
        """The number of calls by operation."""
        return {operation: len(times) for operation, times in self.times.items()}

    def bound(self, rates: Mapping[CallType, float]) -> float:
        """Return the seconds that the calls take at least at these rates."""
        counts = count_types(self.calls)
        return max(counts[type_] / rate for type_, rate in rates.items())

    def ratio(self, rates: Mapping[CallType, float]) -> float:
        """Return the time in times of the bound."""
        return self.seconds / self.bound(rates)

    def use(self, type_: CallType, rate: float) -> tuple[float, ...]:
        """Return the share of a budget that was used in each tenth of the time."""
        counts: Counter[int] = Counter()
        for operation, times in self.times.items():
            if CALL_TYPES.get(operation, CallType.READ) is type_:
                counts.update(min(TENTHS - 1, int(TENTHS * at / self.seconds)) for at in times)
        return tuple(counts[n] / (rate * self.seconds / TENTHS) for n in range(TENTHS))

    @property
    def cpu_of_others(self) -> float:
        return sum(seconds for part, seconds in self.cpu.items() if part != OPERATOR)


@dataclass(frozen=True)
class Restart:
    """An operator that starts with everything in place, and its first resync."""

    seconds: float  # until it is ready
    calls: Mapping[str, int]  # until the resync begins
    resync_calls: Mapping[str, int]
    resync_cpu: float  # seconds of a processor, in a whole interval
    peak_mebibytes: float

    @property
    def cloud_writes(self) -> int:
        counts = count_types(self.calls), count_types(self.resync_calls)
        return sum(c[CallType.WRITE] + c[CallType.ATTACH] for c in counts)


@dataclass(frozen=True)
class Size:
    """Everything about one number of nodes. CPU shares are of one core."""

    nodes: int
    enis: int
    podips: int
    growth: Growth
    idle: Samples
    busy: Samples
    events_per_second: float  # that were reached
    reconciles_per_event: Mapping[str, float]  # by kind
    restart: Restart
    peak_mebibytes: float


def count_types(calls: Mapping[str, int]) -> dict[CallType, int]:
    """Return the calls by the budget that they are taken from."""
    counts = dict.fromkeys(CallType, 0)
    for operation, count in calls.items():
        counts[CALL_TYPES.get(operation, CallType.READ)] += count
    return counts
