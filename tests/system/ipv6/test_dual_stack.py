"""Pods with an address of each IP family, in a cluster and on nodes that have IPv4 alone."""

from typing import Final

import pytest

from openeni_lab.hypervisor import network
from openeni_lab.product import connectivity, workloads
from openeni_lab.product.connectivity import Place
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import AGENT
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab import ipv6
from openeni_testing.lab.installed_lab import Kill

pytestmark = [pytest.mark.lab, pytest.mark.root]

NAME: Final = "dual"


@pytest.fixture
def dual(installed: InstalledLab, shared: set[str]) -> InstalledLab:
    """Deploy a pool with a subnet of each family, two pods on each node, and their Service."""
    shared.add(NAME)
    installed.api.apply([workloads.service(NAME)])
    ipv6.deploy(installed, NAME, ipv6.DUAL_STACK, lab.REPLICAS)
    return installed


def test_every_path_works_in_both_families_and_nothing_is_dropped_as_spoofed(
    dual: InstalledLab,
) -> None:
    before = dual.dropped()
    service = dual.api.request("GET", f"/api/v1/namespaces/default/services/{NAME}")
    pods, address = dual.reach.pods(NAME), service["spec"]["clusterIP"]
    in_v4 = connectivity.checks(pods, address, network.REMOTE_ADDRESS)
    assert ipv6.failures(dual, (*in_v4, *ipv6.paths_v6(dual, NAME))) == []
    assert dual.dropped_since(before) == {}


def test_pods_podips_enis_and_neutron_agree_on_both_addresses(dual: InstalledLab) -> None:
    lab.wait_until_all_agree(dual, NAME)
    for eni in lab.enis_of(dual, NAME):
        port = eni["status"]["port"]
        assert [":" in address for address in port["primary"]] == [False, True]
        assert sum(":" in address for address in port["addresses"]) == eni["spec"]["addressCount"]
        node = eni["status"]["node"]
        assert node["granted"] + node.get("available", 0) <= eni["spec"]["addressCount"]


def test_kubernetes_shows_both_addresses_though_its_nodes_have_one_family(
    dual: InstalledLab,
) -> None:
    """As docs/ipv6.md says."""
    podips = {p["metadata"]["name"]: p for p in dual.api.items(lab.PODIPS)}
    for pod in lab.wait_for_pods(dual, NAME, lab.REPLICAS):
        spec, status = podips[pod["metadata"]["name"]]["spec"], pod["status"]
        assert lab.pod_addresses(pod) == [spec["address"], spec["addressIPv6"]]
        assert status["podIP"] == spec["address"]
        assert [":" in ip["ip"] for ip in status["hostIPs"]] == [False]
        query = {"fieldSelector": f"spec.addressIPv6={spec['addressIPv6']}"}
        (found,) = dual.api.items(lab.PODIPS, **query)
        assert found["metadata"]["name"] == pod["metadata"]["name"]


def test_a_remote_vm_finds_a_pod_at_its_enis_mac(dual: InstalledLab) -> None:
    enis = {eni["metadata"]["name"]: eni for eni in lab.enis_of(dual, NAME)}
    for podip in lab.podips_on(dual, list(enis.values())):
        address = podip["spec"]["addressIPv6"]
        mac = enis[podip["spec"]["eniName"]]["status"]["port"]["macAddress"]
        dual.reach.out(Place.REMOTE, "", connectivity.curl(address))
        show = ["ip", "-6", "neighbour", "show", address]
        assert mac in dual.reach.out(Place.REMOTE, "", show)


def test_a_killed_agent_keeps_both_addresses_of_its_pods(dual: InstalledLab, kill: Kill) -> None:
    before = {pod.name: pod.addresses for pod in dual.reach.pods(NAME)}
    kill(AGENT, "n1")
    assert ipv6.failures(dual, ipv6.paths_v6(dual, NAME)) == []
    lab.wait_until_all_agree(dual, NAME)
    assert {pod.name: pod.addresses for pod in dual.reach.pods(NAME)} == before


def test_a_deleted_pool_leaves_nothing_of_either_family(installed: InstalledLab) -> None:
    ipv6.deploy(installed, "short", ipv6.DUAL_STACK, 2)
    enis = lab.enis_of(installed, "short")
    ports = {eni["status"]["port"]["id"] for eni in enis}
    devices = {eni["spec"]["nodeName"]: eni["status"]["node"]["device"] for eni in enis}
    installed.api.delete(f"{lab.DEPLOYMENTS}/short")
    installed.api.delete(f"{lab.POOLS}/short")
    lab.wait_until_gone(installed, "short")
    assert not ports & lab.neutron_ports(installed).keys()
    for node, device in devices.items():
        state = lab.kernel_state(installed.nodes[node])
        assert [line for line in state if device in line] == []


def test_a_network_with_slaac_is_refused_until_no_subnet_of_it_has_it(
    installed: InstalledLab,
) -> None:
    """The pools select no node: the lab has no bridge for this network."""
    names, nowhere = ("slaac", "plain"), {"matchLabels": {"no": "node"}}
    modes = ("--ipv6-ra-mode", "slaac", "--ipv6-address-mode", "slaac")
    of_subnet = {"slaac": ("fd00:93::/64", *modes), "plain": ("fd00:94::/64", "--no-dhcp")}
    create = ("subnet", "create", "--network", "slaac", "--ip-version", "6", "--subnet-range")
    lab.openstack(installed, "network", "create", "slaac")
    try:
        for name in names:
            lab.openstack(installed, *create, *of_subnet[name], name)
            pool = workloads.pool(f"on-{name}", subnets=[{"name": name}], nodeSelector=nowhere)
            installed.api.apply([pool])
        for name in names:
            refused = (f"on-{name}", "Supported", "False", "SLAACEnabled")
            message = lab.wait_for_condition(installed, *refused)
            assert "openstack subnet create --ip-version 6 --no-dhcp" in message
        lab.openstack(installed, "subnet", "delete", "slaac")
        lab.wait_for_condition(installed, "on-plain", "Supported", "True", "Supported")
    finally:
        lab.openstack(installed, "network", "delete", "slaac")
