"""What an ipvlan pod sends to pods of its node's other ENIs, and to groups, as somebody else.

By IPv6 the ENI is no more than a preference of the look-up: without a rule of its own, what an l3s
or l3 pod sends to them would go there directly, past Neutron.
"""

import socket
import struct
from collections.abc import Generator
from ipaddress import ip_address

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.pod_options import Bandwidth, PortMapping, RateLimit, Transport
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
OF_L3S = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S))
LAYER_3 = [
    pytest.param(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}")
    for mode in (IPVlanMode.L3S, IPVlanMode.L3)
]
L3S = LAYER_3[0]
L2 = pytest.param(Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2)), id="ipvlan-L2")
OTHERS = [pytest.param(Datapath(Mode.VETH), id="veth"), L2, L3S]
NEIGHBOUR = "fd98::22"  # of the other pod of the victim's ENI


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
    """A node with a pod of an ENI in l3s, and one of another ENI, which has a second one."""
    network = NeutronNetwork()
    node = Node("node", network, *NODE)
    made: list[Pod] = []
    for name, number, datapath in (("a", 10, OF_L3S), ("b", 20, request.param)):
        eni = eni_facts(f"eni-{name}", number, datapath, dual=True)
        pairs = [(f"10.98.0.{number + n}", f"fd98::{number + n}") for n in (1, 2)]
        node.attach(f"ens{number}", eni, (*pairs[0], *pairs[1]))
        made += [node.add(f"{name}{n}", eni, *pair) for n, pair in enumerate(pairs, start=1)]
    pod, _, victim, _ = made
    yield node, pod, victim
    node.close()
    network.close()


def test_beside_any_datapath_it_hears_others_under_their_own_addresses(
    beside: tuple[Node, Pod, Pod],
) -> None:
    """By IPv6, for which a sender needs no capability (IPV6_FREEBIND)."""
    _, pod, victim = beside
    theirs = victim.facts.addresses[1]
    assert pod.namespace.ping(theirs)
    others = NODE[1], OUTSIDE[1], NOBODY[1], "fd98::dead", neutron.GATEWAY_6
    for source in (pod.facts.eni.primary[1], NEIGHBOUR, *others):
        attack = sending(pod.namespace, "eth0", datagram(source, theirs, MACS))
        assert received(pod.namespace, attack, theirs, victim.namespace) == [], source


def test_a_pod_of_an_eni_without_ipv6_sends_no_pod_any() -> None:
    network = NeutronNetwork()
    node = Node("node", network, *NODE)
    try:
        eni = eni_facts("eni-a", 10, OF_L3S)
        node.attach("ens10", eni, ("10.98.0.11",))
        pod = node.add("a", eni, "10.98.0.11").namespace
        other = eni_facts("eni-b", 20, Datapath(Mode.VETH), dual=True)
        node.attach("ens20", other, ("10.98.0.21", "fd98::21"))
        victim = node.add("b", other, "10.98.0.21", "fd98::21").namespace
        assert pod.ping("10.98.0.21")
        attack = sending(pod, "eth0", datagram(NOBODY[1], "fd98::21", MACS))
        (seen,) = captured(pod, attack, "10.98.0.21", (victim, "eth0"))
        assert "fd98::21" not in [addresses_of(frame)[1] for frame in seen]
    finally:
        node.close()
        network.close()


@pytest.mark.parametrize("topology", [L3S], indirect=True)
def test_nothing_leaves_an_eni_as_a_pod_of_another(topology: Topology) -> None:
    pod, victim = topology.pods["a1"], topology.pods["b1"]
    pairs = list(zip(victim.facts.addresses, OUTSIDE, strict=True))
    attack = sending(pod.namespace, "eth0", *(datagram(*pair, MACS) for pair in pairs))
    place = topology.node.namespace, "ens10"
    (seen,) = captured(pod.namespace, attack, neutron.GATEWAY, place)
    assert not set(map(addresses_of, seen)) & set(pairs)


@pytest.mark.parametrize("topology", [L2], indirect=True)
def test_the_node_hears_no_l2_pod_as_a_pod_of_another_eni(topology: Topology) -> None:
    pod, victim, node = topology.pods["a1"], topology.pods["b1"], topology.node.namespace
    for theirs, primary in zip(victim.facts.addresses, pod.facts.eni.primary, strict=True):
        attack = sending(pod.namespace, "eth0", datagram(theirs, primary, MACS))
        assert received(pod.namespace, attack, primary, node) == []


def test_who_asks_a_host_port_hears_no_pod_of_another_eni() -> None:
    """The node would take it for the answer, and give it the address that was asked."""
    ports = (PortMapping(8053, 53, Transport.UDP),)
    topology = Topology(OF_L3S, dual=True, host_ports={"b1": ports})
    pod, client = topology.pods["a1"].namespace, topology.network.outside
    try:
        for place, family in enumerate((socket.AF_INET, socket.AF_INET6)):
            theirs = topology.pods["b1"].facts.addresses[place]
            with client.run(socket.socket, family, socket.SOCK_DGRAM) as asking:
                asking.bind((OUTSIDE[place], 7777))
                asking.sendto(b"?", (NODE[place], 8053))
                attack = sending(pod, "eth0", datagram(theirs, OUTSIDE[place], MACS, (53, 7777)))
                (seen,) = captured(pod, attack, OUTSIDE[place], (client, "eth0"))
            assert (NODE[place], OUTSIDE[place]) not in list(map(addresses_of, seen))
    finally:
        topology.close()


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
    """Return redirects to a neighbour that is nobody, and an advertisement of the gateway."""
    link_layer = struct.pack("!BB", 2, 1) + bytes.fromhex(LIAR.replace(":", ""))
    first_hop, outside = (ip_address(a).packed for a in (NOBODY[1], neutron.OUTSIDE_6))
    redirect = bytes(4) + first_hop + outside + link_layer
    override = b"\x20\0\0\0" + ip_address(neutron.GATEWAY_6).packed + link_layer
    return [
        *(
            icmpv6(gateway, target, REDIRECT, redirect, MACS)
            for gateway in (names.GATEWAY_V6, names.GATEWAY_V6_L2)
        ),
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
    eni = eni_facts("eni-a", 10, OF_L3S, dual=True)
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
