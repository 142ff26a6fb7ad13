"""A pod's fragments stand behind other headers, or within fragments: conntrack joins them wrongly.

Behind others, it leaves the begin of what the kernel reads next behind the last of these headers,
and the place of its type in the first one (nf_ct_frag6_reasm): filters see a datagram, and the
stack a second routing header, and behind that what it is for. Behind 256 bytes of headers it writes
that type into the sender (find_prev_fhdr: `u8 prev_nhoff`). Of fragments within such that are whole
it joins the outer ones alone: the stack joins the others, behind all filters.
"""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import frames, neutron
from openeni_testing.network.attacks import (
    DISCARD,
    MACs,
    captured,
    checksum,
    received,
    sending,
)
from openeni_testing.network.frames import ICMPV6, UDP
from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import Pod
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
VETH = pytest.param(Datapath(Mode.VETH), id="veth")
IPVLAN = [
    pytest.param(
        Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}", marks=pytest.mark.ipvlan
    )
    for mode in (IPVlanMode.L2, IPVlanMode.L3S)
]
FRAGMENT, ROUTING, OPTIONS = 44, 43, 60
UNUSED = 253  # a type of routing header
SKIPPED = 0x1E  # an option that is not known
NODE = "fd99::11"
SMALL = 1280
CLOSED = 5555  # a port that a filter of the node refuses
BYTE = 0x20  # that is written


def macs_of(pod: Pod) -> MACs:
    return pod.pod_network.pod_mac, pod.pod_network.host_mac


def cut(macs: MACs, head: bytes, before: bytes, kind: int, data: bytes) -> list[bytes]:
    """Return two fragments of data of a kind, behind a header of IPv6 and what is `before`."""

    def fragment(part: bytes, field: int) -> bytes:
        size = struct.pack("!H", len(before) + 8 + len(part))
        header = head[:4] + size + head[6:] + before
        of_part = struct.pack("!BBHI", kind, 0, field, 80)
        return frames.ethernet(macs[0], 0x86DD, header + of_part + part, macs[1])

    return [fragment(data[:16], 1), fragment(data[16:], 16)]


def header(source: str, target: str, following: int) -> bytes:
    addresses = ip_address(source).packed + ip_address(target).packed
    return struct.pack("!IHBB", 6 << 28, 0, following, 64) + addresses


def summed(source: bytes, target: str, kind: int, message: bytes, at: int) -> bytes:
    """Return a message with its checksum."""
    pseudo = source + ip_address(target).packed + struct.pack("!II", len(message), kind)
    return message[:at] + checksum(pseudo + message) + message[at + 2 :]


def misread(macs: MACs, source: str, target: str, kind: int, body: bytes) -> list[bytes]:
    """Return fragments that filters take for a datagram, and the stack for `body`."""
    data = struct.pack("!BBBBI", kind, 0, UNUSED, 0, 0) + body
    route = struct.pack("!BBBBI", FRAGMENT, 0, UNUSED, 0, 0)
    return cut(macs, header(source, target, ROUTING), route, UDP, data + bytes(-len(data) % 8))


def nested(macs: MACs, source: str, target: str, kind: int, body: bytes) -> list[bytes]:
    """Return fragments within whole ones; of the first, no header of a transport can be read."""
    first = struct.pack("!BBBB", OPTIONS, 1, SKIPPED, 12) + bytes(12)  # ends in the second
    data = first + options(kind, 8) + body
    whole = struct.pack("!BBHI", FRAGMENT, 0, 0, 900)

    def fragment(part: bytes, field: int) -> bytes:
        inner = struct.pack("!BBHI", OPTIONS, 0, field, 81)
        return frames.ipv6(macs[0], source, target, whole + inner + part, FRAGMENT, to=macs[1])

    return [fragment(data[:8], 1), fragment(data[8:], 8)]


def error_about_a_path(source: str, target: str) -> bytes:
    """Return the error about an echo reply of the target to the outside, which needs no socket."""
    echo = struct.pack("!BBHHH", 129, 0, 0, 0, 0)
    sent = frames.ipv6(neutron.ROUTER_MAC, target, neutron.OUTSIDE_6, echo, ICMPV6)[14 : 14 + 48]
    error = struct.pack("!BBHI", 2, 0, 0, SMALL) + sent
    return summed(ip_address(source).packed, target, ICMPV6, error, 2)


def path_to_outside(namespace: Namespace, own: str) -> str:
    return namespace.program("ip", "route", "get", neutron.OUTSIDE_6, "from", own)


HIDDEN = pytest.mark.parametrize("hidden", [misread, nested])
Hiding = Callable[[MACs, str, str, int, bytes], list[bytes]]


def rewritten(macs: MACs, source: str, target: str, place: int) -> list[bytes]:
    """Return fragments of a datagram whose sender has BYTE at this place once they are joined."""
    becomes = bytearray(ip_address(source).packed)
    becomes[place] = BYTE
    udp = struct.pack("!HHHH", DISCARD, DISCARD, 16, 0) + b"openeni!"
    data = struct.pack("!BBHI", UDP, 0, 0, 7) + summed(bytes(becomes), target, UDP, udp, 6)
    before = options(OPTIONS, 256 + 8 + place - 40) + options(FRAGMENT, 8)
    return cut(macs, header(source, target, OPTIONS), before, BYTE, data)


def options(following: int, size: int) -> bytes:
    """Return a header with options for the receiver that has so many bytes."""
    return struct.pack("!BBBB", following, size // 8 - 1, SKIPPED, size - 4) + bytes(size - 4)


@HIDDEN
@pytest.mark.parametrize("topology", [VETH, *IPVLAN], indirect=True)
def test_the_node_believes_no_hidden_error_about_a_paths_mtu(
    topology: Topology, hidden: Hiding
) -> None:
    pod, node = topology.pods["a1"], topology.node.namespace
    source = pod.facts.addresses[1]
    for target in (pod.facts.eni.primary[1], NODE):
        error = error_about_a_path(source, target)
        sending(pod.namespace, "eth0", *hidden(macs_of(pod), source, target, ICMPV6, error))()
        assert pod.namespace.ping(NODE)  # what was sent before has arrived
        assert "mtu" not in path_to_outside(node, target)


@HIDDEN
@pytest.mark.parametrize("victim", ["a2", "b1"])
@pytest.mark.parametrize("topology", [VETH], indirect=True)
def test_nor_does_another_veth_pod(topology: Topology, hidden: Hiding, victim: str) -> None:
    pod, other = topology.pods["a1"], topology.pods[victim]
    source, theirs = pod.facts.addresses[1], other.facts.addresses[1]
    error = error_about_a_path(source, theirs)
    sending(pod.namespace, "eth0", *hidden(macs_of(pod), source, theirs, ICMPV6, error))()
    assert pod.namespace.ping(theirs)
    assert "mtu" not in path_to_outside(other.namespace, theirs)


@HIDDEN
@pytest.mark.parametrize("topology", [VETH, *IPVLAN], indirect=True)
def test_the_nodes_filters_see_what_its_sockets_get(topology: Topology, hidden: Hiding) -> None:
    assert past_a_filter(topology, hidden, "input", topology.node.namespace, NODE) == []


@HIDDEN
@pytest.mark.parametrize("victim", ["a2", "b1"])
@pytest.mark.parametrize("topology", [VETH], indirect=True)
def test_the_nodes_filters_see_what_its_pods_get(
    topology: Topology, hidden: Hiding, victim: str
) -> None:
    """As those of network policies do."""
    other = topology.pods[victim]
    target = other.facts.addresses[1]
    assert past_a_filter(topology, hidden, "forward", other.namespace, target) == []


def past_a_filter(
    topology: Topology, hidden: Hiding, hook: str, listener: Namespace, target: str
) -> list[bytes]:
    """Return what a socket gets at a port that a filter of the node refuses to the pod."""
    pod, node = topology.pods["a1"], topology.node.namespace
    source = pod.facts.addresses[1]
    node.nft(
        f"table ip6 theirs {{ chain c {{ type filter hook {hook} priority filter; policy accept; "
        f"ip6 saddr {source} udp dport {CLOSED} drop; }}; }}"
    )
    udp = struct.pack("!HHHH", DISCARD, CLOSED, 8, 0)
    udp = summed(ip_address(source).packed, target, UDP, udp, 6)
    attack = sending(pod.namespace, "eth0", *hidden(macs_of(pod), source, target, UDP, udp))
    got: list[bytes] = []
    with listener.run(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM) as sink:
        sink.bind(("::", CLOSED))
        sink.setblocking(False)
        received(pod.namespace, attack, target, listener)
        with suppress(BlockingIOError):
            got.append(sink.recv(100))
    node.nft("delete table ip6 theirs")
    return got


@pytest.mark.parametrize("place", [0, 8])
@pytest.mark.parametrize("topology", [VETH], indirect=True)
def test_a_neighbour_hears_a_pod_under_its_own_address(topology: Topology, place: int) -> None:
    pod, victim = topology.pods["a1"], topology.pods["a2"]
    own, theirs = pod.facts.addresses[1], victim.facts.addresses[1]
    attack = sending(pod.namespace, "eth0", *rewritten(macs_of(pod), own, theirs, place))
    assert set(received(pod.namespace, attack, theirs, victim.namespace)) <= {own}


@pytest.mark.parametrize("topology", [VETH], indirect=True)
def test_nothing_leaves_the_eni_under_another_address(topology: Topology) -> None:
    pod, remote = topology.pods["a1"], REMOTE.addresses[1]
    own = pod.facts.addresses[1]
    attack = sending(pod.namespace, "eth0", *rewritten(macs_of(pod), own, remote, 0))
    captured(pod.namespace, attack, remote, (topology.remote, "eth0"))
    assert topology.network.dropped() == {}
