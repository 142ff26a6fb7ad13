"""An l2 pod has its node join fragments of which the first does not come in by the ENI.

What is joined has the link of its last fragment, the ENI, and the Ethernet header of its first, by
both of which the ENI's chain knows what a pod sends. The first comes in a frame to a group, which
ipvlan copies to the node's slave, or from another pod of the same owner.
"""

import socket
import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network import frames, neutron
from openeni_testing.network.attacks import (
    SYN,
    TCP,
    addresses_of,
    captured,
    checksum,
    datagram,
    icmpv6,
    on_one_processor,
    received,
    segment,
    send_frames,
)
from openeni_testing.network.fragments import cut
from openeni_testing.network.frames import ALL_PROTOCOLS
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.network.node import Node, Pod, eni_facts

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
NODE = ("10.99.0.11", "fd99::11")
NODE_MAC = "fa:16:3e:98:00:0a"  # of the pod's ENI on the node
OWN = (NODE_MAC, NODE_MAC)
LIAR = "02:ba:d0:00:00:01"
GROUPS = ("ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01")
OUTSIDE = (neutron.OUTSIDE, neutron.OUTSIDE_6)
ADDRESSES = ("10.98.0.11", "fd98::11")
L2 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2))
BOTH = pytest.mark.parametrize("place", [0, 1], ids=["IPv4", "IPv6"])


@dataclass(frozen=True)
class Attackers:
    """An l2 pod with host ports, and a pod of the node's other ENI."""

    network: NeutronNetwork
    node: Node
    pod: Pod
    accomplice: Pod

    def with_a_group_first(self, frame: bytes, place: int) -> Callable[[], None]:
        """Return the attack in which the first fragment goes to a group."""
        first, rest = cut(frame, (LIAR, GROUPS[place]), OWN)

        def attack() -> None:
            slave = names.host_slave(self.node.namespace.run(socket.if_nametoindex, "ens10"))
            raw = self.node.namespace.run(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0)
            with raw:
                raw.bind((slave, ALL_PROTOCOLS))
                raw.settimeout(30)
                self.pod.namespace.run(send_frames, "eth0", [first])
                while raw.recv(1 << 16) != first:
                    pass
            self.pod.namespace.run(send_frames, "eth0", [rest])

        return attack

    def with_the_accomplice_first(self, frame: bytes, *more: bytes) -> Callable[[], None]:
        """Return the attack in which the first fragment is the accomplice's."""
        network = self.accomplice.pod_network
        first, rest = cut(frame, (network.pod_mac, network.host_mac), OWN)

        def attack() -> None:
            self.accomplice.namespace.run(on_one_processor)
            self.accomplice.namespace.run(send_frames, "eth0", [first])
            self.pod.namespace.run(send_frames, "eth0", [rest, *more])

        return attack


@pytest.fixture
def attackers(request: pytest.FixtureRequest) -> Generator[Attackers]:
    """The parameter is the datapath of the accomplice, `Veth` without one."""
    network = NeutronNetwork()
    node = Node("node", network, *NODE)
    eni = eni_facts("eni-a", 10, L2, dual=True)
    node.attach("ens10", eni, ADDRESSES)
    ports = (PortMapping(8053, 53, Transport.UDP), PortMapping(8080, 80, Transport.TCP))
    pod = node.add("a1", eni, *ADDRESSES, host_ports=ports)
    other = eni_facts("eni-b", 20, getattr(request, "param", Datapath(Mode.VETH)), dual=True)
    node.attach("ens20", other, ("10.98.0.21", "fd98::21"))
    yield Attackers(network, node, pod, node.add("b1", other, "10.98.0.21", "fd98::21"))
    node.close()
    network.close()


@BOTH
def test_alone_it_is_not_heard_by_its_node_as_somebody_outside(
    attackers: Attackers, place: int
) -> None:
    forged = datagram(OUTSIDE[place], NODE[place], OWN)
    attack = attackers.with_a_group_first(forged, place)
    pod, node = attackers.pod.namespace, attackers.node.namespace
    assert received(pod, attack, NODE[place], node) == []


def path_mtu_error(sender: str, place: int) -> bytes:
    """Return a frame with an error about an echo reply of the node to the outside."""
    own, to = NODE[place], OUTSIDE[place]
    if place:
        echo = struct.pack("!BBHHH", 129, 0, 0, 0, 0)
        original = frames.ipv6(NODE_MAC, own, to, echo, 58)[14:62]
        return icmpv6(sender, own, 2, struct.pack("!I", 1280) + original, OWN)
    echo = struct.pack("!BBHHH", 0, 0, 0xFFFF, 0, 0)
    original = frames.ipv4(NODE_MAC, own, to, echo, 1)[14:42]
    body = struct.pack("!BBHHH", 3, 4, 0, 0, 600) + original
    body = body[:2] + checksum(body) + body[4:]
    return frames.ipv4(NODE_MAC, sender, own, body, 1, to=NODE_MAC)


@BOTH
@pytest.mark.parametrize("of", ["itself", "the outside"])
def test_alone_it_does_not_lower_its_nodes_path_mtu(
    attackers: Attackers, place: int, of: str
) -> None:
    sender = (ADDRESSES if of == "itself" else OUTSIDE)[place]
    attackers.with_a_group_first(path_mtu_error(sender, place), place)()
    assert attackers.pod.namespace.ping(NODE[place])
    route = ("ip", "route", "get", OUTSIDE[place], "from", NODE[place])
    assert "mtu" not in attackers.node.namespace.program(*route)


@BOTH
@pytest.mark.parametrize(
    "attackers",
    [
        Datapath(Mode.VETH),
        L2,
        Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S)),
    ],
    indirect=True,
    ids=["veth", "ipvlan-L2", "ipvlan-L3S"],
)
def test_two_pods_are_not_heard_by_their_node_as_somebody_outside(
    attackers: Attackers, place: int
) -> None:
    forged = datagram(OUTSIDE[place], NODE[place], OWN)
    attack = attackers.with_the_accomplice_first(forged)
    pod, node = attackers.pod.namespace, attackers.node.namespace
    assert received(pod, attack, NODE[place], node) == []


@BOTH
@pytest.mark.parametrize("of", ["the outside", "a neighbour"])
def test_a_veth_pod_hears_nobody_else_from_two_pods(
    attackers: Attackers, place: int, of: str
) -> None:
    eni, node = attackers.accomplice.facts.eni, attackers.node
    pair, neighbour = ("10.98.0.22", "fd98::22"), ("10.98.0.23", "fd98::23")
    listener = node.add("b2", eni, *pair)
    node.add("b3", eni, *neighbour)
    forged = datagram((OUTSIDE if of == "the outside" else neighbour)[place], pair[place], OWN)
    attack = attackers.with_the_accomplice_first(forged)
    pod = attackers.accomplice.namespace
    assert received(pod, attack, pair[place], listener.namespace) == []


@pytest.mark.parametrize("kind", ["udp", "tcp"])
@pytest.mark.parametrize("asked", [neutron.METADATA, neutron.OUTSIDE, neutron.OUTSIDE_6])
def test_two_pods_ask_nobody_as_their_node(attackers: Attackers, asked: str, kind: str) -> None:
    """By its own host port, past the node's NIC: the metadata service of the node, for one."""
    place = int(":" in asked)
    node = attackers.node.namespace
    node.send(asked)  # the neighbour is known
    if kind == "udp":
        forged = datagram(asked, NODE[place], OWN, (80, 8053))
        answer = datagram(ADDRESSES[place], asked, OWN, (53, 80))
    else:  # both ends begin: the answer to a SYN is a SYN, which conntrack lets pass
        make = frames.ipv6 if place else frames.ipv4
        tcp = segment(asked, NODE[place], (80, 8080), SYN)
        forged = make(NODE_MAC, asked, NODE[place], tcp, TCP, to=NODE_MAC)
        tcp = segment(ADDRESSES[place], asked, (80, 80), SYN)
        answer = make(NODE_MAC, ADDRESSES[place], asked, tcp, TCP, to=NODE_MAC)
    attack = attackers.with_the_accomplice_first(forged, answer)
    where = attackers.network.fabric, Port("eni-a", NODE_MAC).device
    pod, nic = attackers.pod.namespace, (node, "eth0")
    _, by_nic = captured(pod, attack, neutron.GATEWAY, where, nic)
    assert (NODE[place], asked) not in list(map(addresses_of, by_nic))
