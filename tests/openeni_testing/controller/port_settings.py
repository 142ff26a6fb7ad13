"""Simulations of pools with settings of ports, and looks at their ports."""

from dataclasses import replace
from typing import Any

from openeni_crds.conditions import Type, is_true
from openeni_crds.names import port_tags
from openeni_operator.cloud.api import Port, QoSPolicy
from openeni_testing.controller.process import CLUSTER_ID
from openeni_testing.controller.simulation import Simulation

OTHERS = "backup=daily"  # a tag that somebody else gives the ports


def simulate(*tags: str, policy: str = "", nodes: int = 2) -> Simulation:
    """Return a pool whose ports have these tags, and perhaps a QoS policy of this name."""
    sim = Simulation(nodes=nodes)
    for name in ("gold", "lead"):
        sim.cloud.add_policy(name)
    sim.add_pool(ports={"tags": list(tags)} | ({"qosPolicy": {"name": policy}} if policy else {}))
    sim.settle(100)
    return sim


def simulate_secured_pool(**spec: Any) -> Simulation:
    """Return a pool with an ENI on each of two nodes, on a network with port security."""
    sim = Simulation(nodes=2)
    network = sim.cloud.networks[sim.network.id]
    sim.cloud.networks[network.id] = replace(network, port_security=True)
    sim.add_pool(**spec)
    sim.settle(100)
    return sim


def policy_named(sim: Simulation, name: str) -> QoSPolicy:
    return next(p for p in sim.cloud.policies.values() if p.name == name)


def rename(sim: Simulation, before: str, after: str) -> None:
    policy = policy_named(sim, before)
    sim.cloud.policies[policy.id] = replace(policy, name=after)


def change_ports(sim: Simulation, **changes: Any) -> None:
    """Change every port, as somebody else may."""
    for port in list(sim.cloud.ports.values()):
        changed: Port = replace(port, revision=port.revision + 1, **changes)
        sim.cloud.ports[port.id] = changed


def disable_port_security(sim: Simulation) -> None:
    """Switch the security of every port off, as somebody else may."""
    for port_id in list(sim.cloud.ports):
        sim.cloud.disable_port_security(port_id)


def tag_ports(sim: Simulation, tag: str) -> None:
    for port in list(sim.cloud.ports.values()):
        sim.cloud.tag_port(port.id, tag)
    sim.cloud.calls.clear()


def pools_tags(sim: Simulation) -> list[set[str]]:
    """Return the tags of each port, without those that tell whose it is."""
    own = {tag for eni in sim.enis() for tag in port_tags(CLUSTER_ID, eni.metadata.uid)}
    return [set(port.tags - own) for port in sim.cloud.ports.values()]


def policies(sim: Simulation) -> list[str]:
    """Return the name of each port's QoS policy."""
    names = {"": "", **{p.id: p.name for p in sim.cloud.policies.values()}}
    return [names[port.qos_policy_id] for port in sim.cloud.ports.values()]


def assert_up_to_date(sim: Simulation) -> None:
    assert is_true(sim.pool().status.conditions, Type.UP_TO_DATE)
    assert all(is_true(eni.status.conditions, Type.UP_TO_DATE) for eni in sim.enis())
    assert len(sim.ready()) == len(sim.enis())
