"""Host ports with real packets: every transport and family, from everywhere, in every mode.

The cases of ipvlan run on a kernel that has it. Two pods have the same port of different addresses
of the node, and a third one that of another protocol, as in Kubernetes' conformance test.
"""

from collections.abc import Callable, Generator
from typing import Final

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network import neutron
from openeni_testing.network.attacks import datagram, received, sending
from openeni_testing.network.node import LOCAL_DNS, LOCAL_DNS_6
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.sctp import associate
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
WEB, DNS, TELEPHONY, SHARED, OTHERS = 8080, 8053, 8132, 54323, 6443
NODE = ("10.99.0.11", "fd99::11")
ENI = ("10.98.0.10", "fd98::10")
LOOPBACK: Final = ("127.0.0.1", "::1")
NODE_LOCAL_DNS: Final = (LOCAL_DNS, LOCAL_DNS_6)
OUTSIDE: Final = (neutron.OUTSIDE, neutron.OUTSIDE_6)
TCP, UDP, SCTP = Transport.TCP, Transport.UDP, Transport.SCTP
PORTS: Final = {
    "a1": (
        PortMapping(WEB, 80, TCP),
        PortMapping(DNS, 53, UDP),
        PortMapping(53, 80, TCP),
        PortMapping(TELEPHONY, 132, SCTP),
        *(PortMapping(SHARED, 80, TCP, address) for address in LOOPBACK),
        *(PortMapping(OTHERS, 53, UDP, address) for address in OUTSIDE),
    ),
    "a2": tuple(PortMapping(SHARED, 80, TCP, address) for address in NODE),
    "b1": tuple(PortMapping(SHARED, 53, UDP, address) for address in NODE),
}


@pytest.fixture(scope="module", params=MODES)
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    datapath: Datapath = request.param
    made = Topology(datapath, datapath.ipvlan_mode is not IPVlanMode.L3, PORTS)
    made.network.drop_invalid()
    for name in ("a1", "b1"):
        made.pods[name].namespace.answer(53)
    made.network.outside.answer(OTHERS)
    yield made
    made.close()


def of(addresses: tuple[str, str], family: int) -> str:
    return addresses[family == 6]


def from_another_host_whose_address_the_pod_sees(topology: Topology, family: int) -> None:
    outside = topology.network.outside
    assert outside.ask(of(NODE, family), WEB) == ("a1", of(OUTSIDE, family))
    answer = outside.ask_by_datagram(of(NODE, family), DNS)
    assert answer == ("a1", of(OUTSIDE, family))


def from_a_vm_of_the_pods_subnet(topology: Topology, family: int) -> None:
    assert name(topology.remote.ask(of(NODE, family), WEB)) == "a1"


def from_the_node(topology: Topology, family: int) -> None:
    node = topology.node.namespace
    assert node.ask(of(NODE, family), WEB) == ("a1", of(NODE, family))
    assert name(node.ask_by_datagram(of(NODE, family), DNS)) == "a1"


def from_the_nodes_loopback(topology: Topology, family: int) -> None:
    """IPv6 has no route_localnet: ::1 works from another address of the node alone."""
    node = topology.node.namespace
    source = of(("", NODE[1]), family)
    assert node.ask(of(LOOPBACK, family), WEB, source) == ("a1", of(NODE, family))
    assert name(node.ask_by_datagram(of(LOOPBACK, family), DNS, source)) == "a1"


def from_pods_of_the_node(topology: Topology, family: int) -> None:
    for pod in ("a2", "b1"):
        namespace = topology.pods[pod].namespace
        assert name(namespace.ask(of(NODE, family), WEB)) == "a1"
        assert name(namespace.ask_by_datagram(of(NODE, family), DNS)) == "a1"


def from_the_pod_itself(topology: Topology, family: int) -> None:
    namespace = topology.pods["a1"].namespace
    assert name(namespace.ask(of(NODE, family), WEB)) == "a1"
    assert name(namespace.ask_by_datagram(of(NODE, family), DNS)) == "a1"


def from_a_pod_of_another_node(topology: Topology, family: int) -> None:
    assert name(topology.pods["c1"].namespace.ask(of(NODE, family), WEB)) == "a1"


def to_three_pods_with_one_port(topology: Topology, family: int) -> None:
    node, address = topology.node.namespace, of(NODE, family)
    assert name(node.ask(of(LOOPBACK, family), SHARED, address)) == "a1"
    assert name(node.ask(address, SHARED)) == "a2"
    assert name(node.ask_by_datagram(address, SHARED)) == "b1"
    outside = topology.network.outside
    assert name(outside.ask(address, SHARED)) == "a2"
    assert name(outside.ask_by_datagram(address, SHARED)) == "b1"


def over_sctp(topology: Topology, family: int) -> None:
    pod = topology.pods["a1"].namespace
    begun = associate(topology.network.outside, pod, of(NODE, family), TELEPHONY)
    assert begun
    init, answer = begun
    assert (init.source, init.port) == (of(OUTSIDE, family), 132)
    assert (answer.source, answer.source_port) == (of(NODE, family), TELEPHONY)


def not_at_the_primary_address_of_an_eni(topology: Topology, family: int) -> None:
    """The replies of another ENI's pods would leave by the wrong one, with its address."""
    assert topology.remote.ask(of(ENI, family), 80) is None
    assert topology.remote.ask(of(ENI, family), WEB) is None


def not_at_the_address_of_a_node_local_dns(topology: Topology, family: int) -> None:
    """A pod with port 53 would answer all names for the node and its pods."""
    for client in (topology.node.namespace, *(topology.pods[p].namespace for p in ("a2", "b1"))):
        assert name(client.ask(of(NODE_LOCAL_DNS, family), 53)) == "node"


def not_at_an_address_that_is_not_the_nodes(topology: Topology, family: int) -> None:
    """A pod that names the address of somebody else gets nothing of what is for them."""
    for client in (topology.node.namespace, *(topology.pods[p].namespace for p in ("a2", "b1"))):
        answer = client.ask_by_datagram(of(OUTSIDE, family), OTHERS)
        assert name(answer) == topology.network.outside.name


PATHS: Final[dict[str, Callable[[Topology, int], None]]] = {
    made.__name__.replace("_", " "): made
    for made in (
        from_another_host_whose_address_the_pod_sees,
        from_a_vm_of_the_pods_subnet,
        from_the_node,
        from_the_nodes_loopback,
        from_pods_of_the_node,
        from_the_pod_itself,
        from_a_pod_of_another_node,
        to_three_pods_with_one_port,
        over_sctp,
        not_at_the_primary_address_of_an_eni,
        not_at_the_address_of_a_node_local_dns,
        not_at_an_address_that_is_not_the_nodes,
    )
}


@pytest.mark.parametrize("path", PATHS)
def test_packets_to_a_host_port_arrive_and_none_is_spoofed(topology: Topology, path: str) -> None:
    for family in topology.families:
        PATHS[path](topology, family)
        assert topology.network.dropped() == {}


@pytest.mark.parametrize("pod", PORTS)
def test_the_pods_are_as_planned_after_all_that(topology: Topology, pod: str) -> None:
    facts, path = topology.pods[pod].facts, topology.pods[pod].namespace.path
    assert topology.node.run(topology.node.datapath.check, facts, path) == ()


@pytest.mark.parametrize("attacker", ["pod", "machine"])
def test_nothing_from_a_pod_or_a_machine_reaches_the_nodes_loopback(
    topology: Topology, attacker: str
) -> None:
    """The links have route_localnet: without our filters a service on 127.0.0.1 would be open."""
    pod = topology.pods["a1"]
    sender, mac, source = {
        "pod": (pod.namespace, pod.pod_network.pod_mac, pod.address),
        "machine": (topology.remote, REMOTE.mac, REMOTE.addresses[0]),
    }[attacker]
    to = pod.pod_network.host_mac if attacker == "pod" else pod.facts.eni.mac
    attack = sending(sender, "eth0", datagram(source, LOOPBACK[0], (mac, to)))
    node = topology.node.namespace
    assert received(sender, attack, NODE[0], node, bound="0.0.0.0") == []  # noqa: S104 - a test


def name(answer: tuple[str, str] | None) -> str:
    """Return who has answered, "" for nobody."""
    return answer[0] if answer else ""
