"""Established flows of veth pods bypass the node's stack, and end where others' do.

In the kernel for the tests of ipvlan, which has flowtables; the machine's own may have none.
"""

import socket
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.linux import conntrack, modes
from openeni_nodeagent.datapath.linux.kernel import observe_filters
from openeni_nodeagent.datapath.model import Chain, FlowtableLink
from openeni_testing.network import frames, neutron
from openeni_testing.network.attacks import captured, segment, sending
from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import Node
from openeni_testing.network.topology import KINDS, PORT, REMOTE, Topology, flow
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
SECONDS: Final = 30.0
COUNTING: Final = f"""
table inet seen {{
  counter passing {{ }}
  chain forwarded {{
    type filter hook forward priority filter; policy accept;
    meta l4proto {{ tcp, udp }} th sport {PORT} counter name passing
    meta l4proto {{ tcp, udp }} th dport {PORT} counter name passing
  }}
}}
"""
ENDS: Final = {
    "pod to the subnet": ("a1", "remote"),
    "pod to beyond the gateway": ("a1", "outside"),
    "the subnet to pod": ("remote", "a1"),
    "beyond the gateway to pod": ("outside", "a1"),
    "pod to pod": ("a1", "a2"),
    "pod to a pod of another ENI": ("a1", "b1"),
    "pod to a pod of another node": ("a1", "c1"),
}
WITHIN: Final = ("pod to pod", "pod to a pod of another ENI")  # the node


@pytest.fixture(scope="module")
def topology() -> Generator[Topology]:
    assert modes.has_flow_offload()
    made = Topology(Datapath(Mode.VETH), dual=True)
    made.network.drop_invalid()
    for node in (made.node, made.other):
        node.namespace.nft(COUNTING)
    yield made
    made.close()


def machine(topology: Topology, name: str) -> tuple[Namespace, str]:
    if pod := topology.pods.get(name):
        return pod.namespace, pod.address
    outside = topology.network.outside, neutron.OUTSIDE
    return outside if name == "outside" else (topology.remote, REMOTE.addresses[0])


def seen(node: Node) -> int:
    """Return how many packets have passed the node's forward hook."""
    listed = node.namespace.program("nft", "list", "counter", "inet", "seen", "passing")
    return int(listed.split("packets")[1].split()[0])


def bypasses_stack(node: Node, exchange: Callable[[], object]) -> bool:
    """Return True if no packet of an exchange passes the node's stack."""
    before = seen(node)
    exchange()
    return seen(node) == before


def wait_until_offloaded(node: Node, exchange: Callable[[], object]) -> None:
    wait_for(lambda: bypasses_stack(node, exchange), "the flow bypasses the stack", SECONDS)


def links(node: Node) -> set[str]:
    return {i.device for i in node.namespace.run(observe_filters) if isinstance(i, FlowtableLink)}


def host_links(topology: Topology) -> set[str]:
    pods = ("a1", "a2", "b1")
    return {"ens10", "ens20", *(topology.pods[p].pod_network.host_interface for p in pods)}


@pytest.mark.parametrize(
    ("ends", "kind"), [(e, k) for e in ENDS for k in KINDS if k == "tcp" or e not in WITHIN]
)
def test_a_flow_bypasses_the_stack_once_both_ends_have_sent(
    topology: Topology, ends: str, kind: str
) -> None:
    client, server = ENDS[ends]
    here, _ = machine(topology, client)
    there, address = machine(topology, server)
    before = seen(topology.node)
    with flow(kind, here, there, address) as found:
        found.exchange(1)
        assert seen(topology.node) > before
        wait_until_offloaded(topology.node, found.exchange)
    assert (topology.network.dropped(), topology.network.dropped_as_invalid()) == ({}, 0)


@pytest.mark.parametrize("ends", WITHIN)
def test_datagrams_between_pods_of_the_node_go_through_the_stack(
    topology: Topology, ends: str
) -> None:
    """A pod that holds back what it gets would hold back what its server sends to anybody."""
    client, server = (topology.pods[name] for name in ENDS[ends])
    beyond = topology.network.outside, neutron.OUTSIDE
    with flow("udp", client.namespace, server.namespace, server.address) as found:
        found.exchange()
        with flow("udp", client.namespace, *beyond) as later:

            def is_offloaded() -> bool:
                found.exchange(1)
                return bypasses_stack(topology.node, later.exchange)

            wait_for(is_offloaded, "a flow that has begun later bypasses the stack", SECONDS)
        assert not bypasses_stack(topology.node, found.exchange)


def test_flows_of_ipv6_go_through_the_stack(topology: Topology) -> None:
    """They do not notice a route that comes in another table, to a new pod of the node, say."""
    pod = topology.pods["a1"].namespace
    with flow("tcp", pod, topology.remote, REMOTE.addresses[1]) as found:
        found.exchange()
        assert not bypasses_stack(topology.node, found.exchange)


@pytest.mark.parametrize("family", [4, 6])
def test_flows_lead_to_a_pod_that_comes_to_their_node(topology: Topology, family: int) -> None:
    leaving, pod = topology.pods["c1"], topology.pods["a1"]
    address = topology.of("c1", family)
    with flow("udp", pod.namespace, leaving.namespace, address) as found:
        found.exchange()
        if family == 4:
            wait_until_offloaded(topology.node, found.exchange)
        topology.other.delete(leaving)
        came = topology.node.add("came", pod.facts.eni, *leaving.facts.addresses)
        with came.namespace.run(socket.socket, found.client.family, socket.SOCK_DGRAM) as sink:
            sink.bind((address, PORT))
            sink.settimeout(SECONDS)
            found.client.send(b"who is there?")
            assert sink.recv(64) == b"who is there?"
        topology.node.delete(came)
    topology.pods["c1"] = topology.other.add("c1", leaving.facts.eni, *leaving.facts.addresses)


def test_a_neighbour_cannot_use_a_pods_flow(topology: Topology) -> None:
    pod, neighbour = topology.pods["a1"], topology.pods["a2"]
    here, there = pod.address, REMOTE.addresses[0]
    with flow("tcp", pod.namespace, topology.remote, there) as found:
        wait_until_offloaded(topology.node, found.exchange)
        ports = found.client.getsockname()[1], PORT
        forged = segment(here, there, ports, 4 | 16)  # RST, ACK
        gateway = neighbour.pod_network.host_mac
        frame = frames.ipv4(gateway, here, there, forged, 6, to=gateway)
        attack = sending(neighbour.namespace, "eth0", frame)
        places = (topology.remote, "eth0"), (topology.node.namespace, "ens10")
        for passing in captured(neighbour.namespace, attack, there, *places):
            assert not [frame for frame in passing if forged in frame]
        assert bypasses_stack(topology.node, found.exchange)


def test_the_next_pod_with_an_address_gets_nothing_of_its_flows(topology: Topology) -> None:
    pod = topology.pods.pop("a2")
    with flow("udp", pod.namespace, topology.remote, REMOTE.addresses[0]) as found:
        wait_until_offloaded(topology.node, found.exchange)
        _, port = found.client.getsockname()
        topology.node.delete(pod)
        assert pod.pod_network.host_interface not in links(topology.node)
        successor = topology.node.add("successor", pod.facts.eni, *pod.facts.addresses)
        topology.pods["a2"] = successor
        with successor.namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind((pod.address, port))
            sink.settimeout(SECONDS)
            before = seen(topology.node)
            found.server.sendto(b"late", (pod.address, port))
            assert sink.recv(64) == b"late"  # of a new flow, which all filters have seen
            assert seen(topology.node) == before + 1
    assert topology.network.dropped_as_invalid() == 0


def test_a_udp_flow_ends_with_its_conntrack_entry(topology: Topology) -> None:
    """So kube-proxy ends those to a backend that has gone."""
    pod = topology.pods["a1"]
    service = """
    table ip service { }
    delete table ip service
    table ip service {
      chain to { type nat hook prerouting priority dstnat; policy accept;
        ip daddr 10.96.0.77 dnat to %s
      }
    }
    """
    node = topology.node.namespace
    node.nft(service % REMOTE.addresses[0])
    client = pod.namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    for server in (topology.remote, topology.network.outside):
        server.answer(PORT)

    def answers() -> str:
        client.send(b"who are you?")
        return client.recv(64).decode().split()[0]

    with client:
        client.settimeout(SECONDS)
        client.connect(("10.96.0.77", PORT))
        assert answers() == "remote"
        wait_until_offloaded(topology.node, answers)
        node.nft(service % neutron.OUTSIDE)
        assert node.run(conntrack.flush, [pod.address]) > 0
        wait_for(lambda: answers() == "outside", "another backend answers", SECONDS)
    node.program("nft", "delete", "table", "ip", "service")


@pytest.mark.parametrize("ends", ["pod to the subnet", "pod to beyond the gateway", "pod to pod"])
def test_flows_survive_a_flush_of_all_filters_and_are_offloaded_again(
    topology: Topology, ends: str
) -> None:
    client, server = ENDS[ends]
    here, _ = machine(topology, client)
    there, address = machine(topology, server)
    with flow("tcp", here, there, address) as found:
        wait_until_offloaded(topology.node, found.exchange)
        topology.node.namespace.program("nft", "flush", "ruleset")
        report = topology.node.look()
        assert (report.errors, report.left) == ({}, "")
        assert links(topology.node) == host_links(topology)
        topology.node.namespace.nft(COUNTING)
        wait_until_offloaded(topology.node, found.exchange)
        topology.node.namespace.ip("rule flush", "rule add lookup main prio 32766")
        topology.node.look()
        wait_until_offloaded(topology.node, found.exchange)


def test_a_nic_that_is_plugged_again_carries_flows_again(topology: Topology) -> None:
    node, network = topology.node, topology.network
    pod = topology.pods["b1"]
    with flow("tcp", pod.namespace, topology.remote, REMOTE.addresses[0]) as found:
        wait_until_offloaded(node, found.exchange)
        addresses = ("10.98.0.20", "fd98::20", *pod.facts.addresses)
        port = neutron.Port("eni-b", pod.facts.eni.mac, addresses)
        network.unplug(port)
        assert "eni-b" in node.look().errors
        network.plug(node.namespace, "ens21", port)
        assert node.look().errors == {}
        assert "ens21" in links(node)
        assert "ens20" not in links(node)
        wait_until_offloaded(node, found.exchange)
        network.unplug(port)
        network.plug(node.namespace, "ens20", port)
        assert node.look().errors == {}
        wait_until_offloaded(node, found.exchange)


def test_without_offload_every_packet_goes_through_the_stack(topology: Topology) -> None:
    node, pod = topology.node, topology.pods["a1"]
    with flow("tcp", pod.namespace, topology.remote, REMOTE.addresses[0]) as found:
        wait_until_offloaded(node, found.exchange)
        off = replace(node.facts, flow_offload=False)
        report = node.look(facts=off)
        assert (report.errors, report.left) == ({}, "")
        state = node.namespace.run(observe_filters)
        assert not [i for i in state if isinstance(i, Chain) and i.name.endswith("_flow")]
        assert links(node) == set()
        found.exchange()
        assert not bypasses_stack(node, found.exchange)
    node.look()
    assert links(node) == host_links(topology)
