"""Names of Services in pods: CoreDNS on an address of openeni's, asked where the kubelet says."""

import re

import pytest

from openeni_lab.product import dns, workloads
from openeni_lab.product.connectivity import PodFacts
from openeni_lab.product.demonstration import Running
from openeni_testing.lab import running as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NAME = "web"
POOL = "veth"


@pytest.fixture
def named(running: Running, shared: set[str]) -> Running:
    """A Service in front of a pod on each node, and DNS on the same pool."""
    shared.update((POOL, NAME, dns.NAME, dns.SERVICE))
    running.api.apply([workloads.pool(POOL), workloads.service(NAME), *dns.objects(POOL)])
    lab.deploy(running, NAME, POOL, len(running.lab.layout.nodes))
    wait_for(lambda: dns.ready(running.api), "CoreDNS", lab.PATIENCE)

    def answered() -> bool:
        """Ready says that CoreDNS answers, not that kube-proxy on each node has heard of it."""
        pods = pod_of_each_node(running)
        return all(found(running, pod, NAME)[:1].isdigit() for pod in pods)

    wait_for(answered, "names resolve on every node", lab.PATIENCE)
    return running


def pod_of_each_node(running: Running) -> list[PodFacts]:
    pods = running.reach.pods(NAME)
    assert {pod.node for pod in pods} == {node.name for node in running.lab.layout.nodes}
    return pods


def found(running: Running, pod: PodFacts, name: str) -> str:
    """What the C library makes of a name in a pod: ping prints it before it sends anything."""
    printed = running.reach.in_pod(pod.name, ["ping", "-c", "1", "-W", "1", name])
    address = re.match(r"PING \S+ \((\S+)\)", printed)
    return address[1] if address else printed


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("web", "default/services/web"),
        ("web.default", "default/services/web"),
        ("web.default.svc.cluster.local", "default/services/web"),
        ("kubernetes.default", "default/services/kubernetes"),
        ("kube-dns.kube-system", "kube-system/services/kube-dns"),
    ],
)
def test_a_pod_finds_a_service_by_its_name(named: Running, name: str, service: str) -> None:
    address = named.api.request("GET", f"/api/v1/namespaces/{service}")["spec"]["clusterIP"]
    for pod in pod_of_each_node(named):
        assert found(named, pod, name) == address, pod.node


def test_a_pod_is_served_by_a_service_that_it_knows_by_name(named: Running) -> None:
    ask = ["sh", "-c", f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {NAME} 80"]
    pods = pod_of_each_node(named)
    for pod in pods:
        page = named.reach.in_pod(pod.name, ask).split()
        assert page[-1] in {server.name for server in pods}, pod.node


@pytest.mark.parametrize("name", ["no-such-service", "example.com"])
def test_a_name_that_nobody_has_is_not_found(named: Running, name: str) -> None:
    for pod in pod_of_each_node(named):
        assert "bad address" in found(named, pod, name), pod.node


def test_the_dns_servers_address_is_one_of_the_pools(named: Running) -> None:
    (pod,) = named.api.items(
        f"/api/v1/namespaces/{dns.NAMESPACE}/pods", labelSelector=f"k8s-app={dns.SERVICE}"
    )
    podips = lab.podips_on(named, lab.enis_of(named, POOL))
    assert [pod["status"]["podIP"]] in [lab.addresses_of(podip) for podip in podips]
