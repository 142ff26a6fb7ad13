"""Nodes get ENIs as long as any subnet of their pool has free addresses, even many at once."""

from ipaddress import ip_address
from typing import Any, Final

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.enipool import ENIPool
from openeni_crds.names import ENIPOOLS
from openeni_operator.cloud.api import FixedIP, Port, Subnet
from openeni_operator.cloud.errors import SubnetExhaustedError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import TWO_RESYNCS, assert_converged
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.simulation import Simulation


def simulate(nodes: int, *cidrs: str) -> Simulation:
    """Return a simulation whose pool has these subnets, in this order; settled."""
    sim = Simulation(nodes=nodes)
    names = [f"subnet-{i}" for i in range(len(cidrs))]
    for name, cidr in zip(names, cidrs, strict=True):
        sim.cloud.add_subnet(sim.network, name, cidr)
    sim.add_pool(subnets=[{"name": name} for name in names])
    return sim


def subnets_in_use(sim: Simulation) -> dict[str, int]:
    counts: dict[str, int] = {}
    for eni in sim.enis():
        for subnet_id in eni.spec.subnet_ids:
            name = sim.cloud.subnets[subnet_id].name
            counts[name] = counts.get(name, 0) + 1
    return counts


def test_nodes_that_come_at_once_share_the_subnets_without_a_refused_call() -> None:
    """The pool's subnets are chosen before any port exists: what is promised counts."""
    sim = simulate(8, "10.96.0.0/28", "10.97.0.0/24")  # an ENI takes 4 of the first one's 13
    sim.settle(200)
    assert_converged(sim, 8)
    assert subnets_in_use(sim) == {"subnet-0": 3, "subnet-1": 5}
    assert sim.cloud.calls["create port"] == 8


def test_nodes_that_come_one_after_another_share_the_subnets_without_a_refused_call() -> None:
    """The list of ports is older than the ENIs before: what they were promised counts all along."""
    sim = simulate(1, "10.96.0.0/28", "10.97.0.0/24")  # an ENI takes 4 of the first one's 13
    sim.run_events(20)
    for n in range(2, 9):
        sim.add_node(f"n{n}")
        sim.agents.add(f"n{n}")
        sim.run_events(8)
    sim.run_events(40)
    assert_converged(sim, 8)
    assert sim.cloud.calls["list ports"] == 1
    assert subnets_in_use(sim) == {"subnet-0": 3, "subnet-1": 5}
    assert sim.cloud.calls["create port"] == 8


def test_ports_of_other_projects_that_fill_a_subnet_lead_to_the_next_one() -> None:
    """They are invisible: only Neutron knows that none is free."""
    sim = simulate(4, "10.96.0.0/24", "10.97.0.0/24")
    full = next(s.id for s in sim.cloud.subnets.values() if s.name == "subnet-0")
    sim.cloud.filled.add(full)
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 4)
    assert subnets_in_use(sim) == {"subnet-1": 4}
    assert sim.cloud.calls["create port"] <= 2 * 4


def test_the_only_subnet_of_a_family_is_not_blamed_for_what_another_refused() -> None:
    sim = simulate(2, "10.96.0.0/24", "10.97.0.0/24", "fd00:96::/64")
    full = next(s.id for s in sim.cloud.subnets.values() if s.name == "subnet-0")
    sim.cloud.filled.add(full)
    sim.settle(TWO_RESYNCS)
    assert len(sim.cloud.ports) == 2
    assert subnets_in_use(sim) == {"subnet-1": 2, "subnet-2": 2}


def test_a_subnet_that_refused_is_used_again_later() -> None:
    sim = simulate(1, "10.96.0.0/24", "10.97.0.0/24")
    sim.cloud.fail("create port", Fault(SubnetExhaustedError("No more IP addresses")))
    sim.settle(200)
    assert subnets_in_use(sim) == {"subnet-1": 1}
    sim.settle(400)
    sim.add_node("n9")
    sim.settle(200)
    assert subnets_in_use(sim) == {"subnet-0": 1, "subnet-1": 1}


def test_without_any_free_address_enis_wait_and_ask_seldom() -> None:
    sim = simulate(2, "10.96.0.0/24", "10.97.0.0/24")
    sim.cloud.filled.update(s.id for s in sim.cloud.subnets.values())
    sim.settle(TWO_RESYNCS)
    assert len(sim.enis()) == 2
    assert reason_of(sim.pool(), Type.CAPACITY_AVAILABLE) == Reason.SUBNET_EXHAUSTED
    asked = sim.cloud.calls["create port"]
    sim.settle(TWO_RESYNCS)
    assert sim.cloud.calls["create port"] - asked <= 2 * TWO_RESYNCS / 30
    sim.cloud.filled.clear()
    sim.settle(TWO_RESYNCS)
    assert_converged(sim, 2)


def reason_of(pool: ENIPool, type_: Type) -> Any:
    found = find(pool.status.conditions, type_)
    assert found is not None
    return found.reason


SIZES: Final = {
    "addressesPerENI": 2,
    "minAvailable": 0,
    "maxENIsPerNode": 2,
    "growth": "Elastic",
}


def change_pool(sim: Simulation, **fields: Any) -> None:
    for name, value in fields.items():
        operations = [{"op": "add", "path": f"/spec/{name}", "value": value}]
        sim.api.patch(ENIPOOLS, "pods", operations=operations)


def fill_first_of_two(sim: Simulation) -> tuple[Subnet, Subnet, PodRunner]:
    """Return two subnets of a pool, in each of which the node has a full ENI; the first is full."""
    first, second = (
        sim.cloud.add_subnet(sim.network, name, cidr)
        for name, cidr in (("first", "10.96.0.0/24"), ("second", "10.97.0.0/24"))
    )
    sim.add_pool(subnets=[{"name": "first"}, {"name": "second"}], capacity=SIZES)
    runner = PodRunner(sim)
    runner.start(2)
    assert runner.settle(120) == 0
    sim.cloud.filled.add(first.id)
    runner.start(2)
    assert runner.settle(300) == 0
    assert [eni.spec.subnet_ids for eni in sim.enis()] == [(first.id,), (second.id,)]
    return first, second, runner


def test_the_last_address_of_another_subnet_serves_a_pod() -> None:
    """It would not do for another ENI, which takes two; the node may hold one more."""
    sim = Simulation()
    _, second, runner = fill_first_of_two(sim)
    used = {fixed.address for port in sim.cloud.ports.values() for fixed in port.fixed_ips}
    ((low, high),) = sim.cloud.subnets[second.id].pools
    every = (str(ip_address(n)) for n in range(int(ip_address(low)), int(ip_address(high)) + 1))
    *others, _ = (address for address in every if address not in used)
    fixed_ips = tuple(FixedIP(second.id, address) for address in others)
    foreign = Port("foreign", "theirs", sim.network.id, "fa:16:3e:ff:00:01", fixed_ips=fixed_ips)
    sim.cloud.ports[foreign.id] = foreign
    sim.settle(1200)  # the cloud is listed again
    change_pool(sim, capacity={**SIZES, "addressesPerENI": 4, "maxAddressesPerNode": 5})
    runner.start(1)
    assert runner.settle(300, step=15) == 0


def test_an_eni_of_a_subnet_that_its_pool_has_no_longer_makes_no_other_one_ask_again() -> None:
    """What is left of the pool is full: that its ENI is not of the other subnet helps nobody."""
    sim = Simulation()
    _, _, runner = fill_first_of_two(sim)
    change_pool(sim, capacity={**SIZES, "addressesPerENI": 4})
    runner.start(2)
    assert runner.settle(300) == 0
    change_pool(sim, subnets=[{"name": "first"}])
    sim.settle(900)
    runner.start(1)
    before = sum(eni.metadata.generation for eni in sim.enis())
    sim.run_events(600)
    assert runner.run() == 1
    assert sum(eni.metadata.generation for eni in sim.enis()) - before < 10
