"""IPv6 options that nobody knows: the kernel would tell whomever the packet names, as the node.

It reads those for each hop ahead of all filters (ip6_rcv_core, ipv6_parse_hopopts).
"""

import struct
from collections.abc import Generator
from ipaddress import ip_address

import pytest

from openeni_testing.network import neutron
from openeni_testing.network.attacks import MACs, addresses_of, captured, sending
from openeni_testing.network.frames import ethernet
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import Port
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
NODE = "fd99::11"
NAMED = (neutron.OUTSIDE_6, "fd99::1")
DATAGRAM = struct.pack("!HHHH", 33000, 53, 8, 0)
TELL = b"\xbe\x04\0\0\0\0"  # an option that nobody knows: discard the packet, and tell its sender


@pytest.fixture(params=MODES)
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    made = Topology(request.param, dual=True)
    yield made
    made.close()


def with_unknown_option(source: str, macs: MACs) -> bytes:
    body = struct.pack("!BB", 17, 0) + TELL + DATAGRAM
    head = struct.pack("!IHBB", 6 << 28, len(body), 0, 64)
    packet = head + ip_address(source).packed + ip_address(NODE).packed + body
    return ethernet(macs[0], 0x86DD, packet, macs[1])


def told(topology: Topology, attacker: Namespace, macs: MACs, honest: str) -> list[tuple[str, str]]:
    """Return the addresses of the errors that leave the node by its own port."""
    for named in NAMED:
        topology.node.namespace.ping(named)  # the way there is known
    attack = sending(attacker, "eth0", *(with_unknown_option(one, macs) for one in NAMED))
    fabric = topology.network.fabric
    eni, own = (fabric, Port("eni-a", "").device), (fabric, Port("node11", "").device)
    _, seen = captured(attacker, attack, honest, eni, own)
    return [addresses_of(frame) for frame in seen if DATAGRAM in frame]


def test_nobody_whom_a_pod_names_hears_of_it(topology: Topology) -> None:
    pod = topology.pods["a1"]
    macs = pod.pod_network.pod_mac, pod.pod_network.host_mac
    if topology.datapath.ipvlan_mode:
        macs = pod.facts.eni.mac, pod.facts.eni.mac
    assert told(topology, pod.namespace, macs, neutron.GATEWAY) == []


def test_nor_does_one_whom_a_machine_of_the_network_names(topology: Topology) -> None:
    topology.take_port_security_from_remote()
    eni = topology.pods["a1"].facts.eni
    assert told(topology, topology.remote, (REMOTE.mac, eni.mac), eni.primary[0]) == []
