"""Administrators' mistakes: each is one clear line, creates no ENI, and is recovered from."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from openeni_crds.conditions import Type
from openeni_crds.names import ENIPOOLS, ENIS, LABEL_VETH, NODES
from openeni_crds.terms import SubnetTerm
from openeni_operator.cloud.errors import (
    CloudError,
    CloudNotConfiguredError,
    CloudUnreachableError,
    CredentialsInvalidError,
    DeniedError,
    ThrottledError,
    UnexpectedResponseError,
)
from openeni_testing.controller.checks import pool_condition
from openeni_testing.controller.simulation import Simulation

Change = Callable[[Simulation], object]


def label(sim: Simulation, node: str, value: str) -> None:
    path = "/metadata/labels/" + LABEL_VETH.replace("/", "~1")
    sim.api.patch(NODES, node, operations=[{"op": "add", "path": path, "value": value}])


def add_missing(sim: Simulation) -> None:
    sim.cloud.add_subnet(sim.network, "missing", "10.97.0.0/24")
    sim.cloud.add_group("missing")


def remove_duplicate(sim: Simulation) -> None:
    del sim.cloud.subnets[sim.cloud.find_subnets(SubnetTerm(name="twice"))[1].id]


def disable_dhcp(sim: Simulation) -> None:
    old = sim.cloud.find_subnets(SubnetTerm(name="dhcp"))[0]
    del sim.cloud.subnets[old.id]
    sim.cloud.add_subnet(sim.cloud.networks[old.network_id], "dhcp", old.cidr)


def raise_mtu(sim: Simulation) -> None:
    network = sim.cloud.networks[sim.network.id]
    sim.cloud.networks[network.id] = replace(network, mtu=9000)


@pytest.mark.parametrize(
    ("spec", "change", "type_", "reason", "words"),
    [
        pytest.param(
            {"subnets": [{"name": "pods"}, {"name": "missing"}]},
            add_missing,
            Type.READY,
            "NotFound",
            "spec.subnets[1]: cloud 'default' has no subnet with the name 'missing'",
            id="unknown subnet",
        ),
        pytest.param(
            {"subnets": [{"name": "twice"}]},
            remove_duplicate,
            Type.READY,
            "AmbiguousName",
            "spec.subnets[0]: 2 subnets have the name 'twice'; use the ID of one: subnet-",
            id="ambiguous subnet",
        ),
        pytest.param(
            {"securityGroups": [{"name": "pods"}, {"name": "missing"}]},
            add_missing,
            Type.READY,
            "NotFound",
            "spec.securityGroups[1]: cloud 'default' has no security group with the name 'missing'",
            id="unknown security group",
        ),
        pytest.param(
            {"subnets": [{"name": "dhcp"}]},
            disable_dhcp,
            Type.SUPPORTED,
            "DHCPEnabled",
            "spec.subnets[0]: subnet 'dhcp' has DHCP enabled",
            id="DHCP",
        ),
        pytest.param(
            {"datapath": {"mode": "Veth", "mtu": 9000}},
            raise_mtu,
            Type.READY,
            "InvalidSpec",
            "spec.datapath.mtu: 9000 is more than the network's 1450",
            id="MTU",
        ),
    ],
)
def test_a_pool_that_cannot_be_served_reports_why_and_recovers(
    spec: dict[str, Any], change: Change, type_: Type, reason: str, words: str
) -> None:
    sim = Simulation()
    other = sim.cloud.add_network()
    for name in ("twice", "twice"):
        sim.cloud.add_subnet(other, name, "10.90.0.0/24")
    sim.cloud.add_subnet(sim.cloud.add_network(), "dhcp", "10.91.0.0/24", dhcp=True)
    sim.add_pool(**spec)
    sim.settle(20)
    found = pool_condition(sim, type_)
    assert (found.status, found.reason) == ("False", reason)
    assert words in found.message
    assert pool_condition(sim, Type.READY).status == "False"
    assert sim.api.list(ENIS).items == ()
    change(sim)
    sim.settle(100)
    assert len(sim.ready()) == 1
    assert pool_condition(sim, type_).status == "True"


def test_a_slaac_subnet_anywhere_on_the_network_is_refused() -> None:
    sim = Simulation()
    sim.cloud.add_subnet(sim.network, "v6", "fd00:1::/64", ipv6_mode="slaac")
    sim.add_pool()
    sim.settle(20)
    found = pool_condition(sim, Type.SUPPORTED)
    assert (found.status, found.reason) == ("False", "SLAACEnabled")
    assert sim.enis() == []


def test_subnets_of_different_networks_are_refused() -> None:
    sim = Simulation()
    sim.cloud.add_subnet(sim.cloud.add_network(), "b", "10.90.0.0/24")
    sim.add_pool(subnets=[{"name": "pods"}, {"name": "b"}])
    sim.settle(20)
    assert pool_condition(sim, Type.READY).reason == "SubnetsOfDifferentNetworks"


@pytest.mark.parametrize(
    "error",
    [
        CloudNotConfiguredError("clouds.yaml: no such file; put a clouds.yaml there"),
        CredentialsInvalidError("cloud 'default' rejects the credentials"),
        CloudUnreachableError("cloud 'default' does not respond"),
        DeniedError("policy does not allow get_subnet"),
        UnexpectedResponseError("no JSON"),
        ThrottledError("cloud 'default' throttles the operator"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_cloud_that_cannot_be_used_is_reported_until_it_can(error: CloudError) -> None:
    sim = Simulation()
    sim.cloud.down = error
    sim.add_pool()
    sim.settle(60)
    found = pool_condition(sim, Type.CLOUD_REACHABLE)
    assert (found.status, found.reason, found.message) == ("False", error.reason, error.message)
    assert pool_condition(sim, Type.READY).reason == error.reason
    assert pool_condition(sim, Type.SUPPORTED).status == "Unknown"
    assert sim.enis() == []
    sim.cloud.down = None
    sim.settle(60)
    assert len(sim.ready()) == 1
    assert pool_condition(sim, Type.READY).status == "True"


def test_a_kernel_without_the_mode_is_reported_and_other_nodes_are_served() -> None:
    sim = Simulation(nodes=2)
    label(sim, "n1", "false")
    sim.add_pool()
    sim.settle(60)
    found = pool_condition(sim, Type.SUPPORTED)
    assert (found.status, found.reason) == ("False", "ModeUnsupported")
    assert "node n1 lacks Veth" in found.message
    assert [e.spec.node_name for e in sim.enis()] == ["n2"]
    assert pool_condition(sim, Type.READY).status == "True"
    label(sim, "n1", "true")
    sim.settle(60)
    assert len(sim.ready()) == 2
    assert pool_condition(sim, Type.SUPPORTED).status == "True"


def test_groups_on_a_network_without_port_security_are_not_supported() -> None:
    sim = Simulation()
    network = sim.cloud.networks[sim.network.id]
    sim.cloud.networks[network.id] = replace(network, port_security=False)
    sim.add_pool()
    sim.settle(60)
    found = pool_condition(sim, Type.SUPPORTED)
    assert (found.status, found.reason) == ("False", "InvalidSpec")
    assert f"openstack network set --enable-port-security {network.id}" in found.message
    change: list[dict[str, Any]] = [{"op": "replace", "path": "/spec/securityGroups", "value": []}]
    sim.api.patch(ENIPOOLS, "pods", operations=change)
    sim.settle(60)
    assert pool_condition(sim, Type.SUPPORTED).status == "True"


def test_a_node_with_another_cni_plugin_is_named() -> None:
    sim = Simulation(nodes=2)
    sim.other_cni.add("n2")
    sim.add_pool()
    sim.settle(60)
    found = pool_condition(sim, Type.SUPPORTED)
    assert (found.status, found.reason) == ("False", "OtherCNI")
    assert "pods do not use the pool on node n2" in found.message
    assert pool_condition(sim, Type.READY).status == "True"
    sim.other_cni.clear()
    sim.settle(60)
    assert pool_condition(sim, Type.SUPPORTED).status == "True"


def test_a_node_without_an_agent_is_reported() -> None:
    sim = Simulation(nodes=0)
    sim.add_node("n9", veth="")
    sim.add_pool()
    sim.settle(60)
    found = pool_condition(sim, Type.READY)
    assert (found.reason, found.message) == (
        "WaitingForNodes",
        "waiting for the openeni agent on node n9",
    )
    assert sim.enis() == []


def test_a_used_up_quota_is_reported_until_it_is_raised() -> None:
    sim = Simulation(nodes=2)
    sim.cloud.quota = 1
    sim.add_pool()
    sim.settle(120)
    found = pool_condition(sim, Type.CAPACITY_AVAILABLE)
    assert (found.status, found.reason) == ("False", "QuotaExceeded")
    assert "ENI pods-" in found.message
    assert "(the project's port quota is 1)" in found.message
    assert pool_condition(sim, Type.READY).status == "True", "the other node is served"
    sim.cloud.quota = 9
    sim.settle(120)
    assert len(sim.ready()) == 2
    assert pool_condition(sim, Type.CAPACITY_AVAILABLE).status == "True"


def test_an_exhausted_subnet_is_passed_over_for_the_next_one() -> None:
    sim = Simulation()
    sim.cloud.add_subnet(sim.network, "tiny", "10.97.0.0/29")
    sim.add_pool(
        subnets=[{"name": "tiny"}, {"name": "pods"}],
        capacity={"addressesPerENI": 6, "minAvailable": 1},
    )
    sim.settle(60)
    (eni,) = sim.enis()
    assert eni.spec.subnet_ids == (sim.subnet.id,)
    assert len(sim.ready()) == 1


def test_a_node_at_its_limit_is_reported_while_pods_wait() -> None:
    sim = Simulation()
    sim.add_pool(capacity={"addressesPerENI": 2, "minAvailable": 0, "maxENIsPerNode": 1})
    for i in range(4):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(60)
    found = pool_condition(sim, Type.CAPACITY_AVAILABLE)
    assert (found.status, found.reason) == ("False", "NodeLimit")
    assert "pods wait on node n1" in found.message


def test_a_server_of_another_project_is_reported_and_gets_no_port() -> None:
    sim = Simulation()
    sim.cloud.servers.clear()
    sim.add_pool()
    sim.settle(60)
    found = pool_condition(sim, Type.CAPACITY_AVAILABLE)
    assert (found.status, found.reason) == ("False", "ServerNotFound")
    assert sim.cloud.ports == {}


def test_a_subnets_zone_must_match_the_nodes() -> None:
    sim = Simulation()
    sim.add_pool(subnets=[{"name": "pods", "zone": "az7"}])
    sim.settle(60)
    assert pool_condition(sim, Type.CAPACITY_AVAILABLE).reason == "InvalidSpec"
    assert "for the zone of node n1" in pool_condition(sim, Type.CAPACITY_AVAILABLE).message
    assert sim.enis() == []
    zone = "/metadata/labels/topology.kubernetes.io~1zone"
    sim.api.patch(NODES, "n1", operations=[{"op": "add", "path": zone, "value": "az7"}])
    sim.settle(60)
    assert len(sim.ready()) == 1


def test_subnets_of_both_families_make_a_dual_stack_port() -> None:
    sim = Simulation()
    sim.cloud.add_subnet(sim.network, "v6", "fd00:1::/64")
    sim.add_pool(subnets=[{"name": "v6"}, {"name": "pods"}])
    sim.settle(60)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    assert len(eni.status.port.primary) == 2
    assert len(eni.status.port.addresses) == 6
    assert sim.pool().status.address_counts.total == 3
