"""Hand-made frames leave a plugged port: those that Neutron allows arrive, the rest is counted."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from openeni_lab.hypervisor import antispoof
from openeni_lab.hypervisor.antispoof import AddressPair, PortFacts
from openeni_lab.machine import sysctl
from openeni_testing.lab.fake_node import FakeNode
from openeni_testing.lab.small_lab import SmallLab
from openeni_testing.network import frames

PORT = "0a0a0a0a-1111-4000-8000-000000000001"
OTHER_PORT = "0b0b0b0b-1111-4000-8000-000000000002"
WITNESS_PORT = "0c0c0c0c-1111-4000-8000-000000000003"
MAC = "fa:16:3e:aa:00:01"
PAIR_MAC = "fa:16:3e:aa:00:77"
OTHER_MAC = "fa:16:3e:aa:00:02"
WITNESS_MAC = "fa:16:3e:aa:00:03"
NONE = "0.0.0.0"  # noqa: S104 - a source address
OWN = "10.98.0.11"
SECOND = "10.98.0.12"
OTHERS = "10.98.0.99"
IN_PAIR = "10.98.1.7"
OWN_V6 = "fd00:98::11"
OTHERS_V6 = "fd00:98::99"
LINK_LOCAL = antispoof.link_local(MAC)
ALL_NODES = "ff02::1"
ROUTERS = "ff02::2"
FACTS = PortFacts(
    PORT,
    "pods",
    MAC,
    (OWN, SECOND, OWN_V6),
    (AddressPair(MAC, "10.98.2.0/24"), AddressPair(PAIR_MAC, "10.98.1.0/24")),
)

GOOD = {
    "IPv4 from a fixed IP": frames.ipv4(MAC, OWN, "10.98.0.1"),
    "IPv4 from the second fixed IP": frames.ipv4(MAC, SECOND, "10.98.0.1"),
    "IPv4 from an allowed pair's CIDR": frames.ipv4(MAC, "10.98.2.200", "10.98.0.1"),
    "IPv4 from an allowed pair with its own MAC": frames.ipv4(PAIR_MAC, IN_PAIR, "10.98.0.1"),
    "ARP request": frames.arp(MAC, MAC, OWN, "10.98.0.1"),
    "ARP reply": frames.arp(MAC, MAC, SECOND, "10.98.0.1", reply=True),
    "ARP of an allowed pair": frames.arp(PAIR_MAC, PAIR_MAC, IN_PAIR, "10.98.0.1"),
    "RARP with the own MAC": frames.ethernet(MAC, 0x8035, bytes(28)),
    "DHCP discover": frames.ipv4(MAC, NONE, "255.255.255.255", frames.udp(68, 67)),
    "IPv6 from a fixed IP": frames.ipv6(MAC, OWN_V6, ALL_NODES, frames.udp(1, 2)),
    "IPv6 from the link-local address": frames.ipv6(MAC, LINK_LOCAL, ALL_NODES, frames.udp(1, 2)),
    "echo request": frames.ipv6(
        MAC, OWN_V6, ALL_NODES, frames.icmpv6(128, bytes(4)), frames.ICMPV6
    ),
    "router solicitation": frames.ipv6(
        MAC, LINK_LOCAL, ROUTERS, frames.icmpv6(133, bytes(4)), frames.ICMPV6
    ),
    "neighbour solicitation": frames.ipv6(
        MAC, OWN_V6, "ff02::1:ff00:1", frames.neighbour(135, "fd00:98::1"), frames.ICMPV6
    ),
    "neighbour advertisement for an own address": frames.ipv6(
        MAC, LINK_LOCAL, ALL_NODES, frames.neighbour(136, OWN_V6), frames.ICMPV6
    ),
    "duplicate address detection": frames.ipv6(
        MAC, "::", "ff02::1:ff00:11", frames.neighbour(135, OWN_V6), frames.ICMPV6
    ),
    "MLD report from the link-local address": frames.ipv6(
        MAC, LINK_LOCAL, "ff02::16", frames.multicast_report(), 0
    ),
    "MLD report before an address": frames.ipv6(
        MAC, "::", "ff02::16", frames.multicast_report(), 0
    ),
}
SPOOFED = {
    "IPv4 of another port": frames.ipv4(MAC, OTHERS, "10.98.0.1"),
    "IPv4 from another MAC": frames.ipv4(OTHER_MAC, OWN, "10.98.0.1"),
    "fixed IP with the pair's MAC": frames.ipv4(PAIR_MAC, OWN, "10.98.0.1"),
    "pair's address with the port's MAC": frames.ipv4(MAC, IN_PAIR, "10.98.0.1"),
    "unspecified IPv4 source": frames.ipv4(MAC, NONE, "10.98.0.1", frames.udp(1, 2)),
    "DHCP server": frames.ipv4(MAC, OWN, "255.255.255.255", frames.udp(67, 68)),
    "DHCPv6 server": frames.ipv6(MAC, LINK_LOCAL, ALL_NODES, frames.udp(547, 546)),
    "ARP for another's address": frames.arp(MAC, MAC, OTHERS, "10.98.0.1"),
    "ARP with another sender MAC": frames.arp(MAC, OTHER_MAC, OWN, "10.98.0.1", reply=True),
    "ARP from another MAC": frames.arp(OTHER_MAC, OTHER_MAC, OWN, "10.98.0.1"),
    "ARP with the node's address": frames.arp(MAC, MAC, "10.99.0.11", "10.98.0.1"),
    "RARP from another MAC": frames.ethernet(OTHER_MAC, 0x8035, bytes(28)),
    "IPv6 of another port": frames.ipv6(MAC, OTHERS_V6, ALL_NODES, frames.udp(1, 2)),
    "another link-local address": frames.ipv6(MAC, "fe80::1", ALL_NODES, frames.udp(1, 2)),
    "router advertisement": frames.ipv6(
        MAC, LINK_LOCAL, ALL_NODES, frames.icmpv6(134, bytes(12)), frames.ICMPV6
    ),
    "neighbour advertisement for another's address": frames.ipv6(
        MAC, OWN_V6, ALL_NODES, frames.neighbour(136, OTHERS_V6), frames.ICMPV6
    ),
    "advertisement hidden behind a hop-by-hop header": frames.ipv6(
        MAC,
        OWN_V6,
        ALL_NODES,
        bytes.fromhex("3a00050200000100") + frames.neighbour(136, OTHERS_V6),
        0,
    ),
    "duplicate address detection for another's address": frames.ipv6(
        MAC, "::", "ff02::1:ff00:99", frames.neighbour(135, OTHERS_V6), frames.ICMPV6
    ),
    "unspecified IPv6 source": frames.ipv6(MAC, "::", ALL_NODES, frames.udp(1, 2)),
    "another protocol": frames.ethernet(MAC, 0x88B5, bytes(46)),
}


@dataclass(frozen=True)
class Wire:
    """Three nodes on the pods network; `tell` reports the sender's port as Neutron does."""

    lab: SmallLab
    sender: FakeNode
    receiver: FakeNode
    witness: FakeNode

    def send(self, *sent: bytes) -> list[bytes]:
        sender, receiver, witness = (
            (node.netns, "ens3") for node in (self.sender, self.receiver, self.witness)
        )
        return frames.exchange(self.lab.machine, sender, receiver, list(sent), witness=witness)

    def tell(self, facts: PortFacts) -> None:
        text = antispoof.allow(facts).encode()
        self.lab.machine.check(["nft", "-f", "-"], stdin=text)

    def dropped(self) -> int:
        counters: dict[str, int] = self.lab.network.dropped()
        return counters[PORT]


@pytest.fixture(scope="module")
def wire(wires: SmallLab) -> Iterator[Wire]:
    sender, receiver, witness = (wires.node(n) for n in ("sender", "receiver", "witness"))
    for node, port, mac, address in (
        (sender, PORT, MAC, OWN),
        (receiver, OTHER_PORT, OTHER_MAC, OTHERS),
        (witness, WITNESS_PORT, WITNESS_MAC, "10.98.0.98"),
    ):
        node.power_on()
        node.plug(port, mac, address)
        node.check(*sysctl.set_command("net.ipv6.conf.all.disable_ipv6=1"))
        node.check("ip", "link", "set", "ens3", "up")
    yield Wire(wires, sender, receiver, witness)
    for node, port in ((sender, PORT), (receiver, OTHER_PORT), (witness, WITNESS_PORT)):
        node.power_off()
        node.hypervisor("unplug", port)
        node.hypervisor("forget", port)


@pytest.mark.root
@pytest.mark.parametrize("name", GOOD)
def test_what_neutron_lets_out_arrives_and_is_not_counted(wire: Wire, name: str) -> None:
    wire.tell(FACTS)
    before = wire.dropped()
    assert wire.send(GOOD[name]) == [GOOD[name]]
    assert wire.dropped() == before


@pytest.mark.root
@pytest.mark.parametrize("name", SPOOFED)
def test_what_neutron_drops_is_dropped_and_counted_once(wire: Wire, name: str) -> None:
    wire.tell(FACTS)
    before = wire.dropped()
    assert wire.send(SPOOFED[name]) == []
    assert wire.dropped() == before + 1


@pytest.mark.root
def test_the_counter_outlives_changes_of_the_rules(wire: Wire) -> None:
    wire.tell(FACTS)
    wire.send(SPOOFED["IPv4 of another port"])
    before = wire.dropped()
    assert before
    wire.tell(replace(FACTS, fixed_ips=(OWN, OTHERS)))
    assert wire.dropped() == before
    assert wire.send(SPOOFED["IPv4 of another port"])


@pytest.mark.root
def test_an_address_that_was_taken_away_is_dropped_from_then_on(wire: Wire) -> None:
    wire.tell(FACTS)
    assert wire.send(GOOD["IPv4 from the second fixed IP"])
    wire.tell(replace(FACTS, fixed_ips=(OWN,)))
    assert not wire.send(GOOD["IPv4 from the second fixed IP"])


@pytest.mark.root
def test_a_port_without_port_security_sends_anything(wire: Wire) -> None:
    wire.tell(replace(FACTS, port_security=False))
    assert wire.send(*SPOOFED.values()) == list(SPOOFED.values())


@pytest.mark.root
def test_a_device_that_no_port_owns_sends_nothing(wire: Wire) -> None:
    machine = wire.lab.machine
    machine.check(["nft", "-f", "-"], stdin=antispoof.forget(PORT).encode())
    before = wire.lab.network.dropped()[antispoof.DROP_UNKNOWN]
    assert not wire.send(GOOD["ARP request"])
    assert wire.lab.network.dropped()[antispoof.DROP_UNKNOWN] == before + 1
    assert PORT not in wire.lab.network.dropped()


@pytest.mark.root
def test_the_reason_of_a_drop_can_be_read(wire: Wire) -> None:
    wire.tell(FACTS)
    wire.send(SPOOFED["ARP with the node's address"])
    chain = ["nft", "list", "chain", *antispoof.TABLE.split(), f"port-{PORT}"]
    lines = wire.lab.machine.check(chain).splitlines()
    assert any("packets 1" in line and 'comment "ARP sender"' in line for line in lines)


def test_the_link_local_address_is_derived_from_the_mac() -> None:
    assert antispoof.link_local("fa:16:3e:aa:00:01") == "fe80::f816:3eff:feaa:1"
