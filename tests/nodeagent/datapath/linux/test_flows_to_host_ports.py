"""UDP flows that lead elsewhere than new host ports are deleted; few others are looked at."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from openeni_nodeagent.addresses import IPV6, family_of
from openeni_nodeagent.datapath.linux import conntrack
from openeni_nodeagent.datapath.linux.dumps import answers
from openeni_nodeagent.datapath.model import Element
from openeni_nodeagent.datapath.nft_sets import joined
from openeni_nodeagent.pod_options import Transport
from openeni_testing.network.netns import Namespace
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
TRACKED = """
add table inet tracked
add chain inet tracked output { type filter hook output priority 0; }
add rule inet tracked output ct state new accept
"""
OTHER_PORT = 80


def open_flows(address: str, ports: range) -> None:
    """Send a datagram to each of these ports and to another, and connect to one by TCP, too."""
    family = socket.AF_INET6 if family_of(address) == IPV6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for port in (*ports, OTHER_PORT):
            sender.sendto(b"", (address, port))
    with socket.create_server((address, ports[0]), family=family):
        socket.create_connection((address, ports[0])).close()


@pytest.mark.parametrize(("count", "listed"), [(1, 1), (8, 8), (9, 10)])
@pytest.mark.parametrize(("own", "pod"), [("10.96.0.2", "10.98.0.5"), ("fd96::2", "fd98::5")])
def test_the_kernel_lists_the_flows_to_a_few_ports_alone_and_those_of_udp_for_many(
    monkeypatch: pytest.MonkeyPatch, own: str, pod: str, count: int, listed: int
) -> None:
    """A node may have hundreds of thousands; what is listed takes the interpreter."""
    ports, read = range(1, count + 1), list[bytes]()

    def reading(netlink: Any, kind: int, request: Any, wanted: Callable[[bytes], Any]) -> Any:
        def is_wanted(raw: bytes) -> Any:
            read.append(raw)
            return wanted(raw)

        return answers(netlink, kind, request, is_wanted)

    monkeypatch.setattr(conntrack, "answers", reading)
    anyports, leads_to = f"anyports{family_of(own)}", joined(pod, 53)
    members = (Element(anyports, joined(Transport.UDP, port), leads_to) for port in ports)
    with Namespace("node") as node:
        node.ip("link set lo up", f"addr add {own} dev lo")
        node.nft(TRACKED)
        routes = ("ip", f"-{family_of(own)}", "route", "show", "table", "local")
        # addrconf_dad_work() adds those of IPv6, later, even on lo
        wait_for(lambda: f"local {own} " in node.program(*routes), "the address's own route")
        node.run(open_flows, own, ports)
        node.run(conntrack.flush_to_host_ports, frozenset(members))
        assert len(read) == listed
        assert node.run(conntrack.flush, [own]) == 2  # to OTHER_PORT, and of TCP
