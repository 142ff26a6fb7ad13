"""Names of Services resolve in pods, through CoreDNS on an address of openeni's."""

import re

import pytest

from openeni_lab.kubernetes import dns
from openeni_lab.product import workloads
from openeni_lab.product.connectivity import RunningPod
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NAME = "web"
POOL = "veth"
SERVICES = {
    "web": "default/services/web",
    "web.default": "default/services/web",
    "web.default.svc.cluster.local": "default/services/web",
    "kubernetes.default": "default/services/kubernetes",
    "kube-dns.kube-system": "kube-system/services/kube-dns",
}
OF_NOBODY = ("no-such-service", "example.com")
NOT_FOUND = "bad address"


@pytest.fixture
def named(installed: InstalledLab, shared: set[str]) -> InstalledLab:
    """Deploy a pod on each node, their Service, and DNS on the same pool."""
    shared.update((POOL, NAME, dns.NAME, dns.SERVICE))
    installed.api.apply([workloads.pool(POOL), workloads.service(NAME), *dns.objects(POOL)])
    lab.deploy(installed, NAME, POOL, len(installed.lab.layout.nodes))
    wait_for(lambda: dns.ready(installed.api), "CoreDNS", lab.PATIENCE)

    def answered() -> bool:
        """CoreDNS is ready before kube-proxy on each node knows its endpoint."""
        pods = pod_of_each_node(installed)
        return all(found(installed, pod, NAME)[NAME] != NOT_FOUND for pod in pods)

    wait_for(answered, "names resolve on every node", lab.PATIENCE)
    return installed


def pod_of_each_node(installed: InstalledLab) -> list[RunningPod]:
    pods = installed.reach.pods(NAME)
    assert {pod.node for pod in pods} == {node.name for node in installed.lab.layout.nodes}
    return pods


def found(installed: InstalledLab, pod: RunningPod, *names: str) -> dict[str, str]:
    """Resolve names in a pod with the C library: ping prints the address before it sends.

    Returns the address, or NOT_FOUND, of each name.
    """
    ask = ["sh", "-c", 'for name; do ping -c 1 -W 1 "$name" 2>&1 & done; wait', "sh", *names]
    printed = installed.reach.in_pod(pod.name, ask)
    addresses = dict(re.findall(r"PING (\S+) \((\S+)\)", printed))
    addresses |= dict.fromkeys(re.findall(rf"{NOT_FOUND} '(\S+)'", printed), NOT_FOUND)
    assert addresses.keys() == set(names), printed
    return addresses


def test_pods_find_services_by_their_names_and_no_others(named: InstalledLab) -> None:
    addresses = {
        name: named.api.request("GET", f"/api/v1/namespaces/{service}")["spec"]["clusterIP"]
        for name, service in SERVICES.items()
    }
    wanted = addresses | dict.fromkeys(OF_NOBODY, NOT_FOUND)
    for pod in pod_of_each_node(named):
        assert found(named, pod, *wanted) == wanted, pod.node


def test_a_pod_is_served_by_a_service_that_it_knows_by_name(named: InstalledLab) -> None:
    ask = ["sh", "-c", f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {NAME} 80"]
    pods = pod_of_each_node(named)
    for pod in pods:
        page = named.reach.in_pod(pod.name, ask).split()
        assert page[-1] in {server.name for server in pods}, pod.node


def test_the_dns_servers_address_is_one_of_the_pools(named: InstalledLab) -> None:
    (pod,) = named.api.items(
        f"/api/v1/namespaces/{dns.NAMESPACE}/pods", labelSelector=f"k8s-app={dns.SERVICE}"
    )
    podips = lab.podips_on(named, lab.enis_of(named, POOL))
    assert [pod["status"]["podIP"]] in [lab.addresses_of(podip) for podip in podips]
