"""Addresses that no machine has, such as 0.0.0.0 and ::, are no way for a pod to its node."""

import socket
import struct
from typing import Final

import pytest

from openeni_testing.network import neutron
from openeni_testing.network.attacks import MACs, datagram, icmpv6, received, sending
from openeni_testing.network.frames import ICMPV6
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import Topology

pytestmark = [
    pytest.mark.root,
    pytest.mark.parametrize("topology", MODES, indirect=True, scope="module"),
]
NODE: Final = {4: "10.99.0.11", 6: "fd99::11"}
ANY: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - a socket of a test
NOBODY: Final = {
    4: (ANY[4], "0.0.0.1", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    6: (ANY[6], "::1", "::2", "ff01::1", "ff02::1", "fe80::1"),
}
SOMEBODY: Final = {
    4: ("127.0.0.1", NODE[4], neutron.OUTSIDE),
    6: ("::1", NODE[6], neutron.OUTSIDE_6),
}
GROUPS: Final = {4: ("224.0.0.1", "255.255.255.255"), 6: ("ff01::1", "ff02::1")}
ECHO: Final = 128  # of ICMPv6
NEVER_SENT: Final = 0x5EED  # no `ping` of another test has this identifier


def to_node(topology: Topology) -> MACs:
    """Return the MACs of a frame that a1 sends to its node."""
    pod = topology.pods["a1"]
    if topology.datapath.ipvlan_mode:
        return pod.facts.eni.mac, pod.facts.eni.mac
    return pod.pod_network.pod_mac, pod.pod_network.host_mac


def heard_from(topology: Topology, family: int, frames: list[bytes]) -> list[str]:
    """Return the senders of these frames of a1 that a socket of the node hears."""
    pod, node = topology.pods["a1"].namespace, topology.node.namespace
    attack = sending(pod, "eth0", *frames)
    return received(pod, attack, NODE[family], node, bound=ANY[family])


def test_what_is_for_nobody_does_not_come_from_somebody_else(topology: Topology) -> None:
    """The kernel routes what is for 0.0.0.0 to the node itself, by whichever link it is sent."""
    macs = to_node(topology)
    for family in topology.families:
        sources = (*SOMEBODY[family], topology.of("b1", family))
        frames = [datagram(one, to, macs) for to in NOBODY[family] for one in sources]
        assert heard_from(topology, family, frames) == []


def test_nobody_is_no_sender(topology: Topology) -> None:
    macs = to_node(topology)
    for family in topology.families:
        targets = (*GROUPS[family], NODE[family])
        frames = [datagram(ANY[family], to, macs) for to in targets]
        assert heard_from(topology, family, frames) == []


def test_nobody_pings_the_node_in_a_group(topology: Topology) -> None:
    """nft_fib_v6_skip_icmpv6: the kernel's look for a sender's route leaves out ICMPv6 from ::."""
    if 6 not in topology.families:
        return
    pod, node, macs = topology.pods["a1"].namespace, topology.node.namespace, to_node(topology)
    body = struct.pack("!HH", NEVER_SENT, 1)
    asked = [icmpv6("::", to, ECHO, body, (macs[0], mac)) for mac, to in by_mac(macs)]
    with node.run(socket.socket, socket.AF_INET6, socket.SOCK_RAW, ICMPV6) as seen:
        seen.settimeout(30)
        own = topology.of("a1", 6)
        last = icmpv6(own, NODE[6], ECHO, body, macs)
        sending(pod, "eth0", *asked, last)()
        senders: list[str] = []
        while own not in senders:
            message, (sender, *_) = seen.recvfrom(1000)
            if message[0] == ECHO and message[4:] == body:
                senders.append(sender)
    assert senders == [own]


def by_mac(macs: MACs) -> list[tuple[str, str]]:
    """Return each group with its own MAC and with the node's."""
    return [(mac, to) for to in GROUPS[6] for mac in ("33:33:00:00:00:01", macs[1])]
