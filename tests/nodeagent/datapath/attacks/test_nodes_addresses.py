"""A node's addresses are its own port's: nobody reaches them, or its host ports, by an ENI's MAC.

Nor does anybody but the node reach what a pod serves at 127.0.0.1 and ::1, or the metadata service
through a port of the node.
"""

import socket
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Final

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_nodeagent.datapath.linux.conntrack import flush
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network.attacks import (
    DISCARD,
    datagram,
    datagram_without_length,
    on_one_processor,
    received,
    send_datagram,
    sending,
)
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import GATEWAY, METADATA, Port
from openeni_testing.network.node import LOCAL_DNS
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
HOST_PORT, OF_LOOPBACK, NODE_PORT = 8053, 8099, 30080
NODE: Final = {4: "10.99.0.11", 6: "fd99::11"}
LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}
LINK_LOCAL: Final = "fe80::f816:3eff:fe98:a"  # of the ENI
EVERY: Final = "0.0.0.0"  # noqa: S104 - a socket of a test
PORTS: Final = {
    "a1": (
        PortMapping(HOST_PORT, DISCARD, Transport.UDP),
        *(PortMapping(OF_LOOPBACK, DISCARD, Transport.UDP, one) for one in LOOPBACK.values()),
    )
}
CLUSTER_IP: Final = {4: "10.96.0.10", 6: "fd96::10"}
# A machine of the nodes' network: the other node, and the MAC of this one.
OTHER = Port("node12", "fa:16:3e:99:00:0c", ("10.99.0.12", "fd99::12"))
NODE_MAC: Final = "fa:16:3e:99:00:0b"


@pytest.fixture(scope="module", params=MODES)
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    datapath: Datapath = request.param
    made = Topology(datapath, datapath.ipvlan_mode is not IPVlanMode.L3, PORTS)
    yield made
    made.close()


def arrived(
    topology: Topology, sender: Namespace, frame: bytes, family: int, *, at_node: bool = False
) -> list[str]:
    """Return from where the pod, or the node itself, gets a datagram while a frame is sent."""
    listener, honest = topology.pods["a1"].namespace, topology.of("a1", family)
    if at_node:
        listener, honest = topology.node.namespace, NODE[family]
    return received(sender, sending(sender, "eth0", frame), honest, listener)


def by_the_eni(topology: Topology, target: str, port: int) -> bytes:
    """Return what a machine of the pods' network sends to the ENI's MAC."""
    source = REMOTE.addresses[":" in target]
    macs = REMOTE.mac, topology.pods["a1"].facts.eni.mac
    return datagram(source, target, macs, (4000, port))


@pytest.mark.parametrize(("at_node", "port"), [(False, HOST_PORT), (True, DISCARD)])
def test_the_nodes_address_is_not_reached_by_the_enis_mac(
    topology: Topology, at_node: bool, port: int
) -> None:
    for family in topology.families:
        frame = by_the_eni(topology, NODE[family], port)
        assert arrived(topology, topology.remote, frame, family, at_node=at_node) == []
    assert topology.network.dropped() == {}


def test_nor_is_the_primary_address_of_another_eni(topology: Topology) -> None:
    """What answers there would leave by that ENI, or with its address by this one."""
    for family in topology.families:
        theirs = topology.pods["b1"].facts.eni.primary[family == 6]
        attack = sending(topology.remote, "eth0", by_the_eni(topology, theirs, DISCARD))
        assert received(topology.remote, attack, theirs, topology.node.namespace) == []


@pytest.mark.parametrize(
    "target", ["255.255.255.255", "224.0.0.1", "10.99.0.255", "ff02::1", "fd99::"]
)
def test_a_group_is_no_way_to_the_node_either(topology: Topology, target: str) -> None:
    """To its sockets that are bound to no address."""
    if (family := 6 if ":" in target else 4) not in topology.families:
        return
    frame = by_the_eni(topology, target, DISCARD)
    attack = sending(topology.remote, "eth0", frame)
    honest = topology.pods["a1"].facts.eni.primary[family == 6]
    listener, every = topology.node.namespace, "::" if family == 6 else EVERY
    assert received(topology.remote, attack, honest, listener, bound=every) == []


@pytest.fixture
def service(topology: Topology) -> Generator[None]:
    """A service of a program of the node, also at port NODE_PORT of an ENI's primary address."""
    node, primaries = topology.node.namespace, topology.pods["a1"].facts.eni.primary
    rules = "".join(
        f"{word} daddr {CLUSTER_IP[family]} udp dport {DISCARD} dnat {word} to {NODE[family]}\n"
        f"{word} daddr {primaries[family == 6]} udp dport {NODE_PORT} "
        f"dnat {word} to {'[' * (family == 6)}{NODE[family]}{']' * (family == 6)}:{DISCARD}\n"
        for word, family in (("ip", 4), ("ip6", 6))[: len(topology.families)]
    )
    node.nft(
        f"""table inet theirs {{
          chain prerouting {{ type nat hook prerouting priority dstnat; {rules} }}
          chain output {{ type nat hook output priority -100; {rules} }}
        }}"""
    )
    yield
    node.nft("delete table inet theirs")


@pytest.mark.usefixtures("service")
def test_nor_through_a_service(topology: Topology) -> None:
    """Its address is nobody's when the packet comes, and the node's once it is translated."""
    for family in topology.families:
        frame = by_the_eni(topology, CLUSTER_IP[family], DISCARD)
        assert arrived(topology, topology.remote, frame, family, at_node=True) == []


@pytest.mark.usefixtures("service")
def test_a_node_port_at_an_enis_address_leads_to_the_node(topology: Topology) -> None:
    for family in topology.families:
        source = REMOTE.addresses[family == 6]
        frame = by_the_eni(topology, topology.pods["a1"].facts.eni.primary[family == 6], NODE_PORT)
        assert arrived(topology, topology.remote, frame, family, at_node=True) == [source]


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("client", ["a1", "b1"])
def test_pods_reach_the_node_through_a_service(topology: Topology, client: str) -> None:
    pod, node = topology.pods[client].namespace, topology.node.namespace
    for family in topology.families:
        ask = asking(pod, CLUSTER_IP[family])
        assert len(received(pod, ask, NODE[family], node)) == 1


def asking(pod: Namespace, service: str) -> Callable[[], None]:
    return lambda: pod.run(send_datagram, service, b"openeni")


def test_what_conntrack_calls_invalid_does_not_reach_the_node(topology: Topology) -> None:
    """So no chain of NAT sees it, also if it is for the address of another ENI."""
    if 6 not in topology.families:
        return
    node, remote = topology.node.namespace, topology.remote
    macs = REMOTE.mac, topology.pods["a1"].facts.eni.mac
    of_another = topology.pods["b1"].facts.eni.primary[1]
    for address in (NODE[6], of_another):
        frame = datagram_without_length(REMOTE.addresses[1], address, macs, (4000, DISCARD))
        assert received(remote, sending(remote, "eth0", frame), address, node) == []


def test_an_address_that_is_not_tracked_is_not_reached_by_the_enis_mac(topology: Topology) -> None:
    """As node-local-dns has it, for speed."""
    node = topology.node.namespace
    node.nft(
        f"""table ip theirs {{
          chain prerouting {{ type filter hook prerouting priority raw;
            ip daddr {LOCAL_DNS} notrack; }}
        }}"""
    )
    pod = topology.pods["a1"]
    topology.remote.run(on_one_processor)  # so that what the pod sends comes later
    attack = sending(topology.remote, "eth0", by_the_eni(topology, LOCAL_DNS, DISCARD))
    assert received(pod.namespace, attack, LOCAL_DNS, node) == []
    node.nft("delete table ip theirs")


def test_another_enis_address_is_not_reached_by_what_conntrack_does_not_know(
    topology: Topology,
) -> None:
    node, remote = topology.node.namespace, topology.remote
    node.nft(
        f"""table inet theirs {{
          chain prerouting {{ type filter hook prerouting priority raw;
            udp dport {DISCARD} notrack; }}
        }}"""
    )
    for family in topology.families:
        address = topology.pods["b1"].facts.eni.primary[family == 6]
        attack = sending(remote, "eth0", by_the_eni(topology, address, DISCARD))
        assert received(remote, attack, address, node) == []
    node.nft("delete table inet theirs")


def test_the_enis_link_local_address_has_no_host_ports(topology: Topology) -> None:
    """The pod's answer would leave by the node's own NIC, with that address."""
    if 6 not in topology.families:
        return
    frame = by_the_eni(topology, LINK_LOCAL, HOST_PORT)
    assert arrived(topology, topology.remote, frame, 6) == []


def test_the_network_does_not_reach_a_host_port_of_the_nodes_loopback(topology: Topology) -> None:
    by_its_own_port = datagram(
        OTHER.addresses[0], LOOPBACK[4], (OTHER.mac, NODE_MAC), (4000, OF_LOOPBACK)
    )
    assert arrived(topology, topology.other.namespace, by_its_own_port, 4) == []
    frame = by_the_eni(topology, LOOPBACK[4], OF_LOOPBACK)
    assert arrived(topology, topology.remote, frame, 4) == []
    assert topology.network.dropped() == {}


@pytest.mark.parametrize("attacker", ["a2", "b1"])
def test_pods_do_not_reach_a_host_port_of_the_nodes_loopback(
    topology: Topology, attacker: str
) -> None:
    pod = topology.pods[attacker]
    own = pod.facts.eni.mac if pod.facts.eni.datapath.ipvlan else pod.pod_network.pod_mac
    for family in topology.families:
        source, target = topology.of(attacker, family), LOOPBACK[family]
        macs = own, pod.pod_network.host_mac
        frame = datagram(source, target, macs, (4000, OF_LOOPBACK))
        assert arrived(topology, pod.namespace, frame, family) == []


def test_the_nodes_own_port_leads_to_its_host_ports(topology: Topology) -> None:
    """What the others send would arrive if it came this way."""
    for family in topology.families:
        source = OTHER.addresses[family == 6]
        frame = datagram(source, NODE[family], (OTHER.mac, NODE_MAC), (4000, HOST_PORT))
        assert arrived(topology, topology.other.namespace, frame, family) == [source]


def test_no_pod_answers_the_metadata_service_through_a_host_port(topology: Topology) -> None:
    assert answers_to_the_service(topology, HOST_PORT) == []


def answers_to_the_service(topology: Topology, port: int) -> list[str]:
    """Return from where the service gets a datagram while a machine asks a port with its address.

    The pod answers; the node would send that as its own.
    """
    topology.network.allow(Port(OTHER.name, OTHER.mac, (*OTHER.addresses, METADATA)))
    pod, other = topology.pods["a1"].namespace, topology.other.namespace
    with pod.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", DISCARD))
        server.settimeout(30)
        macs, ports = (OTHER.mac, NODE_MAC), (DISCARD, port)
        sending(other, "eth0", datagram(METADATA, NODE[4], macs, ports))()
        _, peer = server.recvfrom(100)
        fabric = topology.network.fabric
        return received(pod, lambda: answer(pod, server, peer), GATEWAY, fabric, bound=EVERY)


def kube_proxy(pod: str, policy: str) -> str:
    """Return what kube-proxy has for a NodePort with this externalTrafficPolicy."""
    mark = "meta mark set meta mark or 0x4000" if policy == "Cluster" else ""
    return f"""table ip theirs {{
      chain prerouting {{ type nat hook prerouting priority dstnat;
        ip daddr {NODE[4]} udp dport {NODE_PORT} {mark} dnat to {pod}:{DISCARD}; }}
      chain postrouting {{ type nat hook postrouting priority srcnat;
        meta mark & 0x4000 == 0x4000 masquerade; }}
    }}"""


@pytest.mark.parametrize("policy", ["Local", "Cluster"])
def test_no_pod_answers_the_metadata_service_through_a_node_port(
    topology: Topology, policy: str
) -> None:
    node = topology.node.namespace
    node.nft(kube_proxy(topology.pods["a1"].address, policy))
    assert answers_to_the_service(topology, NODE_PORT) == []
    node.nft("delete table ip theirs")
    node.run(flush, [METADATA])


def answer(pod: Namespace, server: socket.socket, peer: tuple[str, int]) -> None:
    with suppress(OSError):
        pod.run(server.sendto, b"openeni", peer)
