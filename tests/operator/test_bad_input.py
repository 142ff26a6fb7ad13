"""What an administrator can get wrong: one clear line each, no ENI made, and recovery by itself."""

from collections.abc import Callable
from typing import Any

import pytest

from openeni_crds.conditions import Condition, Type, find
from openeni_crds.names import ENI, LABEL_VETH, NODE
from openeni_operator.cloud.errors import (
    CloudError,
    CloudNotConfiguredError,
    CloudUnreachableError,
    CredentialsInvalidError,
)
from openeni_testing.controller.simulation import Simulation

Change = Callable[[Simulation], object]


def said(sim: Simulation, type_: Type, pool: str = "pods") -> Condition:
    found = find(sim.pool(pool).status.conditions, type_)
    assert found is not None
    return found


def label(sim: Simulation, node: str, value: str) -> None:
    path = "/metadata/labels/" + LABEL_VETH.replace("/", "~1")
    sim.api.patch(NODE, node, [{"op": "add", "path": path, "value": value}])


def add_nope(sim: Simulation) -> None:
    sim.cloud.add_subnet(sim.network, "nope", "10.97.0.0/24")
    sim.cloud.add_group("nope")


def one_of_two_goes(sim: Simulation) -> None:
    del sim.cloud.subnets[sim.cloud.find_subnets("twice")[1].id]


def dhcp_off(sim: Simulation) -> None:
    old = sim.cloud.find_subnets("dhcp")[0]
    del sim.cloud.subnets[old.id]
    sim.cloud.add_subnet(sim.cloud.networks[old.network_id], "dhcp", old.cidr)


def bigger_mtu(sim: Simulation) -> None:
    found = sim.cloud.networks[sim.network.id]
    sim.cloud.networks[found.id] = type(found)(found.id, found.name, 9000)


@pytest.mark.parametrize(
    ("spec", "change", "type_", "reason", "words"),
    [
        pytest.param(
            {"subnets": [{"subnet": "pods"}, {"subnet": "nope"}]},
            add_nope,
            Type.READY,
            "NotFound",
            "spec.subnets[1].subnet: cloud 'default' has no subnet 'nope'",
            id="unknown subnet",
        ),
        pytest.param(
            {"subnets": [{"subnet": "twice"}]},
            one_of_two_goes,
            Type.READY,
            "AmbiguousName",
            "spec.subnets[0].subnet: 2 subnets are called 'twice'; give the id of one: subnet-",
            id="ambiguous subnet",
        ),
        pytest.param(
            {"securityGroups": ["pods", "nope"]},
            add_nope,
            Type.READY,
            "NotFound",
            "spec.securityGroups[1]: cloud 'default' has no security group 'nope'",
            id="unknown security group",
        ),
        pytest.param(
            {"subnets": [{"subnet": "dhcp"}]},
            dhcp_off,
            Type.SUPPORTED,
            "DHCPEnabled",
            "spec.subnets[0].subnet: subnet 'dhcp' has DHCP on",
            id="DHCP",
        ),
        pytest.param(
            {"datapath": {"mode": "Veth", "mtu": 9000}},
            bigger_mtu,
            Type.READY,
            "InvalidSpec",
            "spec.datapath.mtu: 9000 is more than the network's 1450",
            id="MTU",
        ),
    ],
)
def test_a_pool_that_cannot_be_served_says_why_and_recovers(
    spec: dict[str, Any], change: Change, type_: Type, reason: str, words: str
) -> None:
    sim = Simulation()
    other = sim.cloud.add_network("other")
    for name in ("twice", "twice"):
        sim.cloud.add_subnet(other, name, "10.90.0.0/24")
    sim.cloud.add_subnet(sim.cloud.add_network("dhcp"), "dhcp", "10.91.0.0/24", dhcp=True)
    sim.add_pool(**spec)
    sim.settle(20)
    told = said(sim, type_)
    assert (told.status, told.reason) == ("False", reason)
    assert words in told.message
    assert said(sim, Type.READY).status == "False"
    assert sim.api.list(ENI).items == ()
    change(sim)
    sim.settle(100)
    assert len(sim.ready()) == 1
    assert said(sim, type_).status == "True"


def test_a_slaac_subnet_anywhere_on_the_network_is_refused() -> None:
    sim = Simulation()
    sim.cloud.add_subnet(sim.network, "v6", "fd00:1::/64", slaac=True)
    sim.add_pool()
    sim.settle(20)
    told = said(sim, Type.SUPPORTED)
    assert (told.status, told.reason) == ("False", "SLAACEnabled")
    assert sim.enis() == []


def test_subnets_of_different_networks_are_refused() -> None:
    sim = Simulation()
    sim.cloud.add_subnet(sim.cloud.add_network("b"), "b", "10.90.0.0/24")
    sim.add_pool(subnets=[{"subnet": "pods"}, {"subnet": "b"}])
    sim.settle(20)
    assert said(sim, Type.READY).reason == "SubnetsOfDifferentNetworks"


def test_elastic_growth_is_refused() -> None:
    sim = Simulation()
    sim.add_pool(capacity={"growth": "Elastic"})
    sim.settle(20)
    assert said(sim, Type.SUPPORTED).reason == "GrowthUnsupported"
    assert sim.enis() == []


@pytest.mark.parametrize(
    "error",
    [
        CloudNotConfiguredError("clouds.yaml: no such file; put a clouds.yaml there"),
        CredentialsInvalidError("cloud 'default' refuses the credentials"),
        CloudUnreachableError("no answer from cloud 'default'"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_cloud_that_cannot_be_used_is_told_and_got_over(error: CloudError) -> None:
    sim = Simulation()
    sim.cloud.down = error
    sim.add_pool()
    sim.settle(60)
    told = said(sim, Type.CLOUD_REACHABLE)
    assert (told.status, told.reason, told.message) == ("False", error.reason, error.message)
    assert said(sim, Type.READY).reason == error.reason
    assert said(sim, Type.SUPPORTED).status == "Unknown"
    assert sim.enis() == []
    sim.cloud.down = None
    sim.settle(60)
    assert len(sim.ready()) == 1
    assert said(sim, Type.READY).status == "True"


def test_a_kernel_without_the_mode_is_told_and_other_nodes_go_on() -> None:
    sim = Simulation(nodes=2)
    label(sim, "n1", "false")
    sim.add_pool()
    sim.settle(60)
    told = said(sim, Type.SUPPORTED)
    assert (told.status, told.reason) == ("False", "ModeUnsupported")
    assert "node n1 lacks Veth" in told.message
    assert [e.spec.node_name for e in sim.enis()] == ["n2"]
    assert said(sim, Type.READY).status == "True"
    label(sim, "n1", "true")
    sim.settle(60)
    assert len(sim.ready()) == 2
    assert said(sim, Type.SUPPORTED).status == "True"


def test_a_node_without_an_agent_is_waited_for() -> None:
    sim = Simulation(nodes=0)
    sim.add_node("n9", veth="")
    sim.add_pool()
    sim.settle(60)
    told = said(sim, Type.READY)
    assert (told.reason, told.message) == (
        "WaitingForNodes",
        "waiting for the openeni agent on node n9",
    )
    assert sim.enis() == []


def test_a_second_default_pool_is_told_and_gets_no_eni() -> None:
    sim = Simulation()
    sim.add_pool("a")
    sim.settle(60)
    sim.add_pool("b")
    sim.settle(60)
    told = said(sim, Type.READY, "b")
    assert told.reason == "DuplicateDefault"
    assert "pool 'a' is the Default one already" in told.message
    assert {e.spec.pool for e in sim.enis()} == {"a"}


def test_a_used_up_quota_is_told_with_what_to_do_and_got_over() -> None:
    sim = Simulation(nodes=2)
    sim.cloud.quota = 1
    sim.add_pool()
    sim.settle(120)
    told = said(sim, Type.CAPACITY_AVAILABLE)
    assert (told.status, told.reason) == ("False", "QuotaExceeded")
    assert "ENI pods-" in told.message
    assert "(the project may have 1)" in told.message
    assert said(sim, Type.READY).status == "True", "one node is served"
    sim.cloud.quota = 9
    sim.settle(120)
    assert len(sim.ready()) == 2
    assert said(sim, Type.CAPACITY_AVAILABLE).status == "True"


def test_an_exhausted_subnet_leads_to_the_next_one_of_the_pool() -> None:
    sim = Simulation()
    sim.cloud.add_subnet(sim.network, "tiny", "10.97.0.0/29")
    sim.add_pool(
        subnets=[{"subnet": "tiny"}, {"subnet": "pods"}],
        capacity={"addressesPerENI": 6, "minAvailable": 1},
    )
    sim.settle(60)
    (eni,) = sim.enis()
    assert eni.spec.subnets == (sim.subnet.id,)
    assert len(sim.ready()) == 1


def test_a_node_at_its_limit_is_told_while_pods_wait() -> None:
    sim = Simulation()
    sim.add_pool(capacity={"addressesPerENI": 2, "minAvailable": 0, "maxENIsPerNode": 1})
    for i in range(4):
        sim.add_pod(f"p{i}", "n1")
    sim.settle(60)
    told = said(sim, Type.CAPACITY_AVAILABLE)
    assert (told.status, told.reason) == ("False", "NodeLimit")
    assert "pods wait on node n1" in told.message


def test_a_server_of_another_project_is_told_and_no_port_is_made() -> None:
    sim = Simulation()
    sim.cloud.servers.clear()
    sim.add_pool()
    sim.settle(60)
    told = said(sim, Type.CAPACITY_AVAILABLE)
    assert (told.status, told.reason) == ("False", "ServerNotFound")
    assert sim.cloud.ports == {}


def test_zones_choose_subnets() -> None:
    sim = Simulation()
    sim.add_pool(subnets=[{"subnet": "pods", "zone": "az7"}])
    sim.settle(60)
    assert said(sim, Type.CAPACITY_AVAILABLE).reason == "InvalidSpec"
    assert "for the zone of node n1" in said(sim, Type.CAPACITY_AVAILABLE).message
    assert sim.enis() == []
    zone = "/metadata/labels/topology.kubernetes.io~1zone"
    sim.api.patch(NODE, "n1", [{"op": "add", "path": zone, "value": "az7"}])
    sim.settle(60)
    assert len(sim.ready()) == 1


def test_two_families_make_a_dual_stack_port() -> None:
    sim = Simulation()
    sim.cloud.add_subnet(sim.network, "v6", "fd00:1::/64")
    sim.add_pool(subnets=[{"subnet": "v6"}, {"subnet": "pods"}])
    sim.settle(60)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    assert len(eni.status.port.primary) == 2
    assert len(eni.status.port.addresses) == 6
    assert sim.pool().status.addresses.total == 3
