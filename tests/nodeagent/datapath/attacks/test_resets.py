"""What the node resets, though the filters against senders see no socket: it reset it before, too.

Over IPv6 a reset has none (tcp_v6_send_response). Conntrack calls one invalid that answers what it
does not know: an end of a connection that the node has forgotten, with its reboot.
"""

import struct
from collections.abc import Generator
from ipaddress import ip_address

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import frames, neutron
from openeni_testing.network.attacks import addresses_of, captured, checksum, sending
from openeni_testing.network.neutron import Port
from openeni_testing.network.topology import Topology

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
NODE_MAC = "fa:16:3e:98:00:0a"  # of the ENI on the node
TCP = 6
FIN, SYN, ACK = 1, 2, 16
CLOSED = 4444
OUTSIDE = (neutron.OUTSIDE, neutron.OUTSIDE_6)
ROUTERS = (neutron.GATEWAY, neutron.GATEWAY_6)


@pytest.fixture(scope="module")
def topology() -> Generator[Topology]:
    made = Topology(Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S)), dual=True)
    yield made
    made.close()


@pytest.mark.parametrize("flags", [SYN, ACK, SYN | ACK, FIN | ACK])
@pytest.mark.parametrize("family", [4, 6])
def test_the_node_resets_connections_that_it_does_not_know(
    topology: Topology, family: int, flags: int
) -> None:
    pod, fabric, place = topology.pods["a1"], topology.network.fabric, int(family == 6)
    primary, outside, router = pod.facts.eni.primary[place], OUTSIDE[place], ROUTERS[place]
    assert topology.node.namespace.ask(router, 80, primary)  # nothing waits for a neighbour
    attack = sending(fabric, Port("eni-a", NODE_MAC).device, segment(outside, primary, flags))
    (seen,) = captured(pod.namespace, attack, neutron.GATEWAY, (fabric, Port("eni-a", "").device))
    assert (primary, outside) in list(map(addresses_of, seen))


def segment(source: str, target: str, flags: int) -> bytes:
    """Return a frame from the router; each kind of segment is of a connection of its own."""
    ports = 5555, CLOSED + flags
    tcp = struct.pack("!HHIIBBHHH", *ports, 1000, 2000, 0x50, flags, 65535, 0, 0)
    addresses = ip_address(source).packed + ip_address(target).packed
    total = checksum(addresses + struct.pack("!II", len(tcp), TCP) + tcp)
    tcp = tcp[:16] + total + tcp[18:]
    if ":" in source:
        return frames.ipv6(neutron.ROUTER_MAC, source, target, tcp, TCP, to=NODE_MAC)
    return frames.ipv4(neutron.ROUTER_MAC, source, target, tcp, TCP, to=NODE_MAC)
