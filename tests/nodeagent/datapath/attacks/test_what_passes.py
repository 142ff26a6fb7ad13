"""What looks like an attack of a pod, and is none: it passes the filters, and finds its way."""

import socket
import struct
from dataclasses import replace

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_crds.status.eni import PortSubnet
from openeni_testing.network import frames, neutron
from openeni_testing.network.attacks import addresses_of, captured, icmpv6, sending
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import Topology

pytestmark = pytest.mark.root
NODE = ("10.99.0.11", "fd99::11")
OWN = ("10.98.0.11", "fd98::11")  # of the pod
PORT = 5301
SERVICE = "fd96::1"
TOO_BIG = 2  # of ICMPv6
# As kube-proxy does for node ports, or with `masqueradeAll`.
PROXY = f"""table ip6 proxy {{
  chain out {{
    type nat hook output priority -100;
    ip6 daddr {SERVICE} udp dport 5300 dnat to [{NODE[1]}]:{PORT};
  }}
  chain post {{ type nat hook postrouting priority 100; ct status dnat masquerade; }}
}}
"""
LAYER_3 = [
    pytest.param(
        Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}", marks=pytest.mark.ipvlan
    )
    for mode in (IPVlanMode.L3S, IPVlanMode.L3)
]


def pod_on(node: Node, datapath: Datapath) -> Pod:
    eni = eni_facts("eni-a", 10, datapath, dual=True)
    node.attach("ens10", eni, OWN)
    return node.add("pod", eni, *OWN)


def server_on(node: Node, address: str) -> socket.socket:
    made = node.namespace.run(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM)
    made.bind((address, PORT))
    made.settimeout(20)
    return made


def client_in(pod: Pod) -> socket.socket:
    made = pod.namespace.run(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM)
    made.settimeout(20)
    return made


@pytest.mark.parametrize("size", [100, 3000])
@pytest.mark.parametrize("datapath", LAYER_3)
def test_a_masqueraded_datagram_of_any_size_reaches_a_program_of_the_node(
    node: Node, datapath: Datapath, size: int
) -> None:
    pod = pod_on(node, datapath)
    node.namespace.nft(PROXY)
    with server_on(node, NODE[1]) as server, client_in(pod) as client:
        client.sendto(bytes(size), (SERVICE, 5300))
        assert len(server.recv(5000)) == size


@pytest.mark.parametrize("datapath", LAYER_3)
def test_the_node_answers_its_pods_from_an_enis_address(node: Node, datapath: Datapath) -> None:
    """The kernel answers by the device that has the address, and many servers of UDP do so."""
    pod = pod_on(node, datapath)
    (primary,) = (a for a in pod.facts.eni.primary if ":" in a)
    assert all(pod.namespace.ping(address) for address in pod.facts.eni.primary)
    with server_on(node, "::") as server, client_in(pod) as client:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        client.sendto(b"?", (primary, PORT))
        data, ancillary, _, peer = server.recvmsg(100, 100)
        node.namespace.run(server.sendmsg, [data], ancillary, 0, peer)
        assert client.recvfrom(100)[1][0] == primary


@pytest.mark.ipvlan
@pytest.mark.parametrize("beside", MODES)
def test_pods_of_an_l3s_eni_and_of_one_beside_it_reach_each_other(
    network: NeutronNetwork, node: Node, beside: Datapath
) -> None:
    """ARP of an l3s pod comes with the node's address as its sender, in the same subnet."""
    pod = pod_on(node, Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S)))
    dual = beside.ipvlan_mode is not IPVlanMode.L3
    eni, theirs = eni_facts("eni-b", 20, beside, dual=dual), ("10.98.0.21", "fd98::21")[: 1 + dual]
    port = node.attach("ens20", eni, theirs)
    if not dual:  # does not work without
        network.answer_arp(port)
    other = node.add("other", eni, *theirs)
    assert [address for address in theirs if not pod.namespace.ping(address)] == []
    assert [address for address in OWN[: len(theirs)] if not other.namespace.ping(address)] == []
    assert network.dropped() == {}


@pytest.mark.ipvlan
def test_it_answers_pods_of_other_enis_in_the_same_way() -> None:
    topology = Topology(Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S)), dual=True)
    try:
        primaries = [a for p in topology.pods.values() for a in p.facts.eni.primary]
        asking = [pod.namespace for pod in topology.pods.values()] + [topology.remote]
        unanswered = [(who.name, to) for who in asking for to in primaries if not who.ping(to)]
        assert unanswered == []
        assert topology.network.dropped() == {}
    finally:
        topology.close()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("to", ["a2", "b1"])
@pytest.mark.ipvlan
def test_a_pod_reaches_a_service_from_a_subnet_without_a_gateway(to: str, family: int) -> None:
    """The address of the service is looked up before it is translated."""
    topology = Topology(Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S)), dual=True)
    subnets = (PortSubnet("v4", neutron.SUBNET, ""), PortSubnet("v6", neutron.SUBNET_6, ""))
    try:
        for eni in tuple(topology.node.enis):
            topology.node.configure(replace(eni, subnets=subnets))
        word, service = {4: ("ip", "10.96.0.7"), 6: ("ip6", SERVICE)}[family]
        address = topology.of(to, family)
        backend = f"[{address}]:80" if family == 6 else f"{address}:80"
        topology.node.namespace.nft(
            f"table {word} proxy {{\n"
            "chain out { type nat hook output priority -100; "
            f"{word} daddr {service} tcp dport 8000 dnat to {backend}; }}\n}}\n"
        )
        answer = topology.pods["a1"].namespace.ask(service, 8000)
        assert answer
        assert answer[0] == to
    finally:
        topology.close()


@pytest.mark.parametrize("address_6", [NODE[1], ""], ids=["dual-stack node", "IPv4 node"])
@pytest.mark.parametrize("datapath", MODES)
def test_a_pod_that_forwards_tells_others_of_a_smaller_path(
    network: NeutronNetwork, datapath: Datapath, address_6: str
) -> None:
    """Conntrack does not know the datagram; an IPv4 node has no IPv6 route to its sender."""
    node = Node("node", network, NODE[0], address_6)
    try:
        pod = pod_on(node, datapath)
        if datapath.ipvlan_mode is IPVlanMode.L3:  # does not work without
            mac = f"lladdr {pod.facts.eni.mac} dev br-pods nud permanent"
            network.fabric.ip(f"neigh replace {OWN[1]} {mac}")
        macs, outside = (pod.pod_network.pod_mac, pod.pod_network.host_mac), neutron.OUTSIDE_6
        assert pod.namespace.ping(outside)
        sent = frames.ipv6(macs[0], outside, OWN[1], frames.udp(4000, 4001) + bytes(40))[14:62]
        error = icmpv6(OWN[1], outside, TOO_BIG, struct.pack("!I", 1300) + sent, macs)
        attack = sending(pod.namespace, "eth0", error)
        (seen,) = captured(pod.namespace, attack, outside, (network.outside, "eth0"))
        assert (OWN[1], outside) in list(map(addresses_of, seen))
    finally:
        node.close()
