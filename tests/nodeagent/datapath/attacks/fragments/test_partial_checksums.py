"""A pod has a partial checksum completed in its packet, behind the node's filters.

Over the receiver, on the way to the network; over the sender or an error's type, on that to `lo`.
"""

import struct
from collections.abc import Sequence

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import frames, neutron, partial_checksums, rewritten_fragments
from openeni_testing.network.attacks import addresses_of, captured, received
from openeni_testing.network.neutron import Port
from openeni_testing.network.topology import Topology

pytestmark = pytest.mark.root
VETH = pytest.param(Datapath(Mode.VETH), id="veth")
L2, L3S, L3 = (
    pytest.param(
        Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}", marks=pytest.mark.ipvlan
    )
    for mode in (IPVlanMode.L2, IPVlanMode.L3S, IPVlanMode.L3)
)
NODE_MAC = "fa:16:3e:98:00:0a"  # of the ENI on the node


@pytest.mark.parametrize("topology", [VETH, L3S], indirect=True)
@pytest.mark.parametrize("target", [names.METADATA_V4, names.METADATA_V6])
def test_no_packet_to_the_metadata_service_leaves_the_eni(topology: Topology, target: str) -> None:
    pod = topology.pods["a1"]
    of_family = partial_checksums.fragments_6 if ":" in target else partial_checksums.fragments_4
    sent = of_family(pod.pod_network.pod_mac, pod.facts.addresses[":" in target], target)
    unfiltered, filtered = receivers(topology, sent)
    assert target not in filtered
    if target not in unfiltered:
        pytest.skip("this kernel completes no checksum over an address of this family")


@pytest.mark.parametrize("topology", [VETH, L2, L3S], indirect=True)
def test_the_enis_nic_does_not_complete_it_either(topology: Topology) -> None:
    pod = topology.pods["a1"]
    macs = pod.pod_network.pod_mac, pod.pod_network.host_mac
    if topology.datapath.ipvlan_mode is IPVlanMode.L2:  # it sends to the wire itself
        macs = macs[0], neutron.ROUTER_MAC
    topology.node.namespace.run(partial_checksums.complete_no_checksums, "ens10")
    sent = partial_checksums.packet_6(*macs, pod.facts.addresses[1], names.METADATA_V6)
    unfiltered, filtered = receivers(topology, sent)
    assert names.METADATA_V6 in unfiltered
    assert names.METADATA_V6 not in filtered


def receivers(
    topology: Topology, sent: Sequence[partial_checksums.Frame]
) -> tuple[set[str], set[str]]:
    """Return the receivers of what leaves the ENI without and with its egress chain."""
    pod, node = topology.pods["a1"].namespace, topology.node
    place = (topology.network.fabric, Port("eni-a", "").device)

    def attack() -> None:
        pod.run(partial_checksums.send, "eth0", sent)

    def seen() -> set[str]:
        (found,) = captured(pod, attack, neutron.GATEWAY_6, place)
        return {addresses_of(frame)[1] for frame in found}

    node.namespace.nft(f"delete table netdev {names.NFT_TABLE}")
    without = seen()
    node.look()
    return without, seen()


@pytest.mark.parametrize("topology", [L3S], indirect=True)
def test_the_node_hears_no_pod_as_itself_or_as_nobody_over_lo(topology: Topology) -> None:
    """By IPv6: newer kernels complete no checksum over an address of IPv4."""
    pod = topology.pods["a1"]
    own, target = pod.facts.addresses[1], pod.facts.eni.primary[1]
    for other in (target, "fd98::dead"):
        sent = rewritten_fragments.from_another(NODE_MAC, own, target, other)

        def attack(sent: Sequence[partial_checksums.Frame] = sent) -> None:
            pod.namespace.run(partial_checksums.send, "eth0", sent)

        assert received(pod.namespace, attack, target, topology.node.namespace) == []


@pytest.mark.parametrize("topology", [L3S, L3], indirect=True)
def test_no_path_of_the_node_gets_a_lower_mtu_over_lo(topology: Topology) -> None:
    """By an error about an echo reply, which needs no socket to be believed."""
    pod, node = topology.pods["a1"], topology.node.namespace
    for place, target in enumerate(pod.facts.eni.primary):
        own, outside = pod.facts.addresses[place], (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
        if place:
            reply = struct.pack("!BBHHH", 129, 0, 0, 0, 0)
            about = frames.ipv6(NODE_MAC, target, outside, reply, frames.ICMPV6)[14:]
            sent = rewritten_fragments.too_big_6(NODE_MAC, own, target, about)
        else:
            reply = struct.pack("!BBHHH", 0, 0, 0xFFFF, 0, 0)
            about = frames.ipv4(NODE_MAC, target, outside, reply, 1)[14:]
            sent = rewritten_fragments.too_big_4(NODE_MAC, own, target, about)
        pod.namespace.run(partial_checksums.send, "eth0", sent)
        assert pod.namespace.ping((neutron.GATEWAY, neutron.GATEWAY_6)[place])  # sent afterwards
        assert "mtu" not in node.program("ip", "route", "get", outside, "from", target)
