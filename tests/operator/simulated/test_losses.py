"""What Neutron loses is believed late and told truly; what a wrong look loses is not believed."""

from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason, Status, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.names import ENIPOOLS
from openeni_operator.cloud.api import FixedIP, Place
from openeni_testing.cloud.faults import Fault, no_response
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    assert_all_removed,
    assert_converged,
    simulate_ready_pool,
)
from openeni_testing.controller.simulation import Simulation
from openeni_testing.store.hooked import CrashError

MANY = 5  # more than may vanish together


def simulate_many() -> Simulation:
    sim = Simulation(nodes=MANY)
    sim.add_pool()
    sim.settle()
    assert_converged(sim, MANY)
    return sim


def take_addresses(sim: Simulation, eni: ENI, *, keep: int) -> None:
    """Take all but the last `keep` fixed IPs off the ENI's port."""
    assert eni.status.port is not None
    port = sim.cloud.ports[eni.status.port.id]
    left = port.fixed_ips[len(port.fixed_ips) - keep :]
    sim.cloud.ports[port.id] = replace(port, fixed_ips=left, revision=port.revision + 1)


def test_a_port_without_its_primary_address_is_not_ready_and_is_replaced() -> None:
    sim = Simulation(nodes=1)
    sim.add_pool()
    sim.settle(100)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[-1]}  # a pod runs: the ENI stays
    take_addresses(sim, eni, keep=2)
    sim.settle(TWO_RESYNCS)
    broken = sim.eni(eni.name)
    assert_port_changed(broken)
    assert broken.status.port is not None
    assert broken.status.port.addresses == eni.status.port.addresses[-2:]
    assert broken.status.port.lost == (*eni.status.port.primary, eni.status.port.addresses[0])
    assert not broken.metadata.deleting
    others = [e for e in sim.enis() if e.name != eni.name]
    assert [is_true(e.status.conditions, Type.READY) for e in others] == [True]
    sim.granted.clear()
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 1)


def test_a_port_without_any_address_is_not_ready_and_goes_with_its_last_pod() -> None:
    sim = Simulation(nodes=1)
    sim.add_pool()
    sim.settle(100)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[-1]}
    take_addresses(sim, eni, keep=0)
    sim.settle(TWO_RESYNCS)
    broken = sim.eni(eni.name)
    assert broken.metadata.deleting
    assert not is_true(broken.status.conditions, Type.PORT_READY)
    assert broken.status.port is not None
    assert broken.status.port.addresses == ()
    assert len(sim.cloud.ports) == 2, "its NIC is the pod's until the pod ends"
    sim.granted.clear()
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 1)


def assert_port_changed(eni: ENI) -> None:
    for condition in (Type.PORT_READY, Type.READY):
        found = find(eni.status.conditions, condition)
        assert found is not None
        assert (found.status, found.reason) == (Status.FALSE, Reason.PORT_CHANGED)
        assert "primary address" in found.message


def test_an_address_that_somebody_adds_in_another_subnet_is_no_pods() -> None:
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    port = sim.cloud.ports[eni.status.port.id]
    foreign = (*port.fixed_ips, FixedIP("another", "10.50.0.9"))
    sim.cloud.ports[port.id] = replace(port, fixed_ips=foreign, revision=port.revision + 1)
    sim.settle(TWO_RESYNCS)
    after = sim.eni(eni.name).status.port
    assert after is not None
    assert after.addresses == eni.status.port.addresses


@pytest.mark.parametrize(("before", "after"), [("", "here"), ("here", "")])
def test_a_region_that_gains_or_loses_its_name_is_the_same_place(before: str, after: str) -> None:
    """What recorded no region may be older than the operator that knows it."""
    sim = Simulation(nodes=2)
    project = sim.cloud.place.project_id
    sim.cloud.place = Place(project, before)
    sim.add_pool()
    sim.settle(100)
    sim.cloud.place = Place(project, after)
    sim.settle(100)
    assert_converged(sim, 2)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def test_a_cloud_that_shows_no_port_at_all_is_not_believed() -> None:
    sim = simulate_many()
    before = {eni.name: eni.status.port for eni in sim.enis()}
    made = sim.cloud.calls["create port"]
    sim.cloud.blind = True
    sim.settle(590)
    assert {eni.name: eni.status.port for eni in sim.enis()} == before
    assert sim.cloud.calls["create port"] == made
    messages = {c.message for e in sim.enis() for c in e.status.conditions}
    assert any("nor many others of this cluster" in message for message in messages)
    sim.cloud.blind = False
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, MANY)
    assert {eni.name: eni.status.port for eni in sim.enis()} == before


def test_enis_that_are_being_deleted_do_not_end_on_the_word_of_such_a_cloud() -> None:
    sim = simulate_many()
    sim.cloud.blind = True
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(500)
    assert len(sim.enis()) == MANY
    sim.cloud.blind = False
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def test_many_enis_that_are_deleted_together_are_no_loss_even_without_answers() -> None:
    sim = simulate_many()
    sim.cloud.fail("delete port", *[Fault(no_response(), worked=True)] * MANY)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(120)
    assert_all_removed(sim)


def test_many_enis_whose_operator_was_killed_while_it_deleted_them_are_no_loss() -> None:
    sim = simulate_many()
    sim.cloud.fail("delete port", *[Fault(CrashError(), worked=True)] * MANY)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(200)
    assert_all_removed(sim)


def test_many_ports_that_are_really_gone_are_replaced_in_the_end() -> None:
    sim = simulate_many()
    sim.cloud.ports.clear()
    sim.settle(3 * TWO_RESYNCS)
    assert_converged(sim, MANY)


def test_a_few_ports_that_are_gone_are_replaced_soon() -> None:
    sim = simulate_many()
    gone = sorted(sim.cloud.ports)[:3]
    for port_id in gone:
        del sim.cloud.ports[port_id]
    sim.settle(TWO_RESYNCS / 2 + 100)
    assert_converged(sim, MANY)


def test_a_port_that_is_not_the_enis_is_left_alone() -> None:
    """ENI.status is not proof enough: name or tags must say that a port is the ENI's."""
    sim = simulate_ready_pool()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[0]}  # a pod runs: the ENI stays
    port = sim.cloud.ports[eni.status.port.id]
    foreign = replace(port, name="someone's", tags=frozenset({"team=a"}))
    sim.cloud.ports[port.id] = foreign
    sim.settle(TWO_RESYNCS)
    found = find(sim.eni(eni.name).status.conditions, Type.READY)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, Reason.PORT_CHANGED)
    sim.granted.clear()
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert sim.cloud.ports == {port.id: foreign}
    assert sim.enis() == []


def test_a_renamed_port_is_known_by_its_tags() -> None:
    sim = simulate_ready_pool()
    port = min(sim.cloud.ports.values(), key=lambda p: p.id)
    sim.cloud.ports[port.id] = replace(port, name="renamed", revision=port.revision + 1)
    sim.settle(TWO_RESYNCS)
    assert len(sim.ready()) == 2
    assert sim.cloud.calls["create port"] == 2


def test_tags_that_others_put_on_a_port_stay() -> None:
    sim = Simulation(nodes=1)
    sim.cloud.drops_tags = True
    sim.add_pool()
    sim.cloud.after_call = lambda call: tag_all(sim) if call == "create port" else None
    sim.settle(100)
    (port,) = sim.cloud.ports.values()
    assert "cost-centre=7" in port.tags
    assert len(port.tags) == 3


def tag_all(sim: Simulation) -> None:
    for port in sim.cloud.ports.values():
        sim.cloud.ports[port.id] = replace(port, tags=port.tags | {"cost-centre=7"})


def test_a_report_on_a_port_that_is_lost_does_not_count_for_the_next() -> None:
    """The guest has been prepared for another MAC address."""
    sim = Simulation(nodes=1)
    sim.add_pool()
    sim.settle(100)
    (eni,) = sim.enis()
    before = eni.status.port
    assert before is not None
    sim.agents.clear()  # its last report stays: prepared, and linked
    del sim.cloud.ports[before.id]
    sim.settle(TWO_RESYNCS)
    found = sim.eni(eni.name)
    assert found.status.port is not None
    assert found.status.port.id != before.id
    assert sim.cloud.calls["attach port"] == 1
    for type_ in (Type.ATTACHED, Type.READY):
        shown = find(found.status.conditions, type_)
        assert shown is not None
        assert (shown.status, shown.reason) == (Status.FALSE, Reason.WAITING_FOR_AGENT)
    sim.agents.add("n1")
    sim.settle(100)
    assert_converged(sim, 1)
    assert sim.cloud.calls["attach port"] == 2


def test_an_eni_whose_lost_port_comes_back_is_replaced_and_both_ports_go() -> None:
    """Pods may have addresses of each, so neither is removed before the last one has ended."""
    sim = Simulation(nodes=1)
    sim.add_pool()
    sim.settle(100)
    (first,) = sim.cloud.ports.values()
    del sim.cloud.ports[first.id]
    sim.settle(TWO_RESYNCS)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    assert eni.status.port.id != first.id
    sim.granted[eni.name] = {eni.status.port.addresses[0]}
    sim.cloud.ports[first.id] = first
    sim.settle(TWO_RESYNCS)
    for type_ in (Type.PORT_READY, Type.READY):
        found = find(sim.eni(eni.name).status.conditions, type_)
        assert found is not None
        assert (found.status, found.reason) == (Status.FALSE, Reason.PORT_CHANGED)
        assert first.id in found.message
    assert {first.id, eni.status.port.id} <= set(sim.cloud.ports)
    assert len(sim.ready()) == 1, "another ENI takes its place"
    sim.granted.clear()
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 1)
    assert first.id not in sim.cloud.ports


def test_an_eni_with_two_attached_ports_is_not_ready_while_neutron_is_behind() -> None:
    sim = Simulation()
    sim.add_pool(capacity={"addressesPerENI": 3, "minAvailable": 1, "growth": "Elastic"})
    sim.settle(120)
    (eni,) = sim.enis()
    assert eni.status.port
    sim.granted[eni.name] = {eni.status.port.addresses[0]}
    first = sim.cloud.ports[eni.status.port.id]
    second = replace(first, id="second", mac_address="fa:16:3e:00:77:77", fixed_ips=())
    newer = replace(first, revision=first.revision + 5)
    sim.cloud.ports |= {second.id: second, first.id: newer}
    sim.settle(120)
    assert sim.eni(eni.name).is_broken
    sim.cloud.ports[first.id] = replace(first, revision=1)
    for _ in range(30):
        sim.settle(30)
        assert not sim.eni(eni.name).offers_addresses
