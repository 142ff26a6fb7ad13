"""Long-running programs: each is a step that is done when it answers, and its end is reported."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.machine.exits import UnexpectedExit, last_words
from openeni_lab.machine.steps import Step, StepError


def always() -> bool:
    """For a program that has nothing to ask: it is up when it runs."""
    return True


@dataclass(frozen=True)
class Service:
    """What runs, and how to see that it is up; `ready` must be cheap and must not raise.

    With `restart` its machine starts it again whenever it ends.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool] = always
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 1.0  # until it is up, on a fast machine
    restart: bool = False


def step(machine: Machine, service: Service, logs: Path, place: str = "") -> Step:
    """Start it if it does not run, wait until it is ready; `place` is put before its name."""
    log = logs / f"{service.name}.log"

    def start() -> None:
        machine.start(service.name, service.argv, log=log, env=service.env, restart=service.restart)

    watched = watch(machine, service.name, log, start, service.ready)
    return Step(f"{place}{service.name}", watched.done, watched.do, service.seconds)


def watch(
    machine: Machine, name: str, log: Path, start: Callable[[], None], ready: Callable[[], bool]
) -> Step:
    """A step that starts the program `name` in its own way.

    The program's end while it is waited for is a StepError with the last line it logged, also when
    its machine has started it again meanwhile.
    """
    awaited: list[UnexpectedExit | None] = []  # its last end when this step began to wait for it

    def done() -> bool:
        try:
            process = machine.list().get(name)
        except MachineError:
            return False
        if process is None:
            return False
        if awaited and process.last_end and process.last_end not in awaited:
            raise StepError(_sentence(process.last_end))
        if awaited and not process.running:
            raise StepError(f"{name} was stopped: {last_line(log)}")
        return process.running and ready()

    def do() -> None:
        there = machine.list().get(name)
        if there and there.running:
            awaited.append(there.last_end)
        else:
            start()
            awaited.append(None)

    return Step(name, done, do)


LAB: Final = "lab"  # the place of the lab's own init
Machines = Mapping[str, Machine]  # by the name of the place: `lab`, or a node's


def unexpected_exits(machines: Machines, since: Collection[str] = ()) -> list[str]:
    """Return a line for every program that ended unasked, and one if the lab does not answer.

    A busy node that does not answer is no end: if its machine ends, that is an end in the lab.

    `since` is a `mark` taken earlier: what had ended by then is left out.
    """
    return [line for key, line in _exits(machines) if key not in since]


def exits_so_far(machines: Machines) -> frozenset[str]:
    """Return what has ended so far, for `ended` to leave out."""
    return frozenset(key for key, _ in _exits(machines))


def _exits(machines: Machines) -> Iterator[tuple[str, str]]:
    for place, machine in machines.items():
        try:
            ends = machine.unexpected_exits()
        except MachineError as error:
            if place == LAB:
                yield f"{place} does not answer", f"{place}: {error}"
            continue
        for end in ends:
            at = time.strftime("%H:%M:%S", time.localtime(end.at))
            yield end.id, f"{place}: {at} {_sentence(end)}"


def _sentence(end: UnexpectedExit) -> str:
    return f"{end}: {end.last_words} ({end.log})"


def last_line(log: Path) -> str:
    """The last line of a log that says something, and where it is."""
    return f"{last_words(log)} ({log})"
