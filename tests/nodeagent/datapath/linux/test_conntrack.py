"""Entries of freed addresses are deleted, those of others stay; with real connections."""

import errno
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address, ip_address
from typing import Any

import pytest
from pyroute2 import NetlinkError, NFCTSocket
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

from openeni_nodeagent.datapath.conntrack_flusher import ConntrackFlusher
from openeni_nodeagent.datapath.linux import conntrack
from openeni_nodeagent.datapath.linux.conntrack import flush
from openeni_nodeagent.datapath.linux.dumps import answers
from openeni_nodeagent.datapath.model import Element
from openeni_testing.network.netns import Namespace

pytestmark = pytest.mark.root
POD, POD_6 = "10.98.0.5", "fd98::5"
SERVICE, SERVICE_6 = "10.96.0.1", "fd96::1"
DNAT = f"""
add table inet proxy
add chain inet proxy pre {{ type nat hook prerouting priority dstnat; }}
add rule inet proxy pre ip daddr {SERVICE} dnat ip to {POD}
add rule inet proxy pre ip6 daddr {SERVICE_6} dnat ip6 to {POD_6}
"""
Ends = tuple[str, str, str]
TUPLE: Any = NFCTAttrTuple  # without types
SOCKET: Any = NFCTSocket


@pytest.fixture
def node() -> Iterator[Namespace]:
    with Namespace("node") as made:
        made.sysctl("net/ipv4/ip_forward", "1")
        made.sysctl("net/ipv6/conf/all/forwarding", "1")
        made.nft(DNAT)
        yield made


def connect(node: Namespace, host: Namespace, number: int) -> None:
    """Give `host` the addresses 10.<number>.0.5 and fd<number>::5 behind the node."""
    v4, v6 = f"10.{number}.0", f"fd{number}:"
    for namespace in (node, host):
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")
    node.ip(
        f"link add to{number} type veth peer name eth0 netns {host.thread_id}",
        f"addr add {v4}.1/24 dev to{number}",
        f"addr add {v6}:1/64 dev to{number} nodad",
        f"link set to{number} up",
    )
    host.ip(
        f"addr add {v4}.5/24 dev eth0",
        f"addr add {v6}:5/64 dev eth0 nodad",
        "link set eth0 up",
        f"route add default via {v4}.1",
        f"route add default via {v6}:1",
    )


@pytest.fixture
def hosts(node: Namespace) -> Iterator[dict[str, Namespace]]:
    with Namespace("pod") as pod, Namespace("client") as client, Namespace("other") as other:
        for host, number in ((pod, 98), (client, 97), (other, 99)):
            connect(node, host, number)
        yield {"pod": pod, "client": client, "other": other}


def family_of(address: str) -> socket.AddressFamily:
    v6 = isinstance(ip_address(address), IPv6Address)
    return socket.AF_INET6 if v6 else socket.AF_INET


def entries(node: Namespace) -> set[Ends]:
    """Return source and destination of each entry, and the reply's source, as pyroute2 says."""

    def read() -> set[Ends]:
        found: set[Ends] = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            reader = SOCKET(nfgen_family=family)
            for message in reader.dump():
                original, reply = (
                    TUPLE.from_netlink(family, message.get_attr(name))
                    for name in ("CTA_TUPLE_ORIG", "CTA_TUPLE_REPLY")
                )
                found.add((original.saddr, original.daddr, reply.saddr))
            reader.close()
        return found

    return node.run(read)


@pytest.fixture
def connected(hosts: dict[str, Namespace]) -> Iterator[Callable[[str, str, str], None]]:
    """Yield a function that has one host connect to an address of another; it stays connected."""
    with ExitStack() as sockets:

        def connect(client: str, server: str, address: str) -> None:
            family = family_of(address)
            listener = hosts[server].run(socket.socket, family, socket.SOCK_STREAM)
            sockets.enter_context(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("", 80))
            listener.listen()
            made = hosts[client].run(socket.create_connection, (address, 80), 5)
            sockets.enter_context(made)

        yield connect


def test_established_and_translated_connections_of_a_freed_address_are_gone_and_no_others(
    node: Namespace, connected: Callable[[str, str, str], None]
) -> None:
    for address in (POD, POD_6, SERVICE, SERVICE_6):
        connected("client", "pod", address)
    for address in ("10.99.0.5", "fd99::5"):
        connected("client", "other", address)
        connected("pod", "other", address)
    theirs = {
        ("10.97.0.5", "10.99.0.5", "10.99.0.5"),
        ("fd97::5", "fd99::5", "fd99::5"),
    }
    ours = {
        ("10.97.0.5", POD, POD),
        ("fd97::5", POD_6, POD_6),
        ("10.97.0.5", SERVICE, POD),
        ("fd97::5", SERVICE_6, POD_6),
        (POD, "10.99.0.5", "10.99.0.5"),
        (POD_6, "fd99::5", "fd99::5"),
    }
    assert entries(node) == theirs | ours
    assert node.run(flush, [POD, "fd98:0::5"]) == len(ours)
    assert entries(node) == theirs
    assert node.run(flush, [POD, POD_6]) == 0
    connected("client", "pod", SERVICE)


@pytest.mark.parametrize("number", [4, 6])
def test_flows_to_a_service_that_should_have_another_sender_are_gone_and_no_others(
    node: Namespace, connected: Callable[[str, str, str], None], number: int
) -> None:
    service, pod, client, other = {
        4: (SERVICE, POD, "10.97.0.5", "10.99.0.5"),
        6: (SERVICE_6, POD_6, "fd97::5", "fd99::5"),
    }[number]
    node.nft("add chain inet proxy post { type nat hook postrouting priority srcnat; }\n")
    node.nft("add rule inet proxy post iifname to99 masquerade\n")
    for opens, address in (("client", service), ("client", pod), ("other", service)):
        connected(opens, "pod", address)
    kept, wrong = {(client, pod, pod), (other, service, pod)}, (client, service, pod)

    def left(*members: tuple[str, str]) -> set[Ends]:
        of_sets = frozenset(Element(f"{name}{number}", key) for name, key in members)
        node.run(conntrack.flush_untranslated, of_sets, ())
        return entries(node)

    assert left(("hairpins", f"{client} . {client}")) == kept | {wrong}
    assert left(("pods", client), ("sources", other), ("sources", pod)) == kept | {wrong}
    assert left(("sources", client), ("sources", other)) == kept
    connected("client", "pod", service)
    assert left(("pods", client), ("pods", pod)) == kept


def add_entry(node: Namespace, original: Any, reply: Any, **more: int) -> None:
    def add() -> None:
        writer = SOCKET(nfgen_family=original.family)
        writer.entry("add", timeout=600, tuple_orig=original, tuple_reply=reply, **more)
        writer.close()

    node.run(add)


def ends(source: str, destination: str, **more: int) -> Any:
    return TUPLE(family=family_of(source), saddr=source, daddr=destination, **more)


@pytest.mark.parametrize(
    ("pod", "peer", "other"), [(POD, "10.97.0.5", SERVICE), (POD_6, "fd97::5", SERVICE_6)]
)
def test_an_address_is_found_at_each_end_of_each_direction(
    node: Namespace, pod: str, peer: str, other: str
) -> None:
    udp = socket.IPPROTO_UDP
    places = (
        ((pod, peer), (peer, pod)),
        ((peer, pod), (pod, peer)),
        ((peer, other), (pod, peer)),
        ((peer, other), (other, pod)),
    )
    for port, (original, reply) in enumerate(places, start=1):
        there = ends(*original, proto=udp, sport=port, dport=80)
        back = ends(*reply, proto=udp, sport=80, dport=port)
        add_entry(node, there, back)
    theirs = ends(peer, other, proto=udp, sport=9, dport=9)
    add_entry(node, theirs, theirs.reverse())
    assert node.run(flush, [pod]) == len(places)
    assert entries(node) == {(peer, other, other)}


@pytest.mark.parametrize(
    ("pod", "peer", "kinds"),
    [
        (POD, "10.97.0.5", (socket.IPPROTO_ICMP, 8, 0)),
        (POD_6, "fd97::5", (socket.IPPROTO_ICMPV6, 128, 129)),
    ],
)
def test_an_entry_of_ping_is_deleted(
    node: Namespace, pod: str, peer: str, kinds: tuple[int, int, int]
) -> None:
    protocol, request, reply = kinds
    add_entry(
        node,
        ends(pod, peer, proto=protocol, icmp_id=7, icmp_type=request, icmp_code=0),
        ends(peer, pod, proto=protocol, icmp_id=7, icmp_type=reply, icmp_code=0),
    )
    assert node.run(flush, [pod]) == 1
    assert entries(node) == set()


def test_an_entry_in_a_zone_is_deleted(node: Namespace) -> None:
    there = ends(POD, "10.97.0.5", proto=socket.IPPROTO_UDP, sport=1, dport=80)
    try:
        add_entry(node, there, there.reverse(), zone=5)
    except NetlinkError as error:
        if error.code != errno.EOPNOTSUPP:
            raise
        pytest.skip("this kernel has no conntrack zones")
    add_entry(node, there, there.reverse())
    assert node.run(flush, [POD]) == 2
    assert entries(node) == set()


def test_bytes_that_happen_to_look_like_an_address_delete_nothing(node: Namespace) -> None:
    """After 10.97.0.5 comes an attribute whose length is 8."""
    there = ends("10.97.0.5", SERVICE, proto=socket.IPPROTO_UDP, sport=9, dport=9)
    add_entry(node, there, there.reverse())
    assert node.run(flush, ["97.0.5.8"]) == 0
    assert len(entries(node)) == 1


def open_flows(count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.5", 0))
        for port in range(1, count + 1):
            sender.sendto(b"", ("127.0.0.6", port))


@pytest.mark.parametrize("at_once", [100, 1000, 1 << 15])
def test_many_entries_are_deleted(
    node: Namespace, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(conntrack, "_AT_ONCE", at_once)
    node.run(open_flows, 1000)
    assert node.run(flush, ["127.0.0.6"]) == 1000
    assert entries(node) == set()


def test_while_new_flows_come_as_fast_the_flush_ends(
    node: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conntrack, "_AT_ONCE", 10)
    dumps = list[int]()

    def with_more_to_come(*arguments: Any) -> list[bytes]:
        open_flows(20)
        dumps.append(0)
        return answers(*arguments)

    monkeypatch.setattr(conntrack, "answers", with_more_to_come)
    node.run(flush, ["127.0.0.6"])
    assert len(dumps) < 100


def test_an_entry_costs_less_than_a_kilobyte_of_memory(node: Namespace) -> None:
    """How many there are is up to the pod: at its DEL they were half a gigabyte of the agent's."""
    node.run(open_flows, 5000)
    tracemalloc.start()
    try:
        assert node.run(flush, ["127.0.0.6"]) == 5000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5000 << 10


def test_freed_addresses_are_flushed_together_and_once(node: Namespace) -> None:
    flusher = ConntrackFlusher()
    for freed in ("10.98.0.1", "10.98.0.2"):
        there = ends(freed, "10.97.0.5", proto=socket.IPPROTO_UDP, sport=1, dport=80)
        add_entry(node, there, there.reverse())
        flusher.add([freed])
    node.run(flusher.flush)
    assert entries(node) == set()
    add_entry(node, there, there.reverse())
    node.run(flusher.flush)
    assert len(entries(node)) == 1
