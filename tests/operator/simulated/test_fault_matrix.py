"""Every call of an ENI's life with every fault: nothing leaks, doubles, or goes from under a pod.

One run for each cell, with one IP family and with both: a pool comes, grows for pods, gives its
ports other tags and QoS policies, loses its second ENI again and goes, while the fault hits one
call. An observer reads the cloud after every call, and at the end the cloud and the API server must
agree.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import pytest

from openeni_crds.names import ENIPOOLS
from openeni_operator.cloud.api import Place, Port
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    OutcomeUnknownError,
    ResourceConflictError,
)
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.agent_report import of_pods
from openeni_testing.controller.checks import TWO_RESYNCS, assert_all_removed, change_spec
from openeni_testing.controller.port_settings import policies, pools_tags
from openeni_testing.controller.simulation import Simulation
from openeni_testing.store.hooked import CrashError

READS = (
    "find subnets",
    "find groups",
    "find QoS policies",
    "list subnets",
    "get network",
    "list ports",
    "find port",
    "get port",
    "get server",
)
CHANGES = (
    "create port",
    "tag port",
    "untag port",
    "set QoS policy",
    "attach",
    "detach",
    "delete port",
)
SECONDS = 40.0  # that a fault of state lasts


@dataclass
class Observer:
    """Looks after every call whether the pods still have their addresses."""

    sim: Simulation
    foreign: bool = False  # somebody else has taken addresses
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


FAULTS: dict[str, Inject] = {
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
CELLS = [
    (operation, fault)
    for operation in (*READS, *CHANGES)
    for fault in FAULTS
    if operation in CHANGES or fault not in {"conflict", "error after", "time-out, done later"}
]


def live(operation: str, fault: str, *, dual_stack: bool) -> None:
    sim = Simulation(nodes=1, dual_stack=dual_stack)
    sim.cloud.drops_tags = True  # so that tags are put, too
    observer = Observer(sim)
    sim.cloud.observe = observer.look
    FAULTS[fault](sim, operation, observer)
    sim.cloud.add_policy("gold")
    gold = {"tags": ["a"], "qosPolicy": {"name": "gold"}}
    sim.add_pool(reclaim={"policy": "After", "after": "1m"}, ports=gold)
    sim.settle(120)
    for i in range(3):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(120)
    change_spec(sim, ports={"tags": ["b"]})
    grant_two(sim)
    sim.settle(TWO_RESYNCS)
    assert set(map(frozenset[str], pools_tags(sim))) == {frozenset({"b"})}
    assert set(policies(sim)) == {""}
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(100)
    sim.granted.clear()
    sim.settle(TWO_RESYNCS)
    assert observer.problems == []
    assert_all_removed(sim)


def grant_two(sim: Simulation) -> None:
    """Let two pods have addresses of the first ENI that is Ready; the waiting ones end."""
    for eni in sim.enis()[:1]:
        if eni.name in sim.ready():
            sim.granted[eni.name] = {address for pod in of_pods(eni)[:2] for address in pod}
    sim.remove_pods()


@pytest.mark.exhaustive
@pytest.mark.parametrize("dual_stack", [False, True], ids=["IPv4", "dual stack"])
def test_nothing_leaks_doubles_or_goes_from_under_a_pod(
    subtests: pytest.Subtests, dual_stack: bool
) -> None:
    assert len(CELLS) == len(READS) * 7 + len(CHANGES) * 10
    for operation, fault in CELLS:
        with subtests.test(operation=operation, fault=fault):
            live(operation, fault, dual_stack=dual_stack)


def test_every_fault_hits_a_call_of_the_life() -> None:
    """Else a cell would say nothing."""
    sim = Simulation(nodes=1)
    sim.cloud.drops_tags = True
    live_calls: set[str] = set()
    sim.cloud.before_call = live_calls.add
    sim.cloud.add_policy("gold")
    sim.add_pool(ports={"tags": ["a"], "qosPolicy": {"name": "gold"}})
    sim.settle(120)
    change_spec(sim, ports={})
    sim.settle(120)
    port = next(iter(sim.cloud.ports.values()))
    sim.cloud.ports[port.id] = replace(port, name="renamed", revision=port.revision + 1)
    sim.settle(400)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert live_calls >= {*READS, *CHANGES}
