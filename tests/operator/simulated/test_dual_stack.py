"""Pools with a subnet of each IP family, and pools with IPv6 alone."""

from dataclasses import replace
from typing import Any

import pytest

from openeni_crds.conditions import Reason, Status, Type, find
from openeni_crds.eni import ENI
from openeni_crds.names import ENIPOOLS, NODES
from openeni_testing.controller.agent_report import of_pods
from openeni_testing.controller.checks import TWO_RESYNCS, assert_all_removed, assert_converged
from openeni_testing.controller.simulation import Simulation

V4, V6 = {"name": "pods"}, {"name": "pods-v6"}
ORDERS = [pytest.param([V4, V6], id="IPv4 first"), pytest.param([V6, V4], id="IPv6 first")]


def simulate(nodes: int = 1, **spec: Any) -> Simulation:
    sim = Simulation(nodes=nodes, dual_stack=True)
    sim.add_pool(**spec)
    sim.settle(120)
    return sim


def sixes(addresses: tuple[str, ...]) -> list[bool]:
    return sorted(":" in address for address in addresses)


def take_ipv6(sim: Simulation, eni: ENI, count: int) -> None:
    """Take fixed IPs of IPv6 off the ENI's port, as somebody else may; not its primary one."""
    assert eni.status.port is not None
    taken = [a for a in eni.status.port.addresses if ":" in a][:count]
    port = sim.cloud.ports[eni.status.port.id]
    left = tuple(f for f in port.fixed_ips if f.address not in taken)
    sim.cloud.ports[port.id] = replace(port, fixed_ips=left, revision=port.revision + 1)


@pytest.mark.parametrize("subnets", ORDERS)
def test_a_port_has_as_many_addresses_of_each_family_from_one_request(subnets: Any) -> None:
    sim = simulate(2, subnets=subnets)
    assert_converged(sim, 2)
    assert sim.cloud.calls["create port"] == 2
    for eni in sim.enis():
        port = eni.status.port
        assert port is not None
        assert sixes(port.primary) == [False, True]
        assert sixes(port.addresses) == [False] * 3 + [True] * 3
        assert [":" in s.cidr for s in port.subnets] == [False, True]
    assert sim.pool().status.address_counts.total == 2 * 3, "a pod has one of each"


def test_an_ipv6_pool_takes_no_ipv4_address() -> None:
    sim = simulate(subnets=[V6])
    assert_converged(sim, 1)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    assert sixes((*eni.status.port.primary, *eni.status.port.addresses)) == [True] * 4
    assert sim.pool().status.address_counts.total == 3


def test_both_addresses_of_a_pod_keep_the_eni_and_go_with_it() -> None:
    sim = simulate()
    (eni,) = sim.enis()
    sim.granted[eni.name] = set(of_pods(eni)[0])
    sim.settle(60)
    node = sim.eni(eni.name).status.node
    assert node is not None
    assert (node.granted, node.available) == (1, 2)
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert len(sim.cloud.ports) == 1
    sim.granted.clear()
    sim.settle(TWO_RESYNCS)
    assert_all_removed(sim)


def test_one_address_of_either_family_holds_the_eni() -> None:
    """Half a grant is none to take away, whatever an agent may have been in the middle of."""
    sim = simulate()
    (eni,) = sim.enis()
    for address in of_pods(eni)[0]:
        sim.granted[eni.name] = {address}
        sim.settle(60)
        assert [e.name for e in sim.enis()] == [eni.name]
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert len(sim.cloud.ports) == 1


def test_pods_get_another_eni_when_the_scarcer_family_is_used_up() -> None:
    """The port still has IPv4 addresses, which serve nobody alone."""
    sim = simulate(capacity={"addressesPerENI": 3, "minAvailable": 0})
    for name in ("p0", "p1"):
        sim.add_pod(name, "n1")
    sim.settle(60)
    (eni,) = sim.enis()
    take_ipv6(sim, eni, 2)
    sim.settle(400)
    assert len(sim.enis()) == 2
    assert sim.pool().status.address_counts.total == 1 + 3
    lost = sim.eni(eni.name).status.port
    assert lost is not None
    assert sixes(lost.lost) == [True, True]


def test_the_free_count_is_that_of_the_scarcer_family() -> None:
    sim = simulate()
    free = {s.name: s.free_count for s in sim.pool().status.subnets}
    assert sim.pool().status.free_count == free["pods"] < free["pods-v6"]
    few = Simulation(dual_stack=True)
    few.cloud.add_subnet(few.network, "few", "fd00:97::/125")
    few.add_pool(subnets=[V4, {"name": "few"}])
    few.settle(20)
    free = {s.name: s.free_count for s in few.pool().status.subnets}
    assert few.pool().status.free_count == free["few"] < free["pods"]


@pytest.mark.parametrize(("full", "other"), [("pods", "more"), ("pods-v6", "more-v6")])
def test_each_family_falls_over_to_its_own_next_subnet(full: str, other: str) -> None:
    """Neutron does not tell which of a port's subnets has no address left."""
    sim = Simulation(nodes=2, dual_stack=True)
    cidr = {"more": "10.97.0.0/24", "more-v6": "fd00:97::/64"}[other]
    sim.cloud.add_subnet(sim.network, other, cidr)
    sim.cloud.filled.add(next(s.id for s in sim.cloud.subnets.values() if s.name == full))
    sim.add_pool(subnets=[V4, V6, {"name": other}])
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 2)
    for eni in sim.enis():
        names = {sim.cloud.subnets[s].name for s in eni.spec.subnet_ids}
        assert names == {"pods", "pods-v6"} - {full} | {other}
    assert sim.cloud.calls["create port"] <= 2 * 2


def test_a_family_without_any_room_holds_the_enis_and_they_ask_seldom() -> None:
    sim = Simulation(nodes=1, dual_stack=True)
    full = next(s.id for s in sim.cloud.subnets.values() if s.name == "pods-v6")
    sim.cloud.filled.add(full)
    sim.add_pool()
    sim.settle(TWO_RESYNCS)
    assert sim.cloud.ports == {}
    found = find(sim.pool().status.conditions, Type.CAPACITY_AVAILABLE)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, Reason.SUBNET_EXHAUSTED)
    sim.cloud.filled.clear()
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 1)


def test_a_second_family_is_for_new_enis() -> None:
    sim = simulate(subnets=[V4])
    change = {"op": "add", "path": "/spec/subnets", "value": [V4, V6]}
    sim.api.patch(ENIPOOLS, "pods", operations=[change])
    sim.add_node("n2")
    sim.agents.add("n2")
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 2)
    by_node = {eni.spec.node_name: len(eni.spec.subnet_ids) for eni in sim.enis()}
    assert by_node == {"n1": 1, "n2": 2}


def test_a_zone_may_have_a_subnet_of_one_family_alone() -> None:
    sim = Simulation(nodes=0, dual_stack=True)
    for name, zone in (("n1", "west"), ("n2", "east")):
        sim.add_node(name)
        sim.agents.add(name)
        path = "/metadata/labels/topology.kubernetes.io~1zone"
        sim.api.patch(NODES, name, operations=[{"op": "add", "path": path, "value": zone}])
    sim.add_pool(subnets=[V4 | {"zone": "west"}, V6])
    sim.settle(120)
    by_node = {eni.spec.node_name: len(eni.spec.subnet_ids) for eni in sim.enis()}
    assert by_node == {"n1": 2, "n2": 1}
