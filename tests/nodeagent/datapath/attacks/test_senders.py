"""A pod sends with an address that is not its own.

In veth nobody gets such a packet. Slaves of one ENI can use each other's addresses, which is
inherent in ipvlan, but an l3s or l3 pod that sends so to its node is not heard; and in no mode does
a packet of a pod leave by the node's own NIC with the node's address.
"""

import socket
import struct
from collections.abc import Generator
from functools import partial

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.filters.chains import CUT
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network import neutron
from openeni_testing.network.attacks import (
    addresses_of,
    captured,
    datagram,
    received,
    send_datagram,
    sending,
)
from openeni_testing.network.frames import ALL_PROTOCOLS
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import Port
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
NODE = ("10.99.0.11", "fd99::11")
BEYOND = ("10.99.0.1", "fd99::1")  # the gateway of the nodes' network
OUTSIDE = (neutron.OUTSIDE, neutron.OUTSIDE_6)
BESIDES = ("172.17.0.1", "fd17::1")  # addresses of the node that are none of its Node object
METADATA = (neutron.METADATA, neutron.OUTSIDE_6)  # the service; it has no such address of IPv6
NODE_MAC = "fa:16:3e:98:00:0a"  # of the ENI on the node
ROUTERS = (neutron.GATEWAY, neutron.GATEWAY_6)
ALL_IGMP_ROUTERS = "224.0.0.22"
NO_CONNTRACK_ON_LO = """table inet tuning {
  chain output { type filter hook output priority raw; oif lo notrack; }
  chain prerouting { type filter hook prerouting priority raw; iif lo notrack; }
}"""
HOST_PORT, POD_PORT, ASKED, CLOSED = 8053, 53, 80, 4
PORTS = {"a1": (PortMapping(HOST_PORT, POD_PORT, Transport.UDP),)}


def case(mode: IPVlanMode) -> object:
    datapath = Datapath(Mode.IPVLAN, IPVlanDatapath(mode))
    return pytest.param(datapath, id=f"ipvlan-{mode}", marks=pytest.mark.ipvlan)


VETH = pytest.param(Datapath(Mode.VETH), id="veth")
L2, L3S, L3 = map(case, (IPVlanMode.L2, IPVlanMode.L3S, IPVlanMode.L3))


@pytest.fixture(scope="module")
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    datapath: Datapath = request.param
    made = Topology(datapath, datapath.ipvlan_mode is not IPVlanMode.L3, PORTS)
    yield made
    made.close()


def own(topology: Topology, pod: str) -> tuple[str, ...]:
    return topology.pods[pod].facts.addresses


def impersonate(pod: Namespace, addresses: tuple[str, ...], targets: tuple[str, ...]) -> None:
    """Send from each address to the target of its family."""
    for address in addresses:
        pod.run(send_datagram, targets[":" in address], b"spoofed", address)


@pytest.mark.parametrize("topology", [VETH], indirect=True)
@pytest.mark.parametrize("of", ["the neighbour", "the other ENI's pod", "the outside", "the node"])
def test_in_veth_nothing_from_another_address_reaches_the_remote_or_the_node(
    topology: Topology, of: str
) -> None:
    wrong = {
        "the neighbour": own(topology, "a2"),
        "the other ENI's pod": own(topology, "b1"),
        "the outside": OUTSIDE,
        "the node": NODE,
    }[of]
    pod, node = topology.pods["a1"].namespace, topology.node.namespace
    dropped = topology.network.dropped()
    attack = partial(impersonate, pod, wrong, REMOTE.addresses)
    places = (topology.remote, "eth0"), (node, "ens10"), (node, "eth0")
    for frames in captured(pod, attack, REMOTE.addresses[0], *places):
        assert not {addresses_of(frame)[0] for frame in frames} & set(wrong)
    attack = partial(impersonate, pod, wrong, NODE)
    assert received(pod, attack, NODE[0], node) == []
    assert received(pod, attack, NODE[1], node) == []
    assert topology.network.dropped() == dropped
    assert pod.ask(REMOTE.addresses[0], 80) == ("remote", own(topology, "a1")[0])
    assert pod.ask(NODE[1], 10250) == ("node", own(topology, "a1")[1])


@pytest.mark.parametrize("topology", [L3S, L3], indirect=True)
def test_in_l3s_and_l3_a_node_hears_no_pod_under_an_address_of_the_node_or_the_outside(
    topology: Topology,
) -> None:
    pod, node = topology.pods["a1"].namespace, topology.node.namespace
    for wrong in (NODE, OUTSIDE):
        attack = partial(impersonate, pod, wrong[: len(topology.families)], NODE)
        for family in topology.families:
            assert received(pod, attack, NODE[family == 6], node) == []
    assert pod.ask(NODE[0], 10250) == ("node", own(topology, "a1")[0])


@pytest.mark.parametrize("asks", [False, True], ids=["unasked", "as an answer"])
@pytest.mark.parametrize("topology", [L3S, L3], indirect=True)
def test_in_l3s_and_l3_only_pods_are_heard_where_packets_to_the_node_go_to_lo(
    topology: Topology, *, asks: bool
) -> None:
    """Where the node's own come from: the ENI's primary addresses, by IPv6 nearly all others.

    A pod that first asks as the node has the node take what follows for an answer.
    """
    pod, node = topology.pods["a1"], topology.node.namespace
    node.ip(f"addr replace {BESIDES[1]}/128 dev nodelocaldns nodad")
    primaries = pod.facts.eni.primary
    for target in (*primaries, *BESIDES[1 : len(primaries)]):
        place = int(":" in target)
        posing_as = (("127.0.0.1",), ("::1", "fe80::5"))[place]
        for source in (*posing_as, NODE[place], OUTSIDE[place], primaries[place], target):
            question = [datagram(target, source, (NODE_MAC, NODE_MAC))] if asks else []
            forged = datagram(source, target, (NODE_MAC, NODE_MAC))
            attack = sending(pod.namespace, "eth0", *question, forged)
            assert received(pod.namespace, attack, target, node) == [], source
        assert pod.namespace.ask(target, 10250) is not None


@pytest.mark.parametrize("untracked", [False, True], ids=["", "lo is not tracked"])
@pytest.mark.parametrize("topology", [L3S, L3], indirect=True)
def test_in_l3s_and_l3_the_node_answers_itself_and_others_without_a_socket(
    request: pytest.FixtureRequest, topology: Topology, *, untracked: bool
) -> None:
    """Echo replies, and refusals of a port at which nobody listens."""
    node, outside = topology.node.namespace, topology.network.outside
    if untracked:
        node.nft(NO_CONNTRACK_ON_LO)
        request.addfinalizer(lambda: node.nft("delete table inet tuning"))
    node.ip(f"addr replace {BESIDES[1]}/128 dev nodelocaldns nodad")
    primaries = topology.pods["a1"].facts.eni.primary
    for own in (*primaries, *NODE, "127.0.0.1", "::1", BESIDES[1]):
        assert node.ping(own)
        assert node.ask(own, 10250) is not None
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            assert node.run(is_refused, own, kind), (own, kind)
    for primary, beyond, router in zip(primaries, OUTSIDE, ROUTERS, strict=False):
        node.program("ip", "neigh", "flush", "dev", "ens10")  # they are asked for again
        assert outside.ping(primary)
        assert outside.run(is_refused, primary, socket.SOCK_STREAM)
        assert node.ask(beyond, 80, primary)
        assert node.ask(router, 80, primary)


@pytest.mark.parametrize("topology", [L3S, L3], indirect=True)
def test_in_l3s_and_l3_the_node_reports_the_groups_that_it_joins(topology: Topology) -> None:
    """IGMP, which the kernel sends without a socket."""
    node, fabric = topology.node.namespace, topology.network.fabric
    with (
        fabric.run(socket.socket, socket.AF_PACKET, socket.SOCK_RAW) as seen,
        node.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as joining,
    ):
        seen.bind((Port("eni-a", NODE_MAC).device, ALL_PROTOCOLS))
        seen.settimeout(30)
        index = node.run(socket.if_nametoindex, "ens10")
        group = struct.pack("4s4si", socket.inet_aton("239.1.2.3"), bytes(4), index)
        joining.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        reports = (topology.pods["a1"].facts.eni.primary[0], ALL_IGMP_ROUTERS)
        while addresses_of(seen.recv(1 << 16)) != reports:
            pass


def is_refused(address: str, kind: socket.SocketKind) -> bool:
    """Return True if the port is refused, and not merely silent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as asking:
        asking.settimeout(5)
        try:
            asking.connect((address, CLOSED))
            asking.send(b"x")
            asking.recv(1)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    return False


@pytest.mark.parametrize("flushed", [False, True], ids=["", "the chain of senders is flushed"])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("topology", [L2], indirect=True)
def test_an_l2_pod_does_not_send_as_its_node(
    request: pytest.FixtureRequest, topology: Topology, family: int, *, flushed: bool
) -> None:
    """It puts a frame for the ENI's own MAC on the ENI, and the node would forward it."""
    pod, node = topology.pods["a1"].namespace, topology.node.namespace
    if flushed:  # by others, for a moment: accept_local and another chain hold
        request.addfinalizer(topology.node.look)
        node.nft(f"flush chain inet openeni eni{node.run(socket.if_nametoindex, 'ens10')}{CUT}")
    forged = datagram(NODE[family == 6], BEYOND[family == 6], (NODE_MAC, NODE_MAC))
    attack = sending(pod, "eth0", forged)
    place = topology.network.fabric, Port("eni-a", NODE_MAC).device
    _, by_nic = captured(pod, attack, neutron.GATEWAY, place, (node, "eth0"))
    assert sent_as_node(by_nic) == []


def leaving_after_asking(topology: Topology, client: str, address: str) -> list[tuple[str, str]]:
    """Have a pod ask its own host port at `address` as `client`, and answer that.

    Return the addresses of what leaves by the node's own NIC then.
    """
    pod, node = topology.pods["a1"].namespace, topology.node.namespace
    node.send(client)  # the way there is known: nothing waits for it
    macs = NODE_MAC, NODE_MAC
    forged = datagram(client, address, macs, (ASKED, HOST_PORT))
    answer = datagram(own(topology, "a1")[":" in client], client, macs, (POD_PORT, ASKED))
    place = topology.network.fabric, Port("eni-a", NODE_MAC).device
    attack = sending(pod, "eth0", forged, answer)
    _, by_nic = captured(pod, attack, neutron.GATEWAY, place, (node, "eth0"))
    return list(map(addresses_of, by_nic))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("posing_as", [METADATA, OUTSIDE])
@pytest.mark.parametrize("topology", [L2], indirect=True)
def test_an_l2_pod_asks_nobody_as_its_node(
    topology: Topology, posing_as: tuple[str, str], family: int
) -> None:
    """It poses as a client of its own host port: answers to that leave by the node's own NIC."""
    client, address = posing_as[family == 6], NODE[family == 6]
    assert (address, client) not in leaving_after_asking(topology, client, address)


@pytest.mark.parametrize("topology", [L3S, L3], indirect=True)
def test_in_l3s_and_l3_a_pod_asks_nobody_as_its_node(topology: Topology) -> None:
    """By an address that the host's slave has not: that of another NIC, or of a bridge."""
    topology.node.namespace.ip(
        f"addr replace {BESIDES[0]}/32 dev nodelocaldns",
        f"addr replace {BESIDES[1]}/128 dev nodelocaldns",
    )
    for family in topology.families:
        client, address = OUTSIDE[family == 6], BESIDES[family == 6]
        assert (address, client) not in leaving_after_asking(topology, client, address)


@pytest.mark.parametrize("topology", [L3S, L3], indirect=True)
def test_in_l3s_and_l3_nothing_from_an_address_that_is_no_pods_leaves_the_eni(
    topology: Topology,
) -> None:
    pod, dropped = topology.pods["a1"].namespace, topology.network.dropped()
    place = topology.network.fabric, Port("eni-a", NODE_MAC).device
    for wrong in (OUTSIDE, REMOTE.addresses):
        attack = partial(impersonate, pod, wrong[: len(topology.families)], ROUTERS)
        (frames,) = captured(pod, attack, neutron.GATEWAY, place)
        assert not {addresses_of(frame)[0] for frame in frames} & set(wrong)
    assert topology.network.dropped() == dropped


@pytest.mark.parametrize("topology", [L2], indirect=True)
def test_an_l2_node_hears_a_pod_under_addresses_of_pods_alone(topology: Topology) -> None:
    pod, node = topology.pods["a1"].namespace, topology.node.namespace
    for wrong in (OUTSIDE, REMOTE.addresses):
        for source, to in zip(wrong, NODE, strict=True):
            attack = sending(pod, "eth0", datagram(source, to, (NODE_MAC, NODE_MAC)))
            assert received(pod, attack, to, node) == []


@pytest.mark.parametrize("topology", [VETH, L2, L3], indirect=True)
def test_the_node_forwards_nothing_from_an_eni_that_claims_to_be_its_own(
    topology: Topology,
) -> None:
    node, fabric = topology.node.namespace, topology.network.fabric
    forged = datagram(NODE[0], BEYOND[0], (neutron.ROUTER_MAC, NODE_MAC))
    attack = sending(fabric, Port("eni-a", NODE_MAC).device, forged)
    honest = topology.pods["a1"].facts.eni.primary[0]
    on_eni, by_nic = captured(fabric, attack, honest, (node, "ens10"), (node, "eth0"))
    assert forged in on_eni
    assert sent_as_node(by_nic) == []


@pytest.mark.parametrize("topology", [L3S], indirect=True)
def test_an_l3s_node_hears_nobody_outside_under_its_own_address(topology: Topology) -> None:
    outside, primary = topology.network.outside, topology.pods["a1"].facts.eni.primary[0]
    attack = partial(impersonate, outside, NODE[:1], (primary,))
    assert received(outside, attack, primary, topology.node.namespace) == []


def sent_as_node(frames: list[bytes]) -> list[bytes]:
    """Return what pods have sent by the node's NIC as the node: from its address beyond it."""
    pairs = list(zip(NODE, BEYOND, strict=True))
    return [frame for frame in frames if addresses_of(frame) in pairs and b"openeni" in frame]
