"""What the kernel has, as pyroute2 decodes it: every kind, and while it changes."""

import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from openeni_crds import names
from openeni_nodeagent.datapath.linux import dumps, readers, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute
from openeni_nodeagent.datapath.linux.kernel import apply, find_link, list_links, observe, routes_of
from openeni_nodeagent.datapath.linux.netlink import DumpTooSlowError, Netlink
from openeni_nodeagent.datapath.linux.nfnetlink import NFGENMSG
from openeni_nodeagent.datapath.linux.readers import decoded as decode
from openeni_nodeagent.datapath.model import (
    NIC,
    TABLE_MAIN,
    VETH,
    Address,
    Link,
    Neighbour,
    Operation,
    Route,
    RouteType,
    Rule,
    State,
    Verb,
)
from openeni_nodeagent.datapath_api import KernelRefusedError
from openeni_testing.network.netns import Namespace

pytestmark = pytest.mark.root
ADDRESSES = 1500  # many reads of a dump


@pytest.fixture
def netns() -> Iterator[Namespace]:
    with Namespace("dumps") as made:
        yield made


@pytest.fixture
def ens7(netns: Namespace) -> int:
    netns.ip(
        "link add ens7 type veth peer name far",
        "link set ens7 address fa:16:3e:98:00:01 mtu 1450 group 7 alias eni",
        "link set ens7 up",
        "addr add 10.98.0.10/24 dev ens7",
        "addr add fd98::10/64 dev ens7 nodad",
    )
    return netns.run(socket.if_nametoindex, "ens7")


def look() -> State:
    with Netlink() as netlink:
        return observe(netlink)


def test_of_the_links_of_a_kind_others_are_not_read(netns: Namespace) -> None:
    """A pod makes as many others as it likes."""
    netns.ip("link add br0 type bridge", "link add one type veth peer name two")

    def bridges() -> set[str]:
        with Netlink(limit=1) as netlink:
            return {link.name for link in dumps.links(netlink, "bridge")}

    assert netns.run(bridges) == {"br0"}


def routes(nic: int) -> State:
    with Netlink() as netlink:
        return routes_of(netlink, nic)


def test_links_are_seen_with_all_that_the_plan_says_of_them(netns: Namespace, ens7: int) -> None:
    def links() -> frozenset[Link]:
        with Netlink() as netlink:
            return list_links(netlink)

    found = {link.name: link for link in netns.run(links)}
    assert found["ens7"] == Link(
        "ens7", ens7, VETH, "fa:16:3e:98:00:01", 1450, alias="eni", group=7
    )
    assert not found["far"].up
    assert (found["lo"].kind, found["lo"].mac) == (NIC, "00:00:00:00:00:00")


def test_one_link_is_found_by_its_name(netns: Namespace, ens7: int) -> None:
    def find(name: str) -> Link | None:
        with Netlink() as netlink:
            return find_link(netlink, name)

    found = netns.run(find, "ens7")
    assert found == Link("ens7", ens7, VETH, "fa:16:3e:98:00:01", 1450, alias="eni", group=7)
    assert netns.run(find, "ens8") is None


def test_every_kind_of_item_is_seen_as_it_was_added(netns: Namespace, ens7: int) -> None:
    items = (
        Address(ens7, "10.98.0.11", 32),
        Address(ens7, "fd98::11", 128),
        Neighbour(ens7, "10.98.0.12", "02:00:00:00:00:01"),
        Neighbour(ens7, "fd98::12", "02:00:00:00:00:01"),
        Neighbour(ens7, "10.98.0.13"),
        Neighbour(ens7, "fd98::13"),
        Route("10.98.0.0/24", 10007, ens7),
        Route("0.0.0.0/0", 10007, ens7, "10.98.0.1", "10.98.0.10"),
        Route("fd98::/64", 10007, ens7),
        Route("::/0", 10007, ens7, "fd98::1"),
        Route("0.0.0.0/0", 10007, metric=4294967295, type=RouteType.UNREACHABLE),
        Route("::/0", 10007, metric=4294967295, type=RouteType.UNREACHABLE),
        Route("169.254.169.254/32", 10007, type=RouteType.PROHIBIT),
        Route("fe80::a9fe:a9fe/128", 10007, type=RouteType.PROHIBIT),
        Rule(4, 600, 10007, source="10.98.0.11/32", iif="lo"),
        Rule(4, 610, 10007, oif="ens7"),
        Rule(6, 550, TABLE_MAIN, mark=0x10000, mask=names.MARK_MASK),
    )

    def change(verb: Verb) -> None:
        with Netlink() as netlink:
            apply([Operation(verb, item) for item in items], netlink)

    before = netns.run(look)
    netns.run(change, Verb.ADD)
    assert netns.run(look) - before == frozenset(items)
    netns.run(change, Verb.REMOVE)
    assert netns.run(look) == before


def test_what_is_as_it_was_is_not_decoded_again(
    netns: Namespace, ens7: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbour's message says how old it is, and each message which request it answers."""
    protocol = f"protocol {names.PROTOCOL}"
    netns.ip(
        f"neigh add 10.98.0.12 lladdr 02:00:00:00:00:01 dev ens7 nud permanent {protocol}",
        f"route add 192.0.2.0/24 dev ens7 table 10007 {protocol}",
        f"rule add from 192.0.2.1 lookup 10007 {protocol}",
    )
    before = netns.run(look)
    read: list[object] = []

    def counted(message: Any) -> Any:
        read.append(message)
        return decode(message)

    monkeypatch.setattr(readers, "decoded", counted)
    assert (netns.run(look), read) == (before, [])
    netns.ip("link set ens7 mtu 1399", f"neigh add proxy 10.98.0.99 dev ens7 {protocol}")
    link, neighbour = netns.run(look) - before
    assert {type(link), type(neighbour)} == {Link, Neighbour}
    assert len(read) == 2


def test_of_others_only_addresses_links_and_the_nics_routes_are_seen(
    netns: Namespace, ens7: int
) -> None:
    netns.ip(
        "route add 192.0.2.0/24 dev ens7",
        "route add multicast 224.0.2.0/24 dev ens7",
        "route add blackhole 198.51.100.0/24",
        "route add 203.0.113.0/24 via 10.98.0.1 dev ens7 metric 50 protocol static",
        "rule add from 192.0.2.1 lookup 7 priority 7",
        "neigh add 192.0.2.1 lladdr 02:00:00:00:00:02 dev ens7",
        "neigh add proxy 192.0.2.2 dev ens7",
    )
    others = {i for i in netns.run(look) if not isinstance(i, Link | Address)}
    assert others == set()
    of_nic = {i for i in netns.run(routes, ens7) if isinstance(i, Route)}
    assert {r for r in of_nic if r.table == TABLE_MAIN and ":" not in r.destination} == {
        Route("10.98.0.0/24", TABLE_MAIN, ens7, source="10.98.0.10", protocol=2),
        Route("192.0.2.0/24", TABLE_MAIN, ens7, protocol=3),
        Route("203.0.113.0/24", TABLE_MAIN, ens7, "10.98.0.1", protocol=4, metric=50),
    }
    assert of_nic == {r for r in of_nic if r.index == ens7}


def test_a_nic_that_is_gone_has_no_routes(netns: Namespace, ens7: int) -> None:
    assert netns.run(routes, 4000000) == frozenset()


class Interrupter:
    """Adds an address of the namespace after a read of a dump."""

    def __init__(self) -> None:
        self.reads = 0
        self.times = 0  # to do so, from now on
        self._number = 0

    def __call__(self) -> None:
        """Run on the namespace's thread, after each read; another program makes the change."""
        self.reads += 1
        if self.times:
            self.times -= 1
            self._number += 1
            words = ("ip", "addr", "add", f"11.0.{self._number}.1/32", "dev", "lo")
            subprocess.run(words, check=True, timeout=30)


@pytest.fixture
def interrupter(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> Interrupter:
    netns.ip(*[f"addr add 10.{n >> 8}.{n & 255}.1/32 dev lo" for n in range(ADDRESSES)])
    made = Interrupter()

    class Interrupted(socket.socket):
        def recvfrom(self, size: int, flags: int = 0, /) -> tuple[bytes, Any]:
            received = super().recvfrom(size, flags)
            made()
            return received

    monkeypatch.setattr(socket, "socket", Interrupted)
    return made


def addresses(netns: Namespace, *, limit: int | None = None, is_settled: bool = True) -> list[str]:
    def read() -> list[str]:
        with Netlink(limit=limit, is_settled=is_settled) as netlink:
            return [a.address for a in dumps.addresses(netlink)]

    return netns.run(read)


def test_a_dump_that_a_change_interrupts_is_repeated(
    netns: Namespace, interrupter: Interrupter
) -> None:
    addresses(netns)
    undisturbed, interrupter.reads = interrupter.reads, 0
    assert undisturbed > 3
    interrupter.times = 2
    found = addresses(netns)
    assert interrupter.reads > undisturbed + 1
    assert len(found) == len(set(found))
    assert len([a for a in found if a.startswith("11.")]) == 2
    assert len([a for a in found if a.startswith("10.")]) == ADDRESSES


def test_a_dump_that_is_always_interrupted_ends_with_a_refusal(
    netns: Namespace, interrupter: Interrupter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.datapath.linux.netlink._DUMP_ATTEMPTS", 3)
    interrupter.times = 10_000
    with pytest.raises(KernelRefusedError, match="change faster than they can be read"):
        addresses(netns)


def test_one_that_need_not_be_settled_has_all_that_stays(
    netns: Namespace, interrupter: Interrupter
) -> None:
    interrupter.times = 10_000
    found = addresses(netns, is_settled=False)
    assert len({a for a in found if a.startswith("10.")}) == ADDRESSES


def test_a_socket_with_a_limit_does_not_read_for_ever(
    netns: Namespace, interrupter: Interrupter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root in a pod can have each dump interrupted, and each take any time."""
    monkeypatch.setattr("openeni_nodeagent.datapath.linux.netlink.LIMITED_SECONDS", 0.0)
    interrupter.times = 10_000
    with pytest.raises(DumpTooSlowError, match="take longer than"):
        addresses(netns, limit=10 * ADDRESSES)
    assert interrupter.reads == 1


def test_a_rule_is_decoded_once_whatever_transactions_come_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel counts them in each message (nfgenmsg.res_id)."""
    attributes = (
        attribute(uapi.NFTA_RULE_TABLE, b"openeni\0")
        + attribute(uapi.NFTA_RULE_CHAIN, b"counted\0")
        + attribute(uapi.NFTA_RULE_USERDATA, b"\0\x09m 1 of 1\0")
    )
    read, messages = list[tuple[str, str] | None](), list[Any]()

    def counted(message: Any) -> Any:
        messages.append(message)
        return decode(message)

    monkeypatch.setattr(readers, "decoded", counted)
    for transactions in range(3):
        body = NFGENMSG.pack(1, 0, transactions) + attributes
        message = HEADER.pack(HEADER.size + len(body), 0, 0, transactions, 0) + body
        read.append(readers.OUR_FILTER_RULE(message))
    assert read == 3 * [("counted", "m 1 of 1")]
    assert len(messages) == 1
