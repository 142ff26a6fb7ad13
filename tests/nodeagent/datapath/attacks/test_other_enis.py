"""What an l3s or l3 pod sends to pods of its node's other ENIs, and to groups, as somebody else.

By IPv6 it goes there directly, past Neutron: the ENI is no more than a preference of the look-up.
"""

import socket
import struct
from collections.abc import Generator
from ipaddress import ip_address

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.pod_options import Bandwidth, RateLimit
from openeni_testing.network import frames, neutron
from openeni_testing.network.attacks import (
    addresses_of,
    captured,
    checksum,
    datagram,
    icmpv6,
    received,
    sending,
)
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
NODE_MAC = "fa:16:3e:98:00:0a"  # of the ENI on the node
MACS = (NODE_MAC, NODE_MAC)
ENI_DEVICE = Port("eni-a", NODE_MAC).device  # in the network
NODE = ("10.99.0.11", "fd99::11")
OUTSIDE = (neutron.OUTSIDE, neutron.OUTSIDE_6)
NOBODY = ("10.98.0.222", "fe80::bad")
LIAR = "02:ba:d0:00:00:01"
QUERY, DONE, ADVERTISEMENT, REDIRECT, NEW_REPORT = 130, 132, 136, 137, 143  # of ICMPv6
IGMP, LEAVE = 2, 0x17
JOIN_6, IPV6_LEVEL = 20, 41  # IPV6_JOIN_GROUP, IPPROTO_IPV6
LAYER_3 = [
    pytest.param(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}")
    for mode in (IPVlanMode.L3S, IPVlanMode.L3)
]
L3S = LAYER_3[0]
OTHERS = [
    pytest.param(Datapath(Mode.VETH), id="veth"),
    pytest.param(Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2)), id="ipvlan-L2"),
]


@pytest.mark.parametrize("asks", [False, True], ids=["unasked", "as an answer"])
@pytest.mark.parametrize("topology", LAYER_3, indirect=True)
def test_a_pod_of_another_eni_hears_pods_alone(topology: Topology, *, asks: bool) -> None:
    """A pod that first asks as the other has the node take what follows for an answer."""
    pod, victim = topology.pods["a1"], topology.pods["b1"]
    for place, theirs in enumerate(victim.facts.addresses):
        assert pod.namespace.ping(theirs)
        primary = pod.facts.eni.primary[place]
        others = NODE, OUTSIDE, REMOTE.addresses, NOBODY
        for source in (primary, *(addresses[place] for addresses in others)):
            question = [datagram(theirs, primary, MACS)] if asks else []
            attack = sending(pod.namespace, "eth0", *question, datagram(source, theirs, MACS))
            assert received(pod.namespace, attack, theirs, victim.namespace) == [], source


@pytest.fixture(params=OTHERS)
def beside(request: pytest.FixtureRequest) -> Generator[tuple[Node, Pod, Pod]]:
    """A node with a pod of an ENI in l3s, and one of another ENI in another mode."""
    network = NeutronNetwork()
    node = Node("node", network, *NODE)
    layer_3 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S))
    made: list[Pod] = []
    for name, number, datapath in (("a", 10, layer_3), ("b", 20, request.param)):
        eni = eni_facts(f"eni-{name}", number, datapath, dual=True)
        addresses = f"10.98.0.{number + 1}", f"fd98::{number + 1}"
        node.attach(f"ens{number}", eni, addresses)
        made.append(node.add(name, eni, *addresses))
    pod, victim = made
    yield node, pod, victim
    node.close()
    network.close()


def test_it_is_not_told_that_its_gateway_or_the_outside_has_another_mac(
    beside: tuple[Node, Pod, Pod],
) -> None:
    _, pod, victim = beside
    theirs = victim.facts.addresses[1]
    known = (neutron.OUTSIDE_6, neutron.GATEWAY_6)
    assert all(victim.namespace.ping(address) for address in known)
    attack = sending(pod.namespace, "eth0", *lies(theirs))
    captured(pod.namespace, attack, theirs, (victim.namespace, "eth0"))
    seen = victim.namespace.program("ip", "-6", "neigh")
    seen += victim.namespace.program("ip", "-6", "route", "get", neutron.OUTSIDE_6)
    assert LIAR not in seen
    assert NOBODY[1] not in seen
    assert all(victim.namespace.ping(address) for address in known)


def lies(target: str) -> list[bytes]:
    """Return a redirect to a neighbour that is nobody, and an advertisement of the gateway."""
    link_layer = struct.pack("!BB", 2, 1) + bytes.fromhex(LIAR.replace(":", ""))
    first_hop, outside = (ip_address(a).packed for a in (NOBODY[1], neutron.OUTSIDE_6))
    redirect = bytes(4) + first_hop + outside + link_layer
    override = b"\x20\0\0\0" + ip_address(neutron.GATEWAY_6).packed + link_layer
    return [
        icmpv6("fe80::1", target, REDIRECT, redirect, MACS),
        icmpv6(neutron.GATEWAY_6, target, ADVERTISEMENT, override, MACS),
    ]


@pytest.mark.parametrize("topology", [L3S], indirect=True)
def test_it_says_nothing_of_groups_as_its_node(topology: Topology) -> None:
    pod = topology.pods["a1"]
    primary = pod.facts.eni.primary
    senders = "fe80::f816:3eff:fe98:a", primary[1], NOBODY[1], NODE[1]  # the first is the ENI's
    group = bytes(4) + ip_address("ff02::fb").packed
    sent = [
        icmpv6(source, "ff02::2", kind, group, MACS) for source in senders for kind in (QUERY, DONE)
    ]
    leave = struct.pack("!BBH", LEAVE, 0, 0) + ip_address("239.1.2.3").packed
    leave = leave[:2] + checksum(leave) + leave[4:]
    sent += [
        frames.ipv4(NODE_MAC, source, target, leave, IGMP, to=NODE_MAC)
        for source in (primary[0], NODE[0])
        for target in ("224.0.0.2", neutron.GATEWAY)
    ]
    attack = sending(pod.namespace, "eth0", *sent)
    place = topology.network.fabric, ENI_DEVICE
    (seen,) = captured(pod.namespace, attack, neutron.GATEWAY, place)
    assert set(map(addresses_of, seen)).isdisjoint(map(addresses_of, sent))


@pytest.mark.parametrize("limited", [False, True])
def test_it_does_not_tell_its_node_which_version_of_mld_to_speak(*, limited: bool) -> None:
    """A pod with a limit of its bandwidth is one whose packets to groups the node gets."""
    network = NeutronNetwork()
    node = Node("node", network, *NODE)
    layer_3 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S))
    eni = eni_facts("eni-a", 10, layer_3, dual=True)
    limit = RateLimit(80_000_000, 800_000) if limited else None
    try:
        node.attach("ens10", eni, ("10.98.0.11", "fd98::11"))
        bandwidth = Bandwidth(egress=limit)
        pod = node.add("pod", eni, "10.98.0.11", "fd98::11", bandwidth=bandwidth)
        attack = sending(pod.namespace, "eth0", old_query())
        captured(pod.namespace, attack, neutron.GATEWAY, (network.fabric, ENI_DEVICE))
        assert kind_of_report(network, node) == NEW_REPORT
    finally:
        node.close()
        network.close()


def old_query() -> bytes:
    """Return a query of the first version, with the router alert that it needs."""
    query = icmpv6(NOBODY[1], "ff02::1", QUERY, struct.pack("!HH", 1, 0) + bytes(16), MACS)
    alert = struct.pack("!BB", frames.ICMPV6, 0) + bytes.fromhex("050200000100")
    length = struct.pack("!HBB", len(alert) + 24, 0, 1)  # next: options for each hop; one hop
    return query[:18] + length + query[22:54] + alert + query[54:78]


def kind_of_report(network: NeutronNetwork, node: Node) -> int:
    """Return the type of the message by which the node says that it joins a group."""
    with (
        network.fabric.run(socket.socket, socket.AF_PACKET, socket.SOCK_RAW) as seen,
        node.namespace.run(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM) as joining,
    ):
        seen.bind((ENI_DEVICE, frames.ALL_PROTOCOLS))
        seen.settimeout(30)
        index = node.namespace.run(socket.if_nametoindex, "ens10")
        group = ip_address("ff02::1234").packed
        joining.setsockopt(IPV6_LEVEL, JOIN_6, group + struct.pack("=I", index))
        while group not in (frame := seen.recv(1 << 16)):
            pass
        return frame[62]  # behind the header and the options for each hop
