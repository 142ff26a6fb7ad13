"""Sockets: long batches, refusals and broken sockets."""

import secrets
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    list_links,
    observe,
    observe_filters,
)
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.port_ids import is_own_port
from openeni_nodeagent.datapath.linux.rtnetlink_encode import encode
from openeni_nodeagent.datapath.model import Address, Operation, Route, Rule, State, Verb
from openeni_nodeagent.datapath_api import KernelRefusedError
from openeni_testing.network.netns import Namespace

REQUESTS = 400  # more than a receive buffer holds acknowledgements


@pytest.fixture
def netns() -> Iterator[Namespace]:
    with Namespace("netlink") as made:
        yield made


def look() -> State:
    with Netlink() as netlink:
        return observe(netlink)


@pytest.mark.root
def test_every_request_of_a_long_batch_is_acknowledged(netns: Namespace) -> None:
    rules = [Rule(4, 600, 10007, source=f"10.98.{n // 250}.{n % 250}/32") for n in range(REQUESTS)]

    def change(verb: Verb) -> None:
        with Netlink() as netlink:
            apply([Operation(verb, rule) for rule in rules], netlink)

    netns.run(change, Verb.ADD)
    assert netns.run(look) >= frozenset(rules)
    netns.run(change, Verb.REMOVE)
    assert netns.run(look) & frozenset(rules) == frozenset()


@pytest.mark.root
def test_a_refusal_has_its_place_in_a_long_batch_and_the_kernels_words(netns: Namespace) -> None:
    rules = [Rule(4, 600, 10007, source=f"10.98.{n // 250}.{n % 250}/32") for n in range(REQUESTS)]
    rules[300] = rules[0]

    def send() -> list[tuple[int, str]]:
        with Netlink() as netlink:
            nowhere = Route("10.98.0.0/24", 10007, 4000000)
            requests = [encode(Operation(Verb.ADD, rule)) for rule in rules]
            requests.append(encode(Operation(Verb.ADD, nowhere)))
            return [(refusal.index, str(refusal)) for refusal in netlink.execute(requests)]

    assert netns.run(send) == [(300, "EEXIST: File exists"), (REQUESTS, "ENODEV: No such device")]


@pytest.mark.root
def test_every_refusal_of_a_long_batch_is_read(netns: Namespace) -> None:
    """The kernel drops those for which the socket has no room."""
    rules = [Rule(4, 600, 10007, source=f"10.98.{n // 250}.{n % 250}/32") for n in range(REQUESTS)]

    def remove() -> list[tuple[int, str]]:
        with Netlink() as netlink:
            requests = [encode(Operation(Verb.REMOVE, rule)) for rule in rules]
            return [(refusal.index, refusal.name) for refusal in netlink.execute(requests)]

    assert netns.run(remove) == [(index, "ENOENT") for index in range(REQUESTS)]


@pytest.mark.root
def test_the_kernels_explanation_is_kept(netns: Namespace) -> None:
    """Of a route in a table of its own to a gateway that cannot be reached there."""

    def add() -> None:
        with Netlink() as netlink:
            apply([Operation(Verb.ADD, Address(4000000, "10.98.0.5", 32))], netlink)

    with pytest.raises(KernelRefusedError, match=r"add address 10\.98\.0\.5/32 .*ENODEV"):
        netns.run(add)


def no_socket(*_: object) -> socket.socket:
    raise OSError(24, "Too many open files")


def test_a_socket_that_cannot_be_opened_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(KernelRefusedError, match="Too many open files"):
        Netlink()
    with pytest.raises(KernelRefusedError, match="Too many open files"):
        observe_filters()


def test_a_socket_that_breaks_is_a_refusal() -> None:
    netlink = Netlink()
    netlink.close()
    with pytest.raises(KernelRefusedError, match="Bad file descriptor"):
        netlink.execute([encode(Operation(Verb.REMOVE, Rule(4, 1, 1)))])
    with pytest.raises(KernelRefusedError, match="Bad file descriptor"):
        observe(netlink)


def test_a_kernel_that_does_not_answer_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    brief = struct.pack("@ll", 0, 10_000)
    monkeypatch.setattr("openeni_nodeagent.datapath.linux.netlink._TIMEOUT", brief)
    unanswered = HEADER.pack(HEADER.size, uapi.NLMSG_DONE, 0, 0, 0)
    with Netlink() as netlink, pytest.raises(KernelRefusedError, match="no answer"):
        netlink.execute([unanswered])


def ports() -> set[int]:
    """Return the port ids of all netlink sockets of this namespace."""
    lines = Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]
    return {int(line.split()[2]) for line in lines}


@pytest.mark.root
def test_a_socket_has_a_port_that_no_other_program_is_given(netns: Namespace) -> None:
    def opened() -> tuple[set[int], set[int]]:
        before = ports()
        with Netlink():
            own = ports() - before
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as theirs:
            theirs.bind((0, 0))
            return own, ports() - before

    own, theirs = netns.run(opened)
    assert [is_own_port(port) for port in own] == [True]
    assert [is_own_port(port) for port in (*theirs, 0)] == [False, False]  # 0: the kernel


def seven(_: int) -> int:
    return 7


@pytest.mark.root
def test_whoever_has_bound_the_ports_that_come_next_finds_another_one(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "randbits", seven)

    def opened() -> set[int]:
        before = ports()
        with Netlink(), Netlink(), Netlink():
            return ports() - before

    own = netns.run(opened)
    assert len(own) == 3
    assert all(map(is_own_port, own))


@pytest.mark.root
def test_a_socket_that_finds_no_free_port_is_a_refusal(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "randbits", seven)
    monkeypatch.setattr(secrets, "randbelow", seven)

    def opened() -> None:
        with Netlink(), Netlink(), Netlink():  # with the prefix of before, and with the other one
            pass

    with pytest.raises(KernelRefusedError, match="port ids that were tried are in use"):
        netns.run(opened)


class Stranger:
    """Root in the namespace, who says that each dump has ended."""

    def __init__(self) -> None:
        self.refused = 0
        ended = (
            HEADER.pack(HEADER.size + 4, uapi.NLMSG_DONE, 2, n, 0) + bytes(4) for n in range(9)
        )
        self._message = b"".join(ended)

    def send(self, receiver: socket.socket, count: int = 1) -> None:
        port, _ = receiver.getsockname()
        with RealSocket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as stranger:
            stranger.setblocking(False)
            try:
                for _ in range(count):
                    stranger.sendto(self._message, (port, 0))
            except ConnectionRefusedError:
                self.refused += 1
            except BlockingIOError:
                pass  # it holds no more


class RealSocket(socket.socket):
    """It stays what it is while `socket.socket` is another class."""


@pytest.mark.root
@pytest.mark.parametrize(
    ("when", "connects"),
    [
        pytest.param("bind", True, id="before the socket is connected"),
        pytest.param("send", True, id="afterwards"),
        pytest.param("send", False, id="late, by who began before"),
    ],
)
def test_nobody_but_the_kernel_is_heard(
    when: str, connects: bool, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Stranger()

    class Known(RealSocket):
        """The stranger sees its port id in /proc/net/netlink."""

        def bind(self, address: Any, /) -> None:
            super().bind(address)
            if when == "bind":
                stranger.send(self, 10_000)

        def connect(self, address: Any, /) -> None:
            if connects:
                super().connect(address)

        def send(self, data: Any, flags: int = 0, /) -> int:
            if when == "send":
                stranger.send(self)
            sent: int = super().send(data, flags)
            return sent

    monkeypatch.setattr(socket, "socket", Known)
    netns.ip(*(f"addr add 10.98.0.{n}/32 dev lo" for n in range(200)))
    found = netns.run(look)
    assert (
        len([i for i in found if isinstance(i, Address) and i.address.startswith("10.98.")]) == 200
    )
    assert bool(stranger.refused) == (when == "send" and connects)


@pytest.mark.root
def test_a_long_entry_counts_several_times(netns: Namespace) -> None:
    """A pod gives its links as many names as fit into 64 KiB."""
    names = (f"link property add dev x altname {'x' * 120}{number}" for number in range(45))
    netns.ip("link add x type veth peer name y", *names)

    def read() -> None:
        with Netlink(limit=3) as netlink:
            list_links(netlink)

    with pytest.raises(KernelRefusedError, match="more than 3 entries"):
        netns.run(read)
    netns.ip("link del x", "link add x type veth peer name y")
    netns.run(read)
