"""Whatever an ENI is stalled by, one of its conditions says so."""

from openeni_crds.conditions import Condition, Reason, Status, Type, find
from openeni_crds.names import ENIPOOLS, ENIS, FINALIZER_ENI
from openeni_operator.cloud.errors import RevisionConflictError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    assert_all_removed,
    assert_converged,
    pool_condition,
)
from openeni_testing.controller.simulation import Simulation


def shown(sim: Simulation, type_: Type) -> Condition:
    (eni,) = sim.enis()
    found = find(eni.status.conditions, type_)
    assert found is not None
    return found


def test_tags_that_the_cloud_takes_and_does_not_show_are_reported() -> None:
    """Without them the port is neither attached nor ever deleted."""
    sim = Simulation()
    sim.cloud.drops_tags = sim.cloud.ignores_tags = True
    sim.add_pool()
    sim.settle(TWO_RESYNCS)
    found = shown(sim, Type.READY)
    assert (found.status, found.reason) == (Status.FALSE, Reason.UNEXPECTED_RESPONSE)
    assert "does not show it" in found.message
    assert pool_condition(sim, Type.CAPACITY_AVAILABLE).reason == Reason.UNEXPECTED_RESPONSE
    sim.cloud.ignores_tags = False
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 1)


def test_a_port_that_others_change_all_the_time_is_reported() -> None:
    """One conflict is nothing; if each change meets one, the ENI never gets its addresses."""
    sim = Simulation()
    sim.add_pool(capacity={"addressesPerENI": 8, "minAvailable": 1, "growth": "Elastic"})
    sim.settle(100)
    conflict = RevisionConflictError("revision number 7 expected, it is 8")
    sim.cloud.fail("set fixed IPs", *[Fault(conflict)] * 2)
    for n in range(2):
        sim.add_pod(f"p{n}", "n1")
    sim.settle(100)
    assert Reason.CONFLICT not in [event.reason for event in sim.process.recorded.events]
    sim.cloud.fail("set fixed IPs", *[Fault(conflict)] * 1000)
    for n in range(2, 5):
        sim.add_pod(f"p{n}", "n1")
    sim.settle(TWO_RESYNCS)
    found = shown(sim, Type.SIZED)
    assert (found.status, found.reason) == (Status.FALSE, Reason.CONFLICT)
    assert pool_condition(sim, Type.CAPACITY_AVAILABLE).reason == Reason.CONFLICT
    sim.cloud.faults.clear()
    sim.settle(TWO_RESYNCS)
    assert shown(sim, Type.SIZED).status == Status.TRUE


def test_a_finalizer_that_somebody_removes_comes_back() -> None:
    """An ENI without it would be looked at no more, whatever becomes of its port."""
    sim = Simulation()
    sim.add_pool()
    sim.settle(100)
    (eni,) = sim.enis()
    remove = {"op": "remove", "path": "/metadata/finalizers"}
    sim.api.patch(ENIS, eni.name, operations=[remove])
    sim.cloud.ports.clear()
    sim.settle(TWO_RESYNCS)
    assert FINALIZER_ENI in sim.eni(eni.name).metadata.finalizers
    assert_converged(sim, 1)


def test_an_eni_that_another_finalizer_holds_loses_its_port_all_the_same() -> None:
    sim = Simulation()
    sim.add_pool()
    sim.settle(100)
    (eni,) = sim.enis()
    another = {"op": "replace", "path": "/metadata/finalizers", "value": ["example.com/held"]}
    sim.api.patch(ENIS, eni.name, operations=[another])
    sim.api.delete(ENIS, eni.name)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert sim.cloud.ports == {}
    sim.api.patch(ENIS, eni.name, operations=[{"op": "remove", "path": "/metadata/finalizers"}])
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def test_an_eni_that_is_created_without_a_finalizer_gets_it_before_its_port() -> None:
    """It blocks its node no more than any other."""
    sim = Simulation()
    sim.add_pool()
    sim.settle(100)
    (eni,) = sim.enis()
    body = sim.api.get(ENIS, eni.name)
    sim.api.patch(ENIS, eni.name, operations=[{"op": "remove", "path": "/metadata/finalizers"}])
    sim.api.delete(ENIS, eni.name)
    sim.cloud.ports.clear()
    sim.api.create(ENIS, {"metadata": {"name": eni.name}, "spec": body["spec"]})
    held = list[bool]()

    def look(operation: str) -> None:
        if operation == "create port":
            held.append(FINALIZER_ENI in sim.eni(eni.name).metadata.finalizers)

    sim.cloud.before_call = look
    sim.settle(TWO_RESYNCS)
    assert held == [True]
    assert_converged(sim, 1)


def test_an_eni_that_is_deleted_without_its_finalizer_is_replaced_and_its_port_reported() -> None:
    sim = Simulation()
    sim.add_pool()
    sim.settle(100)
    (eni,) = sim.enis()
    (left,) = sim.cloud.ports
    sim.api.patch(ENIS, eni.name, operations=[{"op": "remove", "path": "/metadata/finalizers"}])
    sim.api.delete(ENIS, eni.name)
    sim.settle(4 * TWO_RESYNCS)
    (another,) = sim.enis()
    assert another.metadata.uid != eni.metadata.uid
    assert sim.ready() == [another.name], "its node has an ENI again"
    found = pool_condition(sim, Type.PORTS_OWNED)
    assert found.status == Status.FALSE
    assert left in found.message
