"""A long-running program of a machine as a step: up when it answers, loud when it dies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openeni_lab.machine import Machine, MachineError
from openeni_lab.steps import Step, StepError


def always() -> bool:
    """For a program that has nothing to ask: it is up when it runs."""
    return True


@dataclass(frozen=True)
class Service:
    """What runs, and how to see that it is up; `ready` must be cheap and must not raise."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool] = always
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 1.0  # until it is up, on a fast machine


def step(machine: Machine, service: Service, logs: Path, place: str = "") -> Step:
    """Start it if it does not run, wait until it is ready; `place` is put before its name."""
    log = logs / f"{service.name}.log"

    def start() -> None:
        machine.start(service.name, service.argv, log=log, env=service.env)

    watched = watch(machine, service.name, log, start, service.ready)
    return Step(f"{place}{service.name}", watched.done, watched.do, service.seconds)


def watch(
    machine: Machine, name: str, log: Path, start: Callable[[], None], ready: Callable[[], bool]
) -> Step:
    """A step that starts the program `name` in its own way.

    The program's end while it is waited for is a StepError with the last line it logged.
    """
    started: list[bool] = []

    def done() -> bool:
        try:
            process = machine.list().get(name)
        except MachineError:
            return False
        if process is None:
            return False
        if process.running:
            return ready()
        if started:
            raise StepError(f"{name} ended with {process.exit_code}: {last_line(log)}")
        return False

    def do() -> None:
        if not machine.running(name):
            start()
        started.append(True)

    return Step(name, done, do)


def last_line(log: Path) -> str:
    """The last line of a log that says something; where it is when it cannot be read."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"{lines[-1][:300] if lines else 'it logged nothing'} ({log})"
