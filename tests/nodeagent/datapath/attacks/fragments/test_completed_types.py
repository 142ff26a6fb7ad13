"""An error about a path's MTU that is none until a checksum is completed, behind the rules.

The node joins what an l3s pod sends over `lo`, and its output hook sees a datagram. When it is cut
again, a checksum is completed: over the type of what follows a header with options for the
receiver. So no first fragment has the error's type, which the second one does.
"""

import struct
from ipaddress import ip_address

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import frames, neutron, partial_checksums
from openeni_testing.network.attacks import checksum
from openeni_testing.network.frames import ICMPV6
from openeni_testing.network.partial_checksums import Frame
from openeni_testing.network.topology import Topology

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
L3S = pytest.param(Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S)), id="ipvlan-L3S")
AUTHENTICATION, FRAGMENT, OPTIONS = 51, 44, 60
ROUTING, UNUSED = 43, 253  # a routing header of a type that nobody knows, with no segments left
FIRST = 1224  # bytes in the first fragment, of a packet of 1280
SKIPPED = 0x1E  # an option that is not known
SMALL = 1280


def hidden_error(mac: str, source: str, target: str, about: bytes) -> list[Frame]:
    """Return two fragments whose header of authentication becomes one with options."""
    own, to = ip_address(source).packed, ip_address(target).packed
    error = struct.pack("!BBHI", 2, 0, 0, SMALL) + about[:48]
    pseudo = own + to + struct.pack("!II", len(error), ICMPV6)
    error = error[:2] + checksum(pseudo + error) + error[4:]
    # Eight options at most. The first one makes it a routing header without segments left, too, for
    # which the kernel takes it behind a real one.
    sizes = [0, 255, 255, 255, 255, FIRST - 2 - 2 - 4 * 257 - 2]
    options = b"".join(struct.pack("!BB", SKIPPED, size) + bytes(size) for size in sizes)
    length = FIRST // 8 - 1
    second_header = struct.pack("!BBBB", ICMPV6, 0, SKIPPED, 4) + bytes(4)
    data = struct.pack("!BB", AUTHENTICATION, length) + options + second_header + error
    route = struct.pack("!BBBBI", OPTIONS, 0, UNUSED, 0, 0)
    head = struct.pack("!IHBB", 6 << 28, 8 + len(data), ROUTING, 64) + own + to
    wanted = int.from_bytes(struct.pack("!BB", OPTIONS, length))
    missing = int.from_bytes(checksum(head + route + data)) - wanted
    head = head[:2] + (missing % 0xFFFF).to_bytes(2) + head[4:]  # the flow label

    def fragment(part: bytes, field: int) -> bytes:
        size = struct.pack("!H", 16 + len(part))
        packet = head[:4] + size + head[6:] + bytes([FRAGMENT]) + route[1:]
        packet += struct.pack("!BBHI", OPTIONS, 0, field, 79) + part
        return frames.ethernet(mac, 0x86DD, packet, mac)

    summed, at = 14 + 8, 48  # from the addresses on; at the type of what follows the options
    one, two = fragment(data[:FIRST], 1), fragment(data[FIRST:], FIRST)
    return [(summed, at, one), (14 + 56, 2, two)]


@pytest.mark.parametrize("topology", [L3S], indirect=True)
def test_the_node_believes_no_error_whose_type_is_completed(topology: Topology) -> None:
    pod, node = topology.pods["a1"], topology.node.namespace
    mac, source, primary = pod.facts.eni.mac, pod.facts.addresses[1], pod.facts.eni.primary[1]
    for target in (primary, "fd99::11"):
        echo = struct.pack("!BBHHH", 129, 0, 0, 0, 0)  # a reply, which needs no socket
        about = frames.ipv6(mac, target, neutron.OUTSIDE_6, echo, ICMPV6)[14:]
        sent = hidden_error(mac, source, target, about)
        pod.namespace.run(partial_checksums.send, "eth0", sent)
        assert pod.namespace.ping(primary)  # what was sent before has arrived
        route = node.program("ip", "route", "get", neutron.OUTSIDE_6, "from", target)
        assert "mtu" not in route
