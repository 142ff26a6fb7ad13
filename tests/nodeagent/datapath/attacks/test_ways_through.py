"""By an ENI's MAC nobody gets through its node to what has security groups of its own, or none."""

from typing import Final

import pytest

from openeni_crds.enipool import IPVlanMode
from openeni_testing.network.attacks import (
    DISCARD,
    addresses_of,
    captured,
    datagram,
    datagram_without_length,
    on_one_processor,
    received,
    sending,
)
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = [
    pytest.mark.root,
    pytest.mark.parametrize("topology", MODES, indirect=True, scope="module"),
]
CONTAINER: Final = "172.17.0.2"
SERVICE: Final = {4: "10.96.0.10", 6: "fd96::10"}
OPEN: Final = 53  # of a service, where security groups let it pass


def by_the_eni(topology: Topology, target: str, port: int = DISCARD) -> bytes:
    """Return what a machine of the pods' network sends to the MAC of a1's ENI."""
    macs = REMOTE.mac, topology.pods["a1"].facts.eni.mac
    return datagram(REMOTE.addresses[":" in target], target, macs, (4000, port))


def test_the_network_does_not_reach_pods_of_the_nodes_other_enis(topology: Topology) -> None:
    for family in topology.families:
        theirs = topology.of("b1", family)
        attack = sending(topology.remote, "eth0", by_the_eni(topology, theirs))
        assert received(topology.remote, attack, theirs, topology.pods["b1"].namespace) == []


def test_the_network_reaches_the_enis_own_pods(topology: Topology) -> None:
    """What the others send would arrive."""
    for family in topology.families:
        own, source = topology.of("a1", family), REMOTE.addresses[family == 6]
        attack = sending(topology.remote, "eth0", by_the_eni(topology, own))
        got = received(topology.remote, attack, own, topology.pods["a1"].namespace)
        assert got == [source]


def test_a_service_is_no_way_to_another_port_of_the_enis_own_pods(topology: Topology) -> None:
    """It is asked at the port that security groups let pass; a NodePort leads there as before."""
    node, pod = topology.node.namespace, topology.pods["a1"]
    for word, family in (("ip", 4), ("ip6", 6))[: len(topology.families)]:
        own, primary = topology.of("a1", family), pod.facts.eni.primary[family == 6]
        to = f"dnat {word} to {f'[{own}]' if family == 6 else own}:{DISCARD}"
        node.nft(
            f"""table inet theirs {{
              chain prerouting {{ type nat hook prerouting priority dstnat;
                {word} daddr {SERVICE[family]} udp dport {OPEN} {to}
                {word} daddr {primary} udp dport {DISCARD} {to}; }}
            }}"""
        )
        attack = sending(topology.remote, "eth0", by_the_eni(topology, SERVICE[family], OPEN))
        assert received(topology.remote, attack, primary, pod.namespace, bound=own) == []
        node.nft("delete table inet theirs")


def test_an_l2_pod_reaches_no_pod_of_its_subnet_through_its_node(topology: Topology) -> None:
    """In the other modes a pod cannot choose; between two `Veth` pods that is the way."""
    pod = topology.pods["a1"]
    if pod.facts.eni.datapath.ipvlan_mode is not IPVlanMode.L2:
        return
    mac = pod.facts.eni.mac
    for family in topology.families:
        own, theirs = topology.of("a1", family), topology.of("b1", family)
        frames = [datagram(own, theirs, (mac, mac), (4000, DISCARD))]
        if family == 6:  # conntrack calls it invalid, so it has no status
            frames.append(datagram_without_length(own, theirs, (mac, mac), (4000, DISCARD)))
        attack = sending(pod.namespace, "eth0", *frames)
        seen, *_ = captured(pod.namespace, attack, theirs, (topology.pods["b1"].namespace, "eth0"))
        assert not [frame for frame in seen if addresses_of(frame) == (own, theirs)]


def test_the_network_does_not_reach_networks_inside_the_node(topology: Topology) -> None:
    """Such as docker0."""
    node = topology.node.namespace
    with Namespace("container") as container:
        node.ip(
            f"link add docker0 type veth peer name eth0 netns {container.thread_id}",
            "addr add 172.17.0.1/24 dev docker0",
            "link set docker0 up",
        )
        container.ip(
            f"addr add {CONTAINER}/24 dev eth0",
            "link set eth0 up",
            "route add default via 172.17.0.1",
        )
        topology.remote.run(on_one_processor)  # so that what the node sends comes later
        attack = sending(topology.remote, "eth0", by_the_eni(topology, CONTAINER))
        assert received(node, attack, CONTAINER, container) == []
        node.ip("link del docker0")
