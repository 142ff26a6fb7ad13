"""Faults of one call in a simulated life of a pool, and who looks for what they do to its pods."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeAlias

from openeni_operator.cloud.api import Place, Port
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    OutcomeUnknownError,
    ResourceConflictError,
)
from openeni_testing.cloud.faults import Fault
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.controller.simulation import Simulation
from openeni_testing.store.hooked import CrashError

SECONDS: Final = 40.0  # that a fault of state lasts


@dataclass
class Observer:
    """Looks after every call whether the pods still have their addresses.

    None may lose its NIC in the cloud `beside`, where nothing goes wrong.
    """

    sim: Simulation
    beside: MemoryCloud
    foreign: bool = False  # somebody else has taken addresses
    served: frozenset[str] = frozenset()  # IDs of ports of the other cloud that were attached
    problems: list[str] = field(default_factory=list[str])

    def look(self, operation: str) -> None:
        by_address = {
            f.address: port for port in self.sim.cloud.ports.values() for f in port.fixed_ips
        }
        for eni, addresses in self.sim.granted.items():
            for address in addresses:
                port = by_address.get(address)
                if not self.foreign and (port is None or not port.device_id):
                    self.problems.append(f"{address} of a pod on {eni} is gone after {operation}")
        attached = {port.id for port in self.beside.ports.values() if port.device_id}
        if not attached >= self.served:
            self.problems.append(f"a port of the other cloud is gone after {operation}")
        self.served |= attached


Inject: TypeAlias = Callable[[Simulation, str, Observer], None]


def fail_before(sim: Simulation, operation: str, _: Observer, error: CloudError) -> None:
    sim.cloud.fail(operation, Fault(error), Fault(error))


def fail_after(sim: Simulation, operation: str, _: Observer, late: float) -> None:
    error = OutcomeUnknownError("no response")
    sim.cloud.fail(operation, Fault(error, worked=True, late=late))


def crash(sim: Simulation, operation: str, _: Observer, *, worked: bool) -> None:
    """End the process in the call, before the cloud has worked or after it."""
    sim.cloud.fail(operation, Fault(CrashError(), worked=worked))


def once(sim: Simulation, operation: str, do: Callable[[], None]) -> None:
    """Do something before the operation's first call."""
    pending = [True]

    def before(called: str) -> None:
        if called == operation and pending:
            pending.clear()
            do()

    sim.cloud.before_call = before


def stale(sim: Simulation, operation: str, _: Observer) -> None:
    """Lists and reads are of a database node that is behind for a while."""

    def lag() -> None:
        sim.cloud.freeze(SECONDS / 4)

    once(sim, operation, lag)


def empty(sim: Simulation, operation: str, _: Observer) -> None:
    """No list shows a port for a while."""

    def hide() -> None:
        sim.cloud.blind = True
        sim.cloud.after(SECONDS, lambda: setattr(sim.cloud, "blind", False))

    once(sim, operation, hide)


def wrong_project(sim: Simulation, operation: str, _: Observer) -> None:
    """The credentials are of another project for a while, where nothing of ours is."""
    right = sim.cloud.place

    def restore() -> None:
        sim.cloud.place, sim.cloud.elsewhere = right, False

    def switch() -> None:
        sim.cloud.place, sim.cloud.elsewhere = Place("another", right.region), True
        sim.cloud.after(SECONDS, restore)

    once(sim, operation, switch)


def foreign_change(sim: Simulation, operation: str, observer: Observer) -> None:
    """Somebody takes an address off each port, and the tags."""

    def change() -> None:
        observer.foreign = True
        for port in list(sim.cloud.ports.values()):
            sim.cloud.ports[port.id] = without_something(port)

    once(sim, operation, change)


def without_something(port: Port) -> Port:
    return replace(
        port, fixed_ips=port.fixed_ips[:-1], tags=frozenset[str](), revision=port.revision + 1
    )


FAULTS: Final[dict[str, Inject]] = {
    "error before": partial(fail_before, error=CloudUnreachableError("no response")),
    "conflict": partial(fail_before, error=ResourceConflictError("busy")),
    "error after": partial(fail_after, late=0.0),
    "time-out, done later": partial(fail_after, late=20.0),
    "crash before": partial(crash, worked=False),
    "crash after": partial(crash, worked=True),
    "stale": stale,
    "empty": empty,
    "wrong project": wrong_project,
    "foreign change": foreign_change,
}
# Faults that would say nothing about a read.
OF_CHANGES: Final = frozenset({"conflict", "error after", "time-out, done later"})
