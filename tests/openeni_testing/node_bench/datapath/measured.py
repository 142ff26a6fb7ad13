"""What the benchmark of the datapath measures on one kernel, as its process reports it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

Rates = Mapping[str, Sequence[float]]  # by test: transactions or bytes in one second, by turn


@dataclass(frozen=True)
class Crowd:
    """A pod alone on its node, and one among many."""

    alone: Rates
    among: Rates


@dataclass(frozen=True)
class Measured:
    """All is of one run of one kernel, in turns."""

    kernel: str
    rates: Mapping[str, Mapping[str, Rates]]  # by rig and path
    crowds: Mapping[str, Crowd]  # by mode
    pods: int  # of a crowd
    counted: bool = False  # its clock counts instructions: each is a nanosecond
    offloads: bool = False  # the kernel has flowtables


def encode(measured: Measured) -> bytes:
    return msgspec.json.encode(measured)


def decode(text: bytes) -> Measured:
    return msgspec.json.decode(text, type=Measured)
