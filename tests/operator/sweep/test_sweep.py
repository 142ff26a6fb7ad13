"""The operator finds the ports of its cluster that have no ENI, and deletes those nobody uses."""

import logging
from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason, Status
from openeni_crds.names import ENIPOOLS, NODES, port_name, port_tags
from openeni_kube.result import Done
from openeni_operator.controllers import reconcile
from openeni_operator.keys import ORPHAN_SWEEP, Key
from openeni_operator.settings import OrphanMode
from openeni_operator.sweep.plan import LOOK_INTERVAL
from openeni_testing.controller.checks import assert_converged
from openeni_testing.controller.orphans import (
    ONE_LOOK,
    TWO_LOOKS,
    force_delete_eni,
    leak_port,
    ports_owned,
)
from openeni_testing.controller.process import CLUSTER_ID
from openeni_testing.controller.simulation import Simulation

CHANGES = ("create port", "tag port", "delete port", "attach port", "detach port")
OTHER_CLUSTER = "11111111-9999-9999-9999-999999999999"  # its ports have names like this one's


@pytest.fixture
def sim() -> Simulation:
    """Return a Ready pool on two nodes, swept."""
    return simulate(OrphanMode.DELETE)


def simulate(mode: OrphanMode) -> Simulation:
    sim = Simulation(nodes=2, orphans=mode)
    sim.add_pool()
    sim.settle(ONE_LOOK)
    assert_converged(sim, 2)
    return sim


def assert_reported(sim: Simulation, reason: Reason, *parts: str) -> None:
    found = ports_owned(sim)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, reason)
    assert [part for part in parts if part not in found.message] == []


def assert_owned(sim: Simulation) -> None:
    found = ports_owned(sim)
    assert found is not None
    assert (found.status, found.reason, found.message) == (Status.TRUE, Reason.OWNED, "")


def test_an_unused_port_without_its_eni_is_deleted_after_the_second_look(sim: Simulation) -> None:
    leaked = leak_port(sim)
    sim.settle(ONE_LOOK)
    assert leaked.id in sim.cloud.ports
    assert_owned(sim)
    sim.settle(TWO_LOOKS)
    assert_converged(sim, 2)
    assert sim.cloud.calls["delete port"] == 1
    sim.settle(TWO_LOOKS)
    assert_owned(sim)


def test_in_mode_report_nothing_changes_but_the_condition() -> None:
    sim = simulate(OrphanMode.REPORT)
    leaked = leak_port(sim)
    before = {call: sim.cloud.calls[call] for call in CHANGES}
    sim.settle(2 * TWO_LOOKS)
    assert leaked.id in sim.cloud.ports
    assert {call: sim.cloud.calls[call] for call in CHANGES} == before
    would = f"would be deleted with operator.orphans=Delete: {leaked.id}"
    assert_reported(sim, Reason.ORPHANED_PORTS, would)
    del sim.cloud.ports[leaked.id]
    sim.settle(TWO_LOOKS)
    assert_owned(sim)


def test_a_paused_pool_keeps_every_port_of_its_cloud(sim: Simulation) -> None:
    leaked = leak_port(sim)
    pause = [{"op": "add", "path": "/spec/paused", "value": True}]
    sim.api.patch(ENIPOOLS, "pods", operations=pause)
    sim.settle(2 * TWO_LOOKS)
    assert leaked.id in sim.cloud.ports
    assert_reported(sim, Reason.ORPHANED_PORTS, f"while a pool has spec.paused: {leaked.id}")
    resume = [{"op": "remove", "path": "/spec/paused"}]
    sim.api.patch(ENIPOOLS, "pods", operations=resume)
    sim.settle(TWO_LOOKS)
    assert_converged(sim, 2)


def test_reporting_the_same_again_writes_nothing() -> None:
    sim = simulate(OrphanMode.REPORT)
    leak_port(sim)
    sim.settle(TWO_LOOKS)
    sim.store.writes.clear()
    sim.settle(2 * TWO_LOOKS)
    assert sim.store.writes == []


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        (None, port_tags(OTHER_CLUSTER, "gone")),
        (port_name(OTHER_CLUSTER, "gone"), port_tags(OTHER_CLUSTER, "gone")),
        (None, ("team=a",)),
        ("web-1", ("team=a", "openeni-cluster")),
    ],
)
def test_ports_of_other_clusters_and_of_people_are_neither_touched_nor_reported(
    sim: Simulation, name: str | None, tags: tuple[str, ...]
) -> None:
    foreign = leak_port(sim, name=name, tags=tags)
    sim.settle(2 * TWO_LOOKS)
    assert sim.cloud.ports[foreign.id] == foreign
    assert_owned(sim)


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("web-1", port_tags(CLUSTER_ID, "gone")),
        (None, port_tags(CLUSTER_ID, "gone")[:1]),
        (None, (*port_tags(CLUSTER_ID, "gone"), port_tags(OTHER_CLUSTER, "gone")[0])),
    ],
)
def test_a_port_with_less_than_all_marks_is_reported_and_left_alone(
    sim: Simulation, name: str | None, tags: tuple[str, ...]
) -> None:
    doubtful = leak_port(sim, name=name, tags=tags)
    sim.settle(2 * TWO_LOOKS)
    assert sim.cloud.ports[doubtful.id] == doubtful
    assert_reported(sim, Reason.ORPHANED_PORTS, f"openeni's ports, so left alone: {doubtful.id}")


def test_an_attached_port_stays_until_its_server_is_gone(sim: Simulation) -> None:
    eni = sim.enis()[0]
    assert eni.status.port is not None
    leaked = eni.status.port.id
    force_delete_eni(sim, eni.name)
    sim.settle(2 * TWO_LOOKS)
    assert len(sim.ready()) == 2, "the node has another ENI"
    assert sim.cloud.ports[leaked].device_id == eni.spec.server_id
    assert_reported(sim, Reason.ORPHANED_PORTS, f"attached to a node, so left alone: {leaked}")
    sim.api.delete(NODES, eni.spec.node_name)
    sim.settle(2 * TWO_LOOKS)
    assert sim.cloud.ports[leaked].device_id == eni.spec.server_id
    assert_reported(sim, Reason.ORPHANED_PORTS, f"no node, so left alone: {leaked}")
    sim.cloud.remove_server(eni.spec.server_id)
    sim.settle(2 * TWO_LOOKS)
    assert_converged(sim, 1)
    assert_owned(sim)


def test_a_port_that_was_attached_at_the_first_look_is_not_deleted_at_the_second(
    sim: Simulation,
) -> None:
    server = sim.cloud.add_server()
    leaked = leak_port(sim, server=server)
    sim.settle(TWO_LOOKS)
    sim.cloud.remove_server(server)
    sim.settle(ONE_LOOK)
    assert leaked.id in sim.cloud.ports
    sim.settle(TWO_LOOKS)
    assert leaked.id not in sim.cloud.ports


def test_a_restart_between_two_looks_makes_the_second_the_first(sim: Simulation) -> None:
    leaked = leak_port(sim)
    sim.settle(ONE_LOOK)
    sim.restart()
    sim.settle(ONE_LOOK - 1)
    assert leaked.id in sim.cloud.ports
    sim.settle(TWO_LOOKS)
    assert_converged(sim, 2)


def test_a_restart_does_not_take_back_what_was_reported() -> None:
    sim = simulate(OrphanMode.REPORT)
    leak_port(sim)
    sim.settle(TWO_LOOKS)
    before = ports_owned(sim)
    sim.restart()
    sim.store.writes.clear()
    sim.settle(TWO_LOOKS)
    assert ports_owned(sim) == before
    assert sim.store.writes == []


def test_a_pool_reports_at_once(sim: Simulation) -> None:
    sim.settle(TWO_LOOKS)
    leak_port(sim, server="elsewhere")
    for _ in range(2):
        sim.cloud.clock.advance(LOOK_INTERVAL)
        assert_owned(sim)
        assert reconcile(sim.process.reconcilers, Key(ORPHAN_SWEEP, "default")) == Done()
    while sim.process.reconcile_next():
        continue
    assert_reported(sim, Reason.ORPHANED_PORTS)


def test_every_pool_of_the_cloud_reports(sim: Simulation) -> None:
    leak_port(sim, server="elsewhere")
    sim.add_pool("second", capacity={"addressesPerENI": 3, "minAvailable": 0})
    sim.settle(2 * TWO_LOOKS)
    first, second = (sim.pool(name).status.conditions for name in ("pods", "second"))
    (own,) = (c for c in first if c.type == "PortsOwned")
    (other,) = (c for c in second if c.type == "PortsOwned")
    assert (own.status, own.message) == (other.status, other.message)


def test_the_log_names_the_ports_and_the_enis_that_lost_theirs(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    leaked = leak_port(sim, server="elsewhere")
    eni = sim.enis()[0]
    assert eni.status.port is not None
    port = sim.cloud.ports[eni.status.port.id]
    sim.cloud.ignores_tags = True
    sim.cloud.ports[port.id] = replace(port, tags=frozenset())
    with caplog.at_level(logging.WARNING, "openeni_operator.sweep"):
        sim.settle(ONE_LOOK)
        assert caplog.messages == []
        sim.settle(TWO_LOOKS)
    assert any(leaked.id in message for message in caplog.messages)
    assert any(f"tag for ENI {eni.name}" in message for message in caplog.messages)
