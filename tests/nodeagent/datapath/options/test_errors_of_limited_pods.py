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
from openeni_testing.network import neutron, node
from openeni_testing.network.attacks import checksum
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
ICMP_REPLY, UNREACHABLE, TOO_BIG = 0, 3, 4
SMALL = 552  # bytes
LIMITED = Bandwidth(egress=RateLimit(80_000, 16_000))  # bits a second, bits


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
        for one in (*(reply(own, 450) for _ in range(34)), reply(primary, 1350)):
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
    eni = eni_facts("eni", 10, Datapath(Mode.IPVLAN, IPVlanDatapath(request.param)))
    port = host.attach("ens10", eni, ("10.98.0.11",))
    if request.param is IPVlanMode.L3:  # does not work without
        network.answer_arp(port)
    yield host, host.add("pod", eni, "10.98.0.11", bandwidth=LIMITED)
    host.release(host.enis[0])
    host.namespace.nft("flush ruleset")
    host.namespace.ip("link del nodelocaldns", "link del eth0")
    host.close()
    network.close()


def test_they_make_no_path_of_the_enis_pods_smaller(limited: tuple[Node, Pod]) -> None:
    host, pod = limited
    (primary,) = pod.facts.eni.primary
    pod.namespace.run(attack, pod.address, primary)
    wait_for(lambda: pod.namespace.ping(neutron.OUTSIDE), "what was held back has left")
    found = host.namespace.program("ip", "route", "get", neutron.OUTSIDE, "from", primary)
    assert "mtu" not in found
