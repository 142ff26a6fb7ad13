"""An l3s or l3 pod calls its packet of IPv4 ARP, which is whatever its socket says (sll_protocol).

ipvlan then looks for a slave with the address that stands where ARP has its target (bytes 24 to 28;
ipvlan_get_L3_hdr), which an option of the header is long enough for. So a packet to anybody comes
to the node by its own slave, and would be routed.
"""

import struct
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import frames, neutron
from openeni_testing.network.attacks import (
    DISCARD,
    addresses_of,
    captured,
    checksum,
    received,
    send_frames,
)
from openeni_testing.network.node import Pod
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
LAYER_3 = [
    pytest.param(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}")
    for mode in (IPVlanMode.L3S, IPVlanMode.L3)
]
NODE = "10.99.0.11"  # of the slave
ARP = 0x0806
UNKNOWN = 30  # an option of IPv4
TARGETS = (names.METADATA_V4, neutron.OUTSIDE, REMOTE.addresses[0])


def called_arp(pod: Pod, target: str) -> Callable[[], None]:
    """Return what sends a datagram to a target, which ipvlan takes for one to the node."""
    option = struct.pack("!BBBB", UNKNOWN, 8, 0, 0) + ip_address(NODE).packed
    udp = struct.pack("!HHHH", DISCARD, DISCARD, 8, 0)
    head = struct.pack("!BBHHHBBH", 0x47, 0, 28 + len(udp), 0, 0, 64, frames.UDP, 0)
    head += ip_address(pod.address).packed + ip_address(target).packed + option
    head = head[:10] + checksum(head) + head[12:]
    mac = pod.facts.eni.mac
    frame = frames.ethernet(mac, 0x0800, head + udp, mac)
    return lambda: pod.namespace.run(send_frames, "eth0", [frame], ARP)


@pytest.mark.parametrize("topology", LAYER_3, indirect=True)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_leaves_by_the_nodes_own_nic(topology: Topology, target: str) -> None:
    """Past the ENI's security groups; where the node masquerades it, as the node."""
    pod, node = topology.pods["a1"], topology.node.namespace
    wires = (node, "ens10"), (node, "eth0")
    seen = captured(pod.namespace, called_arp(pod, target), neutron.GATEWAY, *wires)
    assert (pod.address, target) not in map(addresses_of, seen[1])
    assert topology.network.dropped() == {}


@pytest.mark.parametrize("topology", LAYER_3, indirect=True)
def test_a_pod_of_another_eni_hears_nothing_past_the_network(topology: Topology) -> None:
    pod, victim = topology.pods["a1"], topology.pods["b1"]
    attack = called_arp(pod, victim.address)
    assert received(pod.namespace, attack, victim.address, victim.namespace) == []


@pytest.mark.parametrize("topology", LAYER_3, indirect=True)
def test_the_node_hears_what_is_for_itself(topology: Topology) -> None:
    """What the others send would arrive if it were for the node."""
    pod, node = topology.pods["a1"], topology.node.namespace
    assert received(pod.namespace, called_arp(pod, NODE), NODE, node) == [pod.address]
