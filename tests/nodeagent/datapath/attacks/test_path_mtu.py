"""A pod or a machine says that what the node has sent was too big: it does not believe that."""

import socket
import struct
from collections.abc import Callable, Generator
from functools import partial

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_nodeagent.pod_options import Bandwidth, RateLimit
from openeni_testing.network import frames, neutron
from openeni_testing.network.attacks import checksum, datagram, icmpv6, sending
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE, Topology
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
OPEN = 111  # a port that answers on all of the node's addresses
ICMP, ECHO, ECHO_REPLY, UNREACHABLE, TOO_BIG_FOR_IT = 1, 8, 0, 3, 4
ICMPV6, ECHO_6, ECHO_REPLY_6, TOO_BIG = 58, 128, 129, 2
SMALL, SMALL_6 = 600, 1280
NODE = ("10.99.0.11", "fd99::11")
ROUTERS = (neutron.GATEWAY, neutron.GATEWAY_6)
GROUP_MAC = "33:33:00:00:00:01"  # of all nodes


@pytest.fixture(params=MODES)
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    datapath: Datapath = request.param
    made = Topology(datapath, datapath.ipvlan_mode is not IPVlanMode.L3)
    yield made
    made.close()


def too_big(macs: tuple[str, str], source: str, node: str, place: int) -> bytes:
    """Return the error about an echo reply, which needs no socket, from the node to the outside."""
    to = (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
    if place:
        echo = struct.pack("!BBHHH", ECHO_REPLY_6, 0, 0, 0, 0)
        return too_big_for(frames.ipv6(macs[0], node, to, echo, ICMPV6), macs, source, node)
    echo = struct.pack("!BBHHH", ECHO_REPLY, 0, 0xFFFF, 0, 0)
    return too_big_for(frames.ipv4(macs[0], node, to, echo, ICMP), macs, source, node)


def too_big_for(sent: bytes, macs: tuple[str, str], source: str, node: str) -> bytes:
    """Return the error about a frame that the node has sent, as it seems."""
    if ":" in node:
        original = sent[14 : 14 + 48]
        return icmpv6(source, node, TOO_BIG, struct.pack("!I", SMALL_6) + original, macs)
    original = sent[14 : 14 + 28]
    body = struct.pack("!BBHHH", UNREACHABLE, TOO_BIG_FOR_IT, 0, 0, SMALL) + original
    body = body[:2] + checksum(body) + body[4:]
    return frames.ipv4(macs[0], source, node, body, ICMP, to=macs[1])


def test_without_filters_the_node_believes_it(topology: Topology) -> None:
    pod, node = topology.pods["a1"], topology.node.namespace
    macs = pod.pod_network.pod_mac, pod.pod_network.host_mac
    node.nft("flush ruleset")
    for place in range(len(topology.families)):
        sending(
            pod.namespace, "eth0", too_big(macs, pod.facts.addresses[place], NODE[place], place)
        )()
    wait_for(lambda: all(lowered(topology)), "a lower path MTU")


def lowered(topology: Topology) -> list[bool]:
    """Return for each family whether the node has a path MTU to the outside from its address."""
    to = zip((neutron.OUTSIDE, neutron.OUTSIDE_6)[: len(topology.families)], NODE, strict=False)
    get = topology.node.namespace.program
    return ["mtu" in get("ip", "route", "get", outside, "from", own) for outside, own in to]


def test_the_node_sends_as_before(topology: Topology) -> None:
    pod, node = topology.pods["a1"], topology.node.namespace
    macs = pod.pod_network.pod_mac, pod.pod_network.host_mac
    for place in range(len(topology.families)):
        source = pod.facts.addresses[place]
        for address in (NODE[place], pod.facts.eni.primary[place]):
            sending(pod.namespace, "eth0", too_big(macs, source, address, place))()
        assert pod.namespace.ping(neutron.GATEWAY)  # what was sent before has arrived
        to = (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
        for address in (NODE[place], pod.facts.eni.primary[place]):
            assert "mtu" not in node.program("ip", "route", "get", to, "from", address)


def test_a_pod_that_sends_as_its_enis_primary_address_makes_no_such_error_true(
    topology: Topology,
) -> None:
    pod, node = topology.pods["a1"], topology.node.namespace
    macs = pod.pod_network.pod_mac, pod.pod_network.host_mac
    node.answer(OPEN)  # by IPv4 the kernel looks for a socket that may have sent it
    for place, primary in enumerate(pod.facts.eni.primary):
        outside = (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
        sent = datagram(primary, outside, macs, (OPEN, OPEN))
        error = too_big_for(sent, macs, pod.facts.addresses[place], primary)
        sending(pod.namespace, "eth0", sent, error)()
        assert pod.namespace.ping(ROUTERS[place])  # what was sent before has arrived
        assert "mtu" not in node.program("ip", "route", "get", outside, "from", primary)


def test_a_machine_of_the_network_makes_no_path_of_an_enis_pods_smaller(topology: Topology) -> None:
    """By the ENI's primary address: the kernel keeps it with the next hop that all pods have."""
    eni, node = topology.pods["a1"].facts.eni, topology.node.namespace
    for place, primary in enumerate(eni.primary):
        error = too_big((REMOTE.mac, eni.mac), REMOTE.addresses[place], primary, place)
        sending(topology.remote, "eth0", error)()
        assert topology.remote.ping(primary)  # what was sent before has arrived
        to = (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
        assert "mtu" not in node.program("ip", "route", "get", to, "from", primary)


def ping(source: str, node: str, macs: tuple[str, str]) -> bytes:
    """Return the frame that has the node answer `source`."""
    if ":" in node:
        return icmpv6(source, node, ECHO_6, struct.pack("!HH", 0, 0), macs)
    body = struct.pack("!BBHHH", ECHO, 0, 0, 0, 0)
    body = body[:2] + checksum(body) + body[4:]
    return frames.ipv4(macs[0], source, node, body, ICMP, to=macs[1])


def test_nor_does_it_by_an_answer_that_it_has_asked_for_as_somebody_else(
    topology: Topology,
) -> None:
    """Conntrack calls the error related: the node has answered."""
    topology.take_port_security_from_remote()
    eni, node = topology.pods["a1"].facts.eni, topology.node.namespace
    macs = REMOTE.mac, eni.mac
    for place, primary in enumerate(eni.primary):
        to = (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
        assert topology.network.outside.ping(primary)
        error = too_big(macs, REMOTE.addresses[place], primary, place)
        sending(topology.remote, "eth0", ping(to, primary, macs), error)()
        assert topology.remote.ping(primary)  # what was sent before has arrived
        assert "mtu" not in node.program("ip", "route", "get", to, "from", primary)


@pytest.mark.parametrize("who", ["a pod", "the node"])
def test_of_what_they_have_sent_pods_and_nodes_learn_the_path(topology: Topology, who: str) -> None:
    """The node as an ENI's primary address."""
    pod = topology.pods["a1"]
    namespace, addresses = {
        "a pod": (pod.namespace, pod.facts.addresses),
        "the node": (topology.node.namespace, pod.facts.eni.primary),
    }[who]
    macs = REMOTE.mac, pod.facts.eni.mac
    for place, own in enumerate(addresses):
        to = (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
        family = (socket.AF_INET, socket.AF_INET6)[place]
        with namespace.run(socket.socket, family, socket.SOCK_DGRAM) as asking:
            asking.bind((own, OPEN))
            asking.sendto(b"openeni", (to, OPEN))
            error = too_big_for(
                datagram(own, to, macs, (OPEN, OPEN)), macs, REMOTE.addresses[place], own
            )
            sending(topology.remote, "eth0", error)()
            get = partial(namespace.program, "ip", "route", "get", to, "from", own)
            wait_for(partial(_has_path_mtu, get), "a lower path MTU")


def _has_path_mtu(get: Callable[[], str]) -> bool:
    return "mtu" in get()


@pytest.mark.parametrize("topology", [pytest.param(Datapath(Mode.VETH), id="veth")], indirect=True)
@pytest.mark.parametrize("victim", ["a2", "b1"])
def test_a_veth_pod_does_not_believe_another_one(topology: Topology, victim: str) -> None:
    """It goes from one to the other directly, so no security group sees it."""
    pod, other = topology.pods["a1"], topology.pods[victim]
    macs = pod.pod_network.pod_mac, pod.pod_network.host_mac
    for place, theirs in enumerate(other.facts.addresses):
        source = pod.facts.addresses[place]
        sending(pod.namespace, "eth0", too_big(macs, source, theirs, place))()
        assert pod.namespace.ping(theirs)  # what was sent before has arrived
        to = (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
        assert "mtu" not in other.namespace.program("ip", "route", "get", to, "from", theirs)


@pytest.mark.parametrize("target", ["fd99::", "ff02::1"])
@pytest.mark.parametrize("datapath", MODES)
def test_what_is_for_any_router_or_for_all_nodes_is_not_believed_either(
    datapath: Datapath, target: str
) -> None:
    """A limit of a pod's bandwidth has the kernel hand the node what l3s and l3 send to groups."""
    network = NeutronNetwork()
    node = Node("node", network, *NODE)
    try:
        eni = eni_facts("eni-a", 10, datapath, dual=True)
        node.attach("ens10", eni, ("10.98.0.11", "fd98::11"))
        limit = Bandwidth(egress=RateLimit(80_000_000, 800_000))
        pod = node.add("pod", eni, "10.98.0.11", "fd98::11", bandwidth=limit)
        of_pod, of_node = pod.pod_network.pod_mac, pod.pod_network.host_mac
        for own in (NODE[1], eni.primary[1]):
            echo = struct.pack("!BBHHH", ECHO_REPLY_6, 0, 0, 0, 0)
            sent = frames.ipv6(of_pod, own, neutron.OUTSIDE_6, echo, ICMPV6)[14 : 14 + 48]
            for to in (of_node, GROUP_MAC):
                # In l2 ipvlan takes a frame for the node's if both of its MACs are the same.
                sender = to if datapath.ipvlan_mode is IPVlanMode.L2 else of_pod
                body = struct.pack("!I", SMALL_6) + sent
                error = icmpv6("fd98::11", target, TOO_BIG, body, (sender, to))
                sending(pod.namespace, "eth0", error)()
        assert pod.namespace.ping(NODE[1])  # what was sent before has arrived
        for own in (NODE[1], eni.primary[1]):
            route = node.namespace.program("ip", "route", "get", neutron.OUTSIDE_6, "from", own)
            assert "mtu" not in route
    finally:
        node.close()
        network.close()
