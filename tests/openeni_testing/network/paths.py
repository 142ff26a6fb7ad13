"""The paths that every mode must support, and the addresses that the peers must see.

One function for each path, numbered as in docs/datapath.md.
"""

from collections.abc import Callable
from typing import Final

from openeni_testing.network import neutron
from openeni_testing.network.node import LOCAL_DNS
from openeni_testing.network.topology import REMOTE, Topology

Path = Callable[[Topology, int], None]


def to_a_pod_of_the_same_eni(topology: Topology, family: int) -> None:
    _reach(topology, "a1", "a2", family)
    _reach(topology, "a2", "a1", family)


def to_a_pod_of_another_eni(topology: Topology, family: int) -> None:
    _reach(topology, "a1", "b1", family)
    _reach(topology, "b1", "a2", family)


def to_and_from_a_remote_vm(topology: Topology, family: int) -> None:
    pod, remote = topology.pods["a1"], REMOTE.addresses[family == 6]
    address = topology.of("a1", family)
    assert pod.namespace.ask(remote, 80) == ("remote", address)
    assert topology.remote.ask(address, 80) == ("a1", remote)
    assert pod.namespace.ping(remote)
    assert topology.remote.ping(address)
    seen = topology.remote.program("ip", "neigh", "show", address)
    assert pod.facts.eni.mac in seen


def to_and_from_a_pod_of_another_node(topology: Topology, family: int) -> None:
    _reach(topology, "a1", "c1", family)
    _reach(topology, "c1", "b1", family)


def to_the_gateway_and_beyond(topology: Topology, family: int) -> None:
    pod, address = topology.pods["a1"].namespace, topology.of("a1", family)
    outside = (neutron.OUTSIDE, neutron.OUTSIDE_6)[family == 6]
    assert pod.ping((neutron.GATEWAY, neutron.GATEWAY_6)[family == 6])
    assert pod.ask(outside, 80) == ("outside", address)
    assert topology.network.outside.ask(address, 80) == ("a1", outside)


def between_node_and_pod(topology: Topology, family: int) -> None:
    node, address = topology.node.namespace, _node_address(topology, family)
    for name in ("a1", "b1"):
        pod = topology.of(name, family)
        assert node.ask(pod, 80) == (name, address)
        assert node.ping(pod)
        assert topology.pods[name].namespace.ask(address, 10250) == ("node", pod)
        assert topology.pods[name].namespace.ping(address)


def to_a_service_with_a_remote_backend(topology: Topology, family: int) -> None:
    answer = topology.pods["a1"].namespace.ask(topology.service(0, family), 80)
    mode = topology.datapath.ipvlan_mode
    translated = mode in ("L2", "L3")  # replies reach the pod past the node's conntrack
    place = topology.pods["a1"].facts
    seen = place.eni.primary[family == 6] if translated else place.addresses[family == 6]
    assert answer == ("remote", seen)
    assert _serves(topology, "a1", 4, "c1", family)


def to_a_service_with_a_backend_on_the_same_eni(topology: Topology, family: int) -> None:
    assert _serves(topology, "a1", 2, "a2", family)


def to_a_service_with_itself_as_backend(topology: Topology, family: int) -> None:
    assert _serves(topology, "a1", 1, "a1", family)


def to_a_service_with_a_backend_on_another_eni(topology: Topology, family: int) -> None:
    assert _serves(topology, "a1", 3, "b1", family)
    assert _serves(topology, "b1", 2, "a2", family)


def from_the_node_to_a_service_with_a_local_pod(topology: Topology, family: int) -> None:
    for number, name in ((1, "a1"), (3, "b1")):
        answer = topology.node.namespace.ask(topology.service(number, family), 80)
        assert answer
        assert answer[0] == name


def from_outside_to_a_node_port(topology: Topology, family: int) -> None:
    port = 30000 + family
    topology.node.node_port(port, topology.of("a1", family))
    answer = topology.network.outside.ask(_node_address(topology, family), port)
    assert answer
    assert answer[0] == "a1"


def from_outside_to_a_node_port_that_keeps_the_client(topology: Topology, family: int) -> None:
    port = 30010 + family
    topology.node.node_port(port, topology.of("a1", family), local=True)
    answer = topology.network.outside.ask(_node_address(topology, family), port)
    assert answer == ("a1", (neutron.OUTSIDE, neutron.OUTSIDE_6)[family == 6])


def to_the_node_local_dns(topology: Topology, family: int) -> None:
    for name in ("a1", "b1"):
        assert topology.pods[name].namespace.ask(LOCAL_DNS, 53) == ("node", topology.of(name, 4))


def not_to_the_metadata_service(topology: Topology, family: int) -> None:
    assert topology.remote.ask(neutron.METADATA, 80) == ("fabric", REMOTE.addresses[0])
    assert topology.pods["a1"].namespace.ask(neutron.METADATA, 80) is None


PATHS: Final[dict[str, Path]] = {
    "1 pod to pod, same ENI": to_a_pod_of_the_same_eni,
    "2 pod to pod, other ENI": to_a_pod_of_another_eni,
    "3 remote VM": to_and_from_a_remote_vm,
    "3 remote pod": to_and_from_a_pod_of_another_node,
    "4 gateway": to_the_gateway_and_beyond,
    "5 node": between_node_and_pod,
    "6 ClusterIP, remote": to_a_service_with_a_remote_backend,
    "6 ClusterIP, same ENI": to_a_service_with_a_backend_on_the_same_eni,
    "6 ClusterIP, itself": to_a_service_with_itself_as_backend,
    "6 ClusterIP, other ENI": to_a_service_with_a_backend_on_another_eni,
    "7 node to ClusterIP": from_the_node_to_a_service_with_a_local_pod,
    "8 NodePort": from_outside_to_a_node_port,
    "8 NodePort, Local": from_outside_to_a_node_port_that_keeps_the_client,
    "9 node-local DNS": to_the_node_local_dns,
    "10 metadata service": not_to_the_metadata_service,
}
V4_ONLY: Final = frozenset({"9 node-local DNS", "10 metadata service"})


def _reach(topology: Topology, client: str, server: str, family: int) -> None:
    here, there = topology.of(client, family), topology.of(server, family)
    assert topology.pods[client].namespace.ask(there, 80) == (server, here)
    assert topology.pods[client].namespace.ping(there)


def _serves(topology: Topology, client: str, service: int, backend: str, family: int) -> bool:
    answer = topology.pods[client].namespace.ask(topology.service(service, family), 80)
    return bool(answer and answer[0] == backend)


def _node_address(topology: Topology, family: int) -> str:
    return (topology.node.address, topology.node.address_6)[family == 6]
