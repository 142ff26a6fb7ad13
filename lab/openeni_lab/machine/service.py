"""Long-running programs as steps: ready when they answer, and failed when they exit."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.machine.exits import UnexpectedExit, last_line
from openeni_lab.machine.steps import Step, StepError


def always() -> bool:
    """Return True: the readiness of a program that has no other sign of it than that it runs."""
    return True


@dataclass(frozen=True)
class Service:
    """A program to run and its readiness check. `ready` must be cheap and must not raise."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool] = always
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 1.0  # until it is ready, on a fast machine


def step(machine: Machine, service: Service, logs: Path, place: str = "") -> Step:
    """Return the step that starts a service unless it runs, and waits until it is ready.

    `place` is a prefix of the step's name.
    """
    log = logs / f"{service.name}.log"

    def start() -> None:
        machine.start(service.name, service.argv, log=log, env=service.env)

    watched = watch(machine, service.name, log, start, service.ready)
    return Step(f"{place}{service.name}", watched.done, watched.do, service.seconds)


def watch(
    machine: Machine, name: str, log: Path, start: Callable[[], None], ready: Callable[[], bool]
) -> Step:
    """Return a step that runs `start` unless the program `name` runs, and waits for `ready`.

    The step's `done` raises StepError, with the last line of the log, if the program ends while the
    step waits for it.
    """
    begun: list[bool] = []  # to wait

    def done() -> bool:
        try:
            process = machine.list().get(name)
        except MachineError:
            return False
        if process is None:
            return False
        if begun and not process.running:
            end = process.last_end
            stopped = f"{name} was stopped: {last_line_with_path(log)}"
            raise StepError(_sentence(end) if end else stopped)
        return process.running and ready()

    def do() -> None:
        there = machine.list().get(name)
        if not (there and there.running):
            start()
        begun.append(True)

    return Step(name, done, do)


LAB: Final = "lab"  # the lab's own init among `Machines`
Machines = Mapping[str, Machine]  # `lab` and the nodes, by name


def unexpected_exits(machines: Machines, since: Collection[str] = ()) -> list[str]:
    """Return a line for each unexpected exit, and one if the lab's init does not answer.

    `since` is an earlier result of `exits_so_far`, whose exits are left out. A node that does not
    answer is not reported: it may be busy, and if its init has exited, the lab's init knows it.
    """
    return [line for key, line in _exits(machines) if key not in since]


def exits_so_far(machines: Machines) -> frozenset[str]:
    """Return the ids of the exits so far, for `unexpected_exits` to leave out."""
    return frozenset(key for key, _ in _exits(machines))


def _exits(machines: Machines) -> Iterator[tuple[str, str]]:
    for place, machine in machines.items():
        try:
            exits = machine.unexpected_exits()
        except MachineError as error:
            if place == LAB:
                yield f"{place} does not answer", f"{place}: {error}"
            continue
        for found in exits:
            at = time.strftime("%H:%M:%S", time.localtime(found.at))
            yield found.id, f"{place}: {at} {_sentence(found)}"


def _sentence(found: UnexpectedExit) -> str:
    return f"{found}: {found.last_line} ({found.log})"


def last_line_with_path(log: Path) -> str:
    """Return the last line of a log that is not empty, followed by the log's path."""
    return f"{last_line(log)} ({log})"
