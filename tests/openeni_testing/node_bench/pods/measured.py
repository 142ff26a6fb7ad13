"""What the benchmark of ADD and DEL measures of one datapath, as the node's process reports it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True)
class Calls:
    """Seconds of calls as the container runtime sees them, by turn."""

    add: Sequence[float]
    delete: Sequence[float]

    def __add__(self, more: "Calls") -> "Calls":
        return Calls([*self.add, *more.add], [*self.delete, *more.delete])


@dataclass(frozen=True)
class Turns:
    """openeni, the reference and executables that do nothing, in turns."""

    openeni: Calls
    reference: Calls
    nothing: Sequence[float]  # seconds of the executable with the machine's own C library
    nothing_of_musl: Sequence[float]  # [] of bursts

    def __add__(self, more: "Turns") -> "Turns":
        return Turns(
            self.openeni + more.openeni,
            self.reference + more.reference,
            [*self.nothing, *more.nothing],
            [*self.nothing_of_musl, *more.nothing_of_musl],
        )


@dataclass(frozen=True)
class Bursts:
    """Pods that are started at once; the calls of one burst are neighbours."""

    count: int
    calls: Turns


@dataclass(frozen=True)
class Usage:
    """The agent with all pods, when nothing happens."""

    resident: float  # MiB
    proportional: float  # MiB: pages shared with other processes count in part
    peak: float  # MiB, resident
    cpu: Sequence[float]  # shares of a core, each of one interval of the periodic look


@dataclass(frozen=True)
class Measured:
    """One datapath. All is of one run of one kernel."""

    datapath: str
    reference: str
    kernel: str
    pods: int  # on the full node
    messages: Sequence[float]  # an ADD's, encoded before: in the turns of the first block
    empty: Turns  # a block before and those after all else
    between: Turns  # of these, those between outages
    full: Turns
    down: Turns  # while the API server is down
    bursts: Mapping[int, Bursts]  # by size
    phases: Mapping[str, Sequence[Mapping[str, float]]]  # of the first block, by command
    healing: Mapping[str, Sequence[float]]  # seconds by what was damaged, with all pods
    usage: Usage | None  # only with a real API server: its client is most of the memory


def encode(measured: Measured) -> bytes:
    return msgspec.json.encode(measured)


def decode(text: bytes) -> Measured:
    return msgspec.json.decode(text, type=Measured)
