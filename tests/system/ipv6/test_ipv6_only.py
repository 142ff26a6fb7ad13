"""Pods with IPv6 alone, in a cluster and on nodes that have IPv4 alone: what works, and what not.

docs/ipv6.md says the same to users.
"""

from typing import Final

import pytest

from openeni_lab.kubernetes.api import ApiError
from openeni_lab.product import workloads
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab import ipv6
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NAME: Final = "six"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


@pytest.fixture
def six(installed: InstalledLab, shared: set[str]) -> InstalledLab:
    """Deploy a pool with an IPv6 subnet, and two pods on each node."""
    shared.add(NAME)
    ipv6.deploy(installed, NAME, ipv6.IPV6_ONLY, lab.REPLICAS)
    return installed


def test_every_path_without_the_node_in_between_works(six: InstalledLab) -> None:
    before = six.dropped()
    assert ipv6.failures(six, ipv6.paths_v6(six, NAME)) == []
    assert six.dropped_since(before) == {}


def test_a_pods_only_address_is_its_podip_and_is_probed(six: InstalledLab) -> None:
    """They are ready: their kubelet has probed them, from their ENI's primary address."""
    for pod in lab.wait_for_pods(six, NAME, lab.REPLICAS):
        assert lab.pod_addresses(pod) == [pod["status"]["podIP"]]
        assert ":" in pod["status"]["podIP"]
    lab.wait_until_all_agree(six, NAME)
    for eni in lab.enis_of(six, NAME):
        port = eni["status"]["port"]
        assert all(":" in address for address in (*port["primary"], *port["addresses"]))
        assert len(port["addresses"]) == eni["spec"]["addressCount"]


def test_the_api_server_reaches_the_pods_through_their_kubelets(six: InstalledLab) -> None:
    for pod in six.reach.pods(NAME):
        assert six.reach.in_pod(pod.name, ["hostname"]).strip() == pod.name


def test_the_pods_are_in_no_service_of_an_ipv4_cluster(six: InstalledLab) -> None:
    six.api.apply([workloads.service(NAME)])

    def known() -> bool:
        label = f"kubernetes.io/service-name={NAME}"
        found = six.api.items(SLICES, labelSelector=label)
        assert [(one["addressType"], one.get("endpoints")) for one in found] == [("IPv4", None)]
        return True

    wait_for(known, "a slice without endpoints", lab.PATIENCE)
    wanted = workloads.service("of-ipv6")
    wanted["spec"] |= {"selector": {"app": NAME}, "ipFamilies": ["IPv6"]}
    with pytest.raises(ApiError, match=r"ipFamilies.*not configured on this cluster"):
        six.api.apply([wanted])


def test_the_pods_reach_no_ipv4_address(six: InstalledLab) -> None:
    """Neither Services nor the cluster's DNS: an administrator gives them another one."""
    pod = six.reach.pods(NAME)[0]
    said = six.reach.in_pod(pod.name, ["ping", "-c", "1", "-W", "2", pod.node_address])
    assert "unreachable" in said.lower()
