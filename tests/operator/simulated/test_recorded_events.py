"""What an administrator hears of, from the operator as a whole."""

from dataclasses import replace

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.names import ENIS
from openeni_operator.cloud.errors import DeniedError, QuotaExceededError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    pool_condition,
    simulate_ready_pool,
)
from openeni_testing.controller.port_settings import assert_up_to_date
from openeni_testing.controller.simulation import Simulation


def told(sim: Simulation) -> list[tuple[str, str, str]]:
    events = sim.process.recorded.events
    return [(e.regarding.kind.name, str(e.type), e.reason) for e in events]


def test_a_new_pool_and_its_eni_tell_that_they_are_ready() -> None:
    sim = Simulation()
    sim.add_pool()
    sim.settle(TWO_RESYNCS)
    assert sorted(told(sim)) == [
        ("ENI", "Normal", "Ready"),
        ("ENIPool", "Normal", "Ready"),
    ]


def test_a_used_up_quota_is_told_about_the_eni_and_its_pool_and_so_is_its_end() -> None:
    sim = Simulation()
    sim.cloud.fail("create port", Fault(QuotaExceededError("no port is left")))
    sim.add_pool()
    sim.settle(TWO_RESYNCS)
    found = told(sim)
    for kind in ("ENI", "ENIPool"):
        assert found.count((kind, "Warning", "QuotaExceeded")) == 1
        assert (kind, "Normal", "Ready") in found
    assert ("ENIPool", "Normal", "Available") in found
    (warning,) = (
        e
        for e in sim.process.recorded.events
        if e.regarding.kind.name == "ENIPool" and e.reason == "QuotaExceeded"
    )
    assert "no port is left" in warning.note


def set_mtu(sim: Simulation, mtu: int) -> None:
    """Do what `openstack network set --mtu` does."""
    network = sim.cloud.networks[sim.network.id]
    sim.cloud.networks[network.id] = replace(network, mtu=mtu)


def assert_all_outdated(sim: Simulation) -> None:
    conditions = [find(eni.status.conditions, Type.UP_TO_DATE) for eni in sim.enis()]
    assert [c.reason for c in conditions if c] == [Reason.MTU_CHANGED] * 2
    assert len(sim.ready()) == 2


def test_another_mtu_of_the_network_is_told_until_each_eni_is_replaced() -> None:
    sim = simulate_ready_pool()
    set_mtu(sim, 1400)
    sim.settle(TWO_RESYNCS)
    for kind, count in (("ENI", 2), ("ENIPool", 1)):
        assert told(sim).count((kind, "Warning", "MTUChanged")) == count
    assert pool_condition(sim, Type.UP_TO_DATE).reason == Reason.MTU_CHANGED
    assert_all_outdated(sim)
    for eni in sim.enis():
        sim.api.delete(ENIS, eni.name)
    sim.settle(TWO_RESYNCS)
    assert_up_to_date(sim)
    assert {eni.spec.mtu for eni in sim.enis()} == {1400}


def test_a_restart_forgets_no_changed_mtu_while_nobody_can_look_at_the_network() -> None:
    sim = simulate_ready_pool()
    set_mtu(sim, 1400)
    sim.settle(TWO_RESYNCS)
    sim.restart()
    sim.cloud.fail("get network", *[Fault(DeniedError("not allowed"))] * 1000)
    sim.settle(TWO_RESYNCS)
    assert_all_outdated(sim)


def test_the_networks_former_mtu_ends_that() -> None:
    sim = simulate_ready_pool()
    for mtu in (1400, sim.network.mtu):
        set_mtu(sim, mtu)
        sim.settle(TWO_RESYNCS)
    assert_up_to_date(sim)


def test_pods_whose_port_is_replaced_keep_a_greater_mtu_and_that_is_told() -> None:
    sim = simulate_ready_pool()
    set_mtu(sim, 1400)
    sim.settle(TWO_RESYNCS)
    sim.cloud.ports.clear()
    sim.settle(TWO_RESYNCS)
    assert {eni.status.port.mtu for eni in sim.enis() if eni.status.port} == {1400}
    assert_all_outdated(sim)
