"""Fragments so small that no filter can read a flag of TCP, and that the node never joins.

A pod asks for that with IP_NODEFRAG, which the kernel heeds on the node, too: ipvlan leaves the
socket of the pod on its packets (ipv4_conntrack_defrag).
"""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import neutron
from openeni_testing.network.attacks import SYN, TCP, addresses_of, captured, segment
from openeni_testing.network.topology import Topology

pytestmark = [
    pytest.mark.root,
    pytest.mark.ipvlan,
    pytest.mark.parametrize(
        "topology",
        [
            pytest.param(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}")
            for mode in (IPVlanMode.L3S, IPVlanMode.L3)
        ],
        indirect=True,
    ),
]
IP_NODEFRAG = 22  # linux/in.h
MORE = 0x2000  # fragments
NODE = "10.99.0.11"
KUBELET = 10250


def send_in_pieces(source: str, target: str, tcp: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.SOL_IP, IP_NODEFRAG, 1)
        for part, field in ((tcp[:8], MORE), (tcp[8:], 1)):  # the second begins at byte 8
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(part), 0x4711, field, 64, TCP, 0)
            head += ip_address(source).packed + ip_address(target).packed
            with suppress(OSError):  # a filter has dropped it
                raw.sendto(head + part, (target, 0))


def asking(topology: Topology, source: str, target: str, port: int) -> Callable[[], None]:
    """Return the attack of a pod that begins a connection as somebody else."""
    pod, syn = topology.pods["a1"].namespace, segment(source, target, (5557, port), SYN)
    return lambda: pod.run(send_in_pieces, source, target, syn)


@pytest.mark.parametrize("who", ["the ENI's primary address", "the node"])
def test_no_tcp_leaves_the_eni_as_somebody_else(topology: Topology, who: str) -> None:
    pod = topology.pods["a1"]
    source = NODE if who == "the node" else pod.facts.eni.primary[0]
    assert topology.node.namespace.ask(neutron.GATEWAY, 80, pod.facts.eni.primary[0])
    attack = asking(topology, source, neutron.OUTSIDE, 80)
    place = topology.node.namespace, "ens10"
    (seen,) = captured(pod.namespace, attack, neutron.GATEWAY, place)
    assert source not in [addresses_of(frame)[0] for frame in seen]


def test_the_node_does_not_answer_itself_by_its_other_eni(topology: Topology) -> None:
    """The network brings it back, and there the node's own addresses are accepted as senders."""
    pod, node = topology.pods["a1"], topology.node.namespace
    own, other = (topology.pods[name].facts.eni.primary[0] for name in ("a1", "b1"))
    assert pod.namespace.ask(other, KUBELET)
    attack = asking(topology, own, other, KUBELET)
    _, on_lo = captured(pod.namespace, attack, other, (node, "ens20"), (node, "lo"))
    assert (other, own) not in list(map(addresses_of, on_lo))


@pytest.mark.parametrize("source", ["127.0.0.1", NODE])
def test_the_node_does_not_answer_itself_over_lo(topology: Topology, source: str) -> None:
    pod, node = topology.pods["a1"], topology.node.namespace
    primary = pod.facts.eni.primary[0]
    assert pod.namespace.ask(primary, KUBELET)
    attack = asking(topology, source, primary, KUBELET)
    (on_lo,) = captured(pod.namespace, attack, primary, (node, "lo"))
    assert (primary, source) not in list(map(addresses_of, on_lo))
