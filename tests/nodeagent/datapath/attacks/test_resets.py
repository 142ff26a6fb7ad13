"""TCP that the node sends without a socket: resets reach whom they are for, and pods forge none.

Over IPv6 a reset has none (tcp_v6_send_response), nor has a firewall's. Conntrack calls one invalid
that answers what it does not know: an end of a connection that the node has forgotten.
"""

import socket
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import frames, neutron
from openeni_testing.network.attacks import (
    ACK,
    FIN,
    SYN,
    TCP,
    addresses_of,
    captured,
    segment,
    sending,
)
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.network.topology import Topology

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
NODE_MAC = "fa:16:3e:98:00:0a"  # of the ENI on the node
CLOSED, REFUSED = 4444, 81
OUTSIDE = (neutron.OUTSIDE, neutron.OUTSIDE_6)
ROUTERS = (neutron.GATEWAY, neutron.GATEWAY_6)


@pytest.fixture(scope="module")
def topology() -> Generator[Topology]:
    made = Topology(Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S)), dual=True)
    yield made
    made.close()


@pytest.mark.parametrize("flags", [SYN, ACK, SYN | ACK, FIN | ACK])
@pytest.mark.parametrize("family", [4, 6])
def test_the_node_resets_connections_that_it_does_not_know(
    topology: Topology, family: int, flags: int
) -> None:
    pod, fabric, place = topology.pods["a1"], topology.network.fabric, int(family == 6)
    primary, outside, router = pod.facts.eni.primary[place], OUTSIDE[place], ROUTERS[place]
    assert topology.node.namespace.ask(router, 80, primary)  # nothing waits for a neighbour
    tcp = segment(outside, primary, (5555, CLOSED + flags), flags)  # each of its own connection
    frame = in_frame(neutron.ROUTER_MAC, outside, primary, tcp)
    attack = sending(fabric, Port("eni-a", NODE_MAC).device, frame)
    (seen,) = captured(pod.namespace, attack, neutron.GATEWAY, (fabric, Port("eni-a", "").device))
    assert (primary, outside) in list(map(addresses_of, seen))


def in_frame(mac: str, source: str, target: str, tcp: bytes) -> bytes:
    make = frames.ipv6 if ":" in source else frames.ipv4
    return make(mac, source, target, tcp, TCP, to=NODE_MAC)


@pytest.fixture
def firewall(topology: Topology) -> Generator[None]:
    """A firewall of the node that resets connections to a port, in its name."""
    with resetting(topology.node.namespace):
        yield


@contextmanager
def resetting(node: Namespace) -> Generator[None]:
    hooks = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; tcp dport {REFUSED} "
        "reject with tcp reset; }\n"
        for hook in ("forward", "output")
    )
    node.nft(f"table inet firewall {{\n{hooks}}}\n")
    yield
    node.nft("delete table inet firewall")


def is_refused(address: str) -> bool:
    """Connect; return True if the answer is a reset, False if there is none."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as asking:
        asking.settimeout(20)
        try:
            asking.connect((address, REFUSED))
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    return False


@pytest.mark.usefixtures("firewall")
@pytest.mark.parametrize("outside", OUTSIDE)
def test_a_firewall_of_the_node_refuses_what_pods_and_the_node_connect_to(
    topology: Topology, outside: str
) -> None:
    """The reset has the address that is refused."""
    assert topology.pods["a1"].namespace.run(is_refused, outside)
    assert topology.node.namespace.run(is_refused, outside)


def test_it_refuses_what_a_veth_pod_beside_connects_to() -> None:
    network = NeutronNetwork()
    node = Node("node", network, "10.99.0.11", "fd99::11")
    try:
        layer_3 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S))
        node.attach("ens10", eni_facts("eni-a", 10, layer_3, dual=True), ("10.98.0.11",))
        eni = eni_facts("eni-b", 20, Datapath(Mode.VETH), dual=True)
        node.attach("ens20", eni, ("10.98.0.21", "fd98::21"))
        pod = node.add("b1", eni, "10.98.0.21", "fd98::21")
        with resetting(node.namespace):
            assert [pod.namespace.run(is_refused, outside) for outside in OUTSIDE] == [True, True]
    finally:
        node.close()
        network.close()


def test_a_pod_that_plays_both_ends_begins_no_connection_as_the_node(topology: Topology) -> None:
    """A SYN with a wrong checksum, which the node does not answer, and then one back.

    Conntrack, which looks at no checksum there, calls the second one established.
    """
    pod, victim = topology.pods["a1"], topology.pods["b1"]
    theirs, primary = victim.facts.addresses[1], pod.facts.eni.primary[1]
    assert pod.namespace.ping(theirs)
    first = segment(theirs, primary, (80, 6666), SYN, right=False)
    second = segment(primary, theirs, (6666, 80), SYN)
    attack = sending(
        pod.namespace,
        "eth0",
        in_frame(NODE_MAC, theirs, primary, first),
        in_frame(NODE_MAC, primary, theirs, second),
    )
    (seen,) = captured(pod.namespace, attack, theirs, (victim.namespace, "eth0"))
    assert (primary, theirs) not in list(map(addresses_of, seen))


@pytest.mark.parametrize("source", ["127.0.0.1", "::1", "fd99::11"])
def test_it_begins_none_where_lo_is_not_tracked_either(topology: Topology, source: str) -> None:
    pod, node = topology.pods["a1"], topology.node.namespace
    primary = pod.facts.eni.primary[":" in source]
    hooks = "".join(
        f"chain {hook} {{ type filter hook {hook} priority raw; meta {link} lo notrack; }}\n"
        for hook, link in (("prerouting", "iif"), ("output", "oif"))
    )
    node.nft(f"table inet tuning {{\n{hooks}}}\n")
    try:
        syn = in_frame(NODE_MAC, source, primary, segment(source, primary, (5559, 10250), SYN))
        attack = sending(pod.namespace, "eth0", syn)
        (on_lo,) = captured(pod.namespace, attack, primary, (node, "lo"))
    finally:
        node.nft("delete table inet tuning")
    assert (primary, source) not in list(map(addresses_of, on_lo))
