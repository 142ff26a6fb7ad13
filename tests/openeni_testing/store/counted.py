"""Count what a decision looks at, to compare its costs in clusters of several sizes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast, overload

import pytest

from openeni_operator.cluster_state import ClusterState

K = TypeVar("K")
V = TypeVar("V")
READS = (
    "enis",
    "enis_of",
    "enis_on",
    "enis_with",
    "eni",
    "nodes",
    "node",
    "podips",
    "unplaced_addresses",
    "podips_on",
    "podips_naming",
    "waiting_pods",
    "waiting_pods_on",
)


def count_reads(monkeypatch: pytest.MonkeyPatch, state: ClusterState) -> Counter[str]:
    """Count the objects that the state returns from now on, by the method that is asked."""
    counts: Counter[str] = Counter()

    def counted(name: str, read: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*of: str) -> Any:
            found: Any = read(*of)
            several = isinstance(found, list | tuple)
            counts[name] += len(cast("Sequence[Any]", found)) if several else 1
            return found

        return ask

    for name in READS:
        monkeypatch.setattr(state, name, counted(name, getattr(state, name)))
    return counts


@dataclass
class Visits:
    """The number of elements that were looked at."""

    count: int = 0


@dataclass(frozen=True)
class CountedMapping(Mapping[K, V], Generic[K, V]):
    """A mapping that counts the elements that are looked up or iterated over."""

    of: Mapping[K, V]
    visits: Visits

    def __getitem__(self, key: K) -> V:
        self.visits.count += 1
        return self.of[key]

    def __iter__(self) -> Iterator[K]:
        for key in self.of:
            self.visits.count += 1
            yield key

    def __len__(self) -> int:
        return len(self.of)


@dataclass(frozen=True)
class CountedSequence(Sequence[V], Generic[V]):
    """A sequence that counts the elements that are looked at."""

    of: Sequence[V]
    visits: Visits = field(default_factory=Visits)

    @overload
    def __getitem__(self, index: int) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[V]: ...
    def __getitem__(self, index: int | slice) -> V | Sequence[V]:
        self.visits.count += 1 if isinstance(index, int) else len(self.of[index])
        return self.of[index]

    def __len__(self) -> int:
        return len(self.of)
