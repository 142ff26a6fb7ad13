"""What a pod's kernel sends for it while a limit of bandwidth holds packets back is not the node's.

All namespaces share the kernel's sockets for such messages (Linux 5.18, inet_ctl_sock). Between two
uses they belong to the first namespace, in which a real node lives, so its ENIs are there.
"""

import os
import socket
import struct
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_address

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.pod_options import Bandwidth, RateLimit
from openeni_testing.network import frames, neutron, node
from openeni_testing.network.attacks import DISCARD, ICMP, checksum, icmpv6
from openeni_testing.network.frames import ICMPV6
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
ICMP_REPLY, UNREACHABLE, TOO_BIG = 0, 3, 4
SMALL = 552  # bytes
LIMITED = Bandwidth(egress=RateLimit(100_000, 16_000))  # bits a second, bits
ADDRESSES = ("10.98.0.11", "fd98::11")
ECHO_REQUEST, ECHO_REQUEST_6 = 8, 128
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")  # of frames that are not sent as such
NOBODY = ("10.98.0.77", "fd98::77")
HDRINCL = {socket.AF_INET: (socket.SOL_IP, 3), socket.AF_INET6: (socket.IPPROTO_IPV6, 36)}


class FirstNamespace(Namespace):
    """The one in which the machine has begun: it is no new one, and does not end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._servers = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.thread_id = self.run(threading.get_native_id)
        self._descriptor = self.run(os.open, "/proc/thread-self/ns/net", os.O_RDONLY)
        self.ip("link set lo up")


def packet(source: str, to: str, payload: bytes) -> bytes:
    """Return a packet of ICMP that is not to be cut into fragments."""
    payload = payload[:2] + checksum(payload) + payload[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, 64, 1, 0)
    head += ip_address(source).packed + ip_address(to).packed
    return head[:10] + checksum(head) + head[12:] + payload


def reply(source: str, size: int) -> bytes:
    body = struct.pack("!BBHHH", ICMP_REPLY, 0, 0, 7, 1) + bytes(size)
    return packet(source, neutron.OUTSIDE, body)


def attack(own: str, primary: str) -> None:
    """Have the pod's kernel tell the ENI's primary address that what it has sent is too big."""
    error = struct.pack("!BBHHH", UNREACHABLE, TOO_BIG, 0, 0, SMALL) + reply(own, 100)[:28]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet(neutron.OUTSIDE, own, error), (own, 0))  # its own path is narrow now
        for one in (*(reply(own, 450) for _ in range(14)), reply(primary, 1350)):
            with suppress(OSError):
                raw.sendto(one, (neutron.OUTSIDE, 0))


@pytest.fixture(params=[IPVlanMode.L3S, IPVlanMode.L3])
def limited(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Generator[tuple[Node, Pod]]:
    network = NeutronNetwork()
    with monkeypatch.context() as patched:
        patched.setattr(node, "Namespace", FirstNamespace)
        host = Node("node", network, "10.99.0.11", "fd99::11")
    eni = eni_facts("eni", 10, Datapath(Mode.IPVLAN, IPVlanDatapath(request.param)), dual=True)
    port = host.attach("ens10", eni, ADDRESSES)
    if request.param is IPVlanMode.L3:  # does not work without
        network.answer_arp(port)
    yield host, host.add("pod", eni, *ADDRESSES, bandwidth=LIMITED)
    host.release(host.enis[0])
    host.namespace.nft("flush ruleset")
    host.namespace.ip("link del nodelocaldns", "link del eth0")
    host.close()
    network.close()


def test_they_make_no_path_of_the_enis_pods_smaller(limited: tuple[Node, Pod]) -> None:
    host, pod = limited
    primary, _ = pod.facts.eni.primary
    pod.namespace.run(attack, pod.address, primary)
    wait_for(lambda: pod.namespace.ping(neutron.OUTSIDE), "what was held back has left")
    found = host.namespace.program("ip", "route", "get", neutron.OUTSIDE, "from", primary)
    assert "mtu" not in found


def question(victim: str, nobody: str) -> bytes:
    """Return a packet that has whoever is called nobody answer the victim."""
    if ":" in victim:
        return icmpv6(victim, nobody, ECHO_REQUEST_6, bytes(300), MACS)[14:]
    message = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 7, 1) + bytes(300)
    message = message[:2] + checksum(message) + message[4:]
    return frames.ipv4(MACS[0], victim, nobody, message, ICMP)[14:]


def ask_itself(nobody: str, questions: list[bytes]) -> None:
    family = socket.AF_INET6 if ":" in nobody else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(*HDRINCL[family], 1)
        for one in questions:
            with suppress(OSError):
                raw.sendto(one, (nobody, 0))


def fill_bucket() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(7):
            sender.sendto(bytes(1_000), (neutron.OUTSIDE, DISCARD))


@pytest.mark.parametrize("place", [0, 1], ids=["IPv4", "IPv6"])
def test_they_answer_as_nobody_else(limited: tuple[Node, Pod], place: int) -> None:
    host, pod = limited
    nobody, bits = NOBODY[place], (32, 128)[place]
    pod.namespace.ip(f"addr add {nobody}/{bits} dev lo {'nodad' if place else ''}")
    victims = (pod.facts.eni.primary[place], (neutron.OUTSIDE, neutron.OUTSIDE_6)[place])
    protocol = (ICMP, ICMPV6)[place]
    family = (socket.AF_INET, socket.AF_INET6)[place]
    with host.namespace.run(socket.socket, family, socket.SOCK_RAW, protocol) as hearing:
        hearing.setblocking(False)
        pod.namespace.run(fill_bucket)
        asked = [question(victim, nobody) for victim in victims] * 4
        pod.namespace.run(ask_itself, nobody, asked)
        wait_for(lambda: pod.namespace.ping(neutron.OUTSIDE), "what was held back has left")
        senders = set[str]()
        with suppress(BlockingIOError):
            while True:
                _, (sender, *_) = hearing.recvfrom(4096)
                senders.add(sender)
    assert nobody not in senders
    assert host.network.dropped() == {}
