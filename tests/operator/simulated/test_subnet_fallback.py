"""Nodes get ENIs as long as any subnet of their pool has free addresses, even many at once."""

from typing import Any

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.enipool import ENIPool
from openeni_operator.cloud.errors import SubnetExhaustedError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import TWO_RESYNCS, assert_converged
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
