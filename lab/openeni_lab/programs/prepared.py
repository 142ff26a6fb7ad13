"""The result of `openeni-lab prepare`: facts about this machine, and the built programs.

`up`, the demo, tests and benchmarks read it. They never install, build or probe, so that all of
them see the machine in the same way.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from openeni_lab import layout
from openeni_lab.invocation import command
from openeni_lab.machine.boot import boot_id
from openeni_lab.programs.sets import Built, find_built_sets, missing


class NotPreparedError(Exception):
    """This machine was not prepared, or not since its boot. The text says what to run."""


class MachineFacts(msgspec.Struct, frozen=True):
    """Facts that hold until the next boot."""

    boot_id: str
    ipvlan: bool  # its own kernel has ipvlan; otherwise nodes with ipvlan are VMs
    asked_seconds: float = 0.0  # how long the last preparation waited for the user's consent


@dataclass(frozen=True)
class PreparedMachine:
    """The machine's facts and its built programs."""

    machine: MachineFacts
    built: Built


def read(
    sets: Iterable[str], root: Path = layout.ROOT, cache: Path | None = None
) -> PreparedMachine:
    """Return what was prepared. Raises NotPreparedError if some of `sets` are missing."""
    wanted = tuple(sets)
    machine = _machine(root)
    lacking = missing(wanted, cache)
    if lacking:
        raise NotPreparedError(
            f"not built: {', '.join(lacking)}; run `{command('prepare')}` "
            "(with --all for tests, benchmarks and --kind vm, with --emulator for "
            "`make bench-datapath`)"
        )
    return PreparedMachine(machine, find_built_sets(wanted, cache))


def write(machine: MachineFacts, root: Path = layout.ROOT) -> None:
    """Record the machine's facts atomically."""
    root.mkdir(parents=True, exist_ok=True)
    unfinished = _file(root).with_suffix(".new")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(machine)) + b"\n")
    unfinished.rename(_file(root))


def _machine(root: Path) -> MachineFacts:
    try:
        machine = msgspec.json.decode(_file(root).read_bytes(), type=MachineFacts)
    except (FileNotFoundError, msgspec.MsgspecError):
        raise NotPreparedError(
            f"this machine is not prepared: run `{command('prepare')}`"
        ) from None
    if machine.boot_id != boot_id():
        raise NotPreparedError(
            f"this machine was rebooted since it was prepared: run `{command('prepare')}`"
        )
    return machine


def _file(root: Path) -> Path:
    return root / "machine.json"
