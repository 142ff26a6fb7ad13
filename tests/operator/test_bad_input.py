"""What an administrator can get wrong: one clear line each, no ENI made, and recovery by itself."""

from collections.abc import Callable
from typing import Any

import pytest

from openeni_crds.conditions import Condition, Type, find
from openeni_crds.names import ENIS, LABEL_VETH, NODES
from openeni_crds.terms import SubnetTerm
from openeni_operator.cloud.errors import (
    CloudError,
    CredentialsInvalidError,
    NotConfiguredError,
    UnreachableError,
)
from openeni_testing.controller.world import OperatorWorld

Change = Callable[[OperatorWorld], object]


def said(world: OperatorWorld, type_: Type, pool: str = "pods") -> Condition:
    found = find(world.pool(pool).status.conditions, type_)
    assert found is not None
    return found


def label(world: OperatorWorld, node: str, value: str) -> None:
    path = "/metadata/labels/" + LABEL_VETH.replace("/", "~1")
    world.api.patch(NODES, node, [{"op": "add", "path": path, "value": value}])


def add_nope(world: OperatorWorld) -> None:
    world.cloud.add_subnet(world.network, "nope", "10.97.0.0/24")
    world.cloud.add_group("nope")


def one_of_two_goes(world: OperatorWorld) -> None:
    del world.cloud.subnets[world.cloud.find_subnets(SubnetTerm(name="twice"))[1].id]


def dhcp_off(world: OperatorWorld) -> None:
    old = world.cloud.find_subnets(SubnetTerm(name="dhcp"))[0]
    del world.cloud.subnets[old.id]
    world.cloud.add_subnet(world.cloud.networks[old.network_id], "dhcp", old.cidr)


def bigger_mtu(world: OperatorWorld) -> None:
    found = world.cloud.networks[world.network.id]
    world.cloud.networks[found.id] = type(found)(found.id, found.name, 9000)


@pytest.mark.parametrize(
    ("spec", "change", "type_", "reason", "words"),
    [
        pytest.param(
            {"subnets": [{"name": "pods"}, {"name": "nope"}]},
            add_nope,
            Type.READY,
            "NotFound",
            "spec.subnets[1]: cloud 'default' has no subnet with the name 'nope'",
            id="unknown subnet",
        ),
        pytest.param(
            {"subnets": [{"name": "twice"}]},
            one_of_two_goes,
            Type.READY,
            "AmbiguousName",
            "spec.subnets[0]: 2 subnets have the name 'twice'; give the id of one: subnet-",
            id="ambiguous subnet",
        ),
        pytest.param(
            {"securityGroups": [{"name": "pods"}, {"name": "nope"}]},
            add_nope,
            Type.READY,
            "NotFound",
            "spec.securityGroups[1]: cloud 'default' has no security group with the name 'nope'",
            id="unknown security group",
        ),
        pytest.param(
            {"subnets": [{"name": "dhcp"}]},
            dhcp_off,
            Type.SUPPORTED,
            "DHCPEnabled",
            "spec.subnets[0]: subnet 'dhcp' has DHCP on",
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
    world = OperatorWorld()
    other = world.cloud.add_network("other")
    for name in ("twice", "twice"):
        world.cloud.add_subnet(other, name, "10.90.0.0/24")
    world.cloud.add_subnet(world.cloud.add_network("dhcp"), "dhcp", "10.91.0.0/24", dhcp=True)
    world.add_pool(**spec)
    world.settle(20)
    told = said(world, type_)
    assert (told.status, told.reason) == ("False", reason)
    assert words in told.message
    assert said(world, Type.READY).status == "False"
    assert world.api.list(ENIS).items == ()
    change(world)
    world.settle(100)
    assert len(world.ready()) == 1
    assert said(world, type_).status == "True"


def test_a_slaac_subnet_anywhere_on_the_network_is_refused() -> None:
    world = OperatorWorld()
    world.cloud.add_subnet(world.network, "v6", "fd00:1::/64", slaac=True)
    world.add_pool()
    world.settle(20)
    told = said(world, Type.SUPPORTED)
    assert (told.status, told.reason) == ("False", "SLAACEnabled")
    assert world.enis() == []


def test_subnets_of_different_networks_are_refused() -> None:
    world = OperatorWorld()
    world.cloud.add_subnet(world.cloud.add_network("b"), "b", "10.90.0.0/24")
    world.add_pool(subnets=[{"name": "pods"}, {"name": "b"}])
    world.settle(20)
    assert said(world, Type.READY).reason == "SubnetsOfDifferentNetworks"


@pytest.mark.parametrize(
    "error",
    [
        NotConfiguredError("clouds.yaml: no such file; put a clouds.yaml there"),
        CredentialsInvalidError("cloud 'default' refuses the credentials"),
        UnreachableError("no answer from cloud 'default'"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_cloud_that_cannot_be_used_is_told_and_got_over(error: CloudError) -> None:
    world = OperatorWorld()
    world.cloud.down = error
    world.add_pool()
    world.settle(60)
    told = said(world, Type.CLOUD_REACHABLE)
    assert (told.status, told.reason, told.message) == ("False", error.reason, error.message)
    assert said(world, Type.READY).reason == error.reason
    assert said(world, Type.SUPPORTED).status == "Unknown"
    assert world.enis() == []
    world.cloud.down = None
    world.settle(60)
    assert len(world.ready()) == 1
    assert said(world, Type.READY).status == "True"


def test_a_kernel_without_the_mode_is_told_and_other_nodes_go_on() -> None:
    world = OperatorWorld(nodes=2)
    label(world, "n1", "false")
    world.add_pool()
    world.settle(60)
    told = said(world, Type.SUPPORTED)
    assert (told.status, told.reason) == ("False", "ModeUnsupported")
    assert "node n1 lacks Veth" in told.message
    assert [e.spec.node_name for e in world.enis()] == ["n2"]
    assert said(world, Type.READY).status == "True"
    label(world, "n1", "true")
    world.settle(60)
    assert len(world.ready()) == 2
    assert said(world, Type.SUPPORTED).status == "True"


def test_a_node_without_an_agent_is_waited_for() -> None:
    world = OperatorWorld(nodes=0)
    world.add_node("n9", veth="")
    world.add_pool()
    world.settle(60)
    told = said(world, Type.READY)
    assert (told.reason, told.message) == (
        "WaitingForNodes",
        "waiting for the openeni agent on node n9",
    )
    assert world.enis() == []


def test_a_used_up_quota_is_told_with_what_to_do_and_got_over() -> None:
    world = OperatorWorld(nodes=2)
    world.cloud.quota = 1
    world.add_pool()
    world.settle(120)
    told = said(world, Type.CAPACITY_AVAILABLE)
    assert (told.status, told.reason) == ("False", "QuotaExceeded")
    assert "ENI pods-" in told.message
    assert "(the project may have 1)" in told.message
    assert said(world, Type.READY).status == "True", "one node is served"
    world.cloud.quota = 9
    world.settle(120)
    assert len(world.ready()) == 2
    assert said(world, Type.CAPACITY_AVAILABLE).status == "True"


def test_an_exhausted_subnet_leads_to_the_next_one_of_the_pool() -> None:
    world = OperatorWorld()
    world.cloud.add_subnet(world.network, "tiny", "10.97.0.0/29")
    world.add_pool(
        subnets=[{"name": "tiny"}, {"name": "pods"}],
        capacity={"addressesPerENI": 6, "minAvailable": 1},
    )
    world.settle(60)
    (eni,) = world.enis()
    assert eni.spec.subnet_ids == (world.subnet.id,)
    assert len(world.ready()) == 1


def test_a_node_at_its_limit_is_told_while_pods_wait() -> None:
    world = OperatorWorld()
    world.add_pool(capacity={"addressesPerENI": 2, "minAvailable": 0, "maxENIsPerNode": 1})
    for i in range(4):
        world.add_pod(f"p{i}", "n1")
    world.settle(60)
    told = said(world, Type.CAPACITY_AVAILABLE)
    assert (told.status, told.reason) == ("False", "NodeLimit")
    assert "pods wait on node n1" in told.message


def test_a_server_of_another_project_is_told_and_no_port_is_made() -> None:
    world = OperatorWorld()
    world.cloud.servers.clear()
    world.add_pool()
    world.settle(60)
    told = said(world, Type.CAPACITY_AVAILABLE)
    assert (told.status, told.reason) == ("False", "ServerNotFound")
    assert world.cloud.ports == {}


def test_zones_choose_subnets() -> None:
    world = OperatorWorld()
    world.add_pool(subnets=[{"name": "pods", "zone": "az7"}])
    world.settle(60)
    assert said(world, Type.CAPACITY_AVAILABLE).reason == "InvalidSpec"
    assert "for the zone of node n1" in said(world, Type.CAPACITY_AVAILABLE).message
    assert world.enis() == []
    zone = "/metadata/labels/topology.kubernetes.io~1zone"
    world.api.patch(NODES, "n1", [{"op": "add", "path": zone, "value": "az7"}])
    world.settle(60)
    assert len(world.ready()) == 1


def test_two_families_make_a_dual_stack_port() -> None:
    world = OperatorWorld()
    world.cloud.add_subnet(world.network, "v6", "fd00:1::/64")
    world.add_pool(subnets=[{"name": "v6"}, {"name": "pods"}])
    world.settle(60)
    (eni,) = world.enis()
    assert eni.status.port is not None
    assert len(eni.status.port.primary) == 2
    assert len(eni.status.port.addresses) == 6
    assert world.pool().status.address_counts.total == 3
