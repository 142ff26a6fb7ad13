"""Whatever others change of the node, the next look finds and restores it, and nothing of theirs.

The cases run for veth on any kernel, and for ipvlan (marked) on one that has it.
"""

import random
from collections.abc import Callable, Generator
from functools import partial

import pytest

from openeni_crds import names
from openeni_nodeagent.addresses import host_cidr
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath.linux.kernel import observe, observe_filters
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import Address, State
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_nodeagent.pod_options import Bandwidth, PortMapping, RateLimit, Transport
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = pytest.mark.root
SEQUENCES = 12
FOREIGN = (
    "rule add from 192.0.2.1 lookup 77 prio 600 protocol 93",
    "rule add from 192.0.2.1 lookup main prio 32000",
    "route add 192.0.2.0/24 dev eth0 table 9999 metric 5 proto 93",
    "neigh add 192.0.2.1 lladdr 02:00:00:00:00:77 dev eth0 nud permanent protocol 93",
    "addr add 192.0.2.2/32 dev eth0",
)


PORTS = (
    PortMapping(8080, 80, Transport.TCP),
    PortMapping(8080, 80, Transport.TCP, "10.99.0.11"),
    PortMapping(8053, 53, Transport.UDP),
)
LIMIT = RateLimit(10**9, 10**7)


class Bench:
    """A node with an ENI, two pods on it, and things of others."""

    def __init__(self, network: NeutronNetwork, eni: ENIFacts) -> None:
        self.network, self.eni = network, eni
        self.node = Node("node", network, "10.99.0.11", "fd99::11")
        self.space = self.node.namespace
        self.addresses = ("10.98.0.11", "fd98::11", "10.98.0.12", "fd98::12")
        self.port = self.node.attach("ens7", eni, self.addresses)
        self.pods = [
            self.node.add(
                "one", eni, *self.addresses[:2], host_ports=PORTS, bandwidth=Bandwidth(LIMIT, LIMIT)
            ),
            self.node.add("two", eni, *self.addresses[2:]),
        ]
        self.space.ip(*FOREIGN)
        self.space.nft("table inet theirs { chain c { tcp dport 1 accept; }; }")

    @property
    def device(self) -> str:
        return self.node.look().links[self.eni.name].device

    def state(self) -> State:
        """All of it but link-local addresses, which the kernel adds later."""
        seen = self.space.run(_look)
        return frozenset(
            i for i in seen if not (isinstance(i, Address) and i.address.startswith("fe80:"))
        )

    def foreign(self) -> list[str]:
        """What others have put there."""
        listed = [
            self.space.program("ip", *words)
            for words in (("rule",), ("route", "show", "table", "all"), ("neigh",), ("addr",))
        ]
        lines = "".join(listed).splitlines()
        return sorted({line.strip() for line in lines if "192.0.2." in line})

    def heal(self) -> None:
        """Look, and build pods again as the agent does, until a look finds all as planned."""
        for _ in range(2):
            report = self.node.look(into=True)
            assert (report.errors, report.broken - report.differing.keys()) == ({}, frozenset())
            for pod in self.pods:
                if pod.facts in report.broken:
                    rebuild = partial(self.node.datapath.add, rebuilds=True)
                    self.node.run(rebuild, pod.facts, pod.namespace.path)
        report = self.node.look(into=True)
        assert (report.repairs, report.broken, report.differing) == ((), frozenset(), {})

    def require_whole(self) -> None:
        for pod in self.pods:
            assert self.check(pod) == ()
            assert pod.namespace.ping(pod.facts.eni.subnets[0].gateway)
        assert "theirs" in self.space.program("nft", "list", "tables")

    def check(self, pod: Pod) -> tuple[str, ...]:
        return self.space.run(self.node.datapath.check, pod.facts, pod.namespace.path)


def _look() -> State:
    with Netlink() as netlink:
        return observe(netlink) | observe_filters()


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[Bench]:
    network = NeutronNetwork()
    made = Bench(network, eni_facts("eni", 10, request.param, dual=True))
    if made.eni.datapath.ipvlan_mode == "L3":  # the network's answer, not ours
        network.answer_arp(made.port)
    yield made
    made.node.close()
    network.close()


def flush_rules(bench: Bench) -> None:
    for family in ("-4", "-6"):
        bench.space.program("ip", family, *f"rule flush protocol {names.PROTOCOL}".split())


def delete_filters(bench: Bench) -> None:
    table = f"table inet {names.NFT_TABLE}"
    bench.space.nft(f"add {table}\ndelete {table}\n")


def down_and_up(bench: Bench) -> None:
    device = bench.device
    bench.space.ip(f"link set {device} down", f"link set {device} up")


def down(bench: Bench) -> None:
    bench.space.ip(f"link set {bench.device} down")


def flush_pods_routes(bench: Bench) -> None:
    for address in map(host_cidr, bench.addresses):
        ours = f"route flush table all proto {names.PROTOCOL} exact {address}"
        bench.space.program("ip", "-6" if ":" in address else "-4", *ours.split())


def flush_eni_routes(bench: Bench) -> None:
    for family in ("-4", "-6"):
        bench.space.program("ip", family, *f"route flush dev {bench.device}".split())


def flush_addresses(bench: Bench) -> None:
    bench.space.ip(f"addr flush dev {bench.device}")


def add_lease(bench: Bench) -> None:
    device = bench.device
    bench.space.ip(
        f"addr add 10.98.0.12/24 dev {device}",
        f"route replace default dev {device} metric 50 proto dhcp",
    )


def change_mtu(bench: Bench) -> None:
    bench.space.ip(f"link set {bench.device} mtu 1400")


def change_sysctl(bench: Bench) -> None:
    bench.space.sysctl(f"net/ipv4/conf/{bench.device}/rp_filter", "1")
    bench.space.sysctl("net/ipv4/ip_forward", "0")


def rename(bench: Bench) -> None:
    device = bench.device
    other = {"ens7": "ens99", "ens99": "ens7"}[device]
    bench.space.ip(f"link set {device} down", f"link set {device} name {other}")


def flush_host_ports(bench: Bench) -> None:
    table = f"inet {names.NFT_TABLE}"
    if table in bench.space.program("nft", "list", "tables"):
        for name in ("anyports4", "anyports6", "hostports4"):
            bench.space.nft(f"flush map {table} {name}")


def replace_limits(bench: Bench) -> None:
    pod = bench.pods[0]
    for space, link in ((pod.namespace, "eth0"), (bench.space, pod.pod_network.host_interface)):
        if link in space.links():
            space.program("tc", "qdisc", "replace", "dev", link, "root", "pfifo")


def delete_pods_link(bench: Bench) -> None:
    if "eth0" in bench.pods[0].namespace.links():
        bench.pods[0].namespace.ip("link del eth0")


def flush_pods_inside(bench: Bench) -> None:
    bench.pods[1].namespace.ip("route flush dev eth0")


DAMAGE: tuple[Callable[[Bench], None], ...] = (
    flush_rules,
    delete_filters,
    down_and_up,
    down,
    flush_pods_routes,
    flush_eni_routes,
    flush_addresses,
    add_lease,
    change_mtu,
    change_sysctl,
    rename,
    flush_host_ports,
    replace_limits,
    delete_pods_link,
    flush_pods_inside,
)


@pytest.mark.exhaustive
def test_each_damage_is_found_and_repaired(bench: Bench) -> None:
    foreign = bench.foreign()
    for damage in DAMAGE:
        damage(bench)
        bench.heal()
        bench.require_whole()
        assert bench.foreign() == foreign, damage.__name__


@pytest.mark.exhaustive
def test_any_damage_together_is_repaired_and_nothing_else_touched(bench: Bench) -> None:
    whole, foreign = bench.state(), bench.foreign()
    chosen = random.Random(94)  # noqa: S311 - the same sequences each time
    for _ in range(SEQUENCES):
        done = chosen.choices([d for d in DAMAGE if d is not rename], k=chosen.randint(2, 6))
        for damage in done:
            damage(bench)
        bench.heal()
        sequence = [damage.__name__ for damage in done]
        assert bench.state() == whole, sequence
        assert bench.foreign() == foreign, sequence
    bench.require_whole()


def test_a_repair_that_holds_leaves_the_eni_ready_in_the_same_look(bench: Bench) -> None:
    flush_rules(bench)
    report = bench.node.look()
    assert {repair.kind for repair in report.repairs} == {"rule"}
    assert report.links.keys() == {bench.eni.name}
    assert bench.node.look().repairs == ()


def test_a_nic_that_is_plugged_in_again_serves_the_pods_that_were_there(bench: Bench) -> None:
    bench.network.unplug(bench.port)
    assert bench.node.look().errors.keys() == {bench.eni.name}
    ports = Port(bench.eni.name, bench.eni.mac, (*bench.eni.primary, *bench.addresses))
    bench.network.plug(bench.space, "ens8", ports)
    if bench.eni.datapath.ipvlan_mode == "L3":
        bench.network.answer_arp(ports)
    bench.heal()
    assert bench.device == "ens8"
    bench.require_whole()


def test_an_eni_that_went_while_nobody_looked_leaves_nothing(bench: Bench) -> None:
    """Its object, its pods and its NIC are gone, and this process has never known it."""
    for pod in bench.pods:
        pod.namespace.close()
    bench.node.pods.clear()
    bench.network.unplug(bench.port)
    bench.node.enis.clear()
    report = bench.node.look(strays=bench.addresses)
    assert report.left == ""
    assert [item for item in bench.state() if getattr(item, "protocol", 0) == names.PROTOCOL] == []
    assert names.NFT_TABLE not in bench.space.program("nft", "list", "tables")


def test_what_a_del_leaves_that_does_not_know_the_nic_is_found_and_removed(bench: Bench) -> None:
    """No look has found the ENI as planned yet, or the last one found that it differs."""
    whole = bench.state()
    pod = bench.pods[0]
    bench.node.datapath = KernelDatapath()
    bench.node.delete(pod)
    left = bench.node.pod_addresses() - set(bench.pods[1].facts.addresses)
    report = bench.node.look(strays=left)
    assert (report.left, report.errors) == ("", {})
    assert bench.node.pod_addresses() == set(bench.pods[1].facts.addresses)
    texts = {str(item) for item in bench.state() - whole}
    lines = [t for t in map(str, bench.state()) if any(f"'{a}'" in t for a in pod.facts.addresses)]
    assert (texts, lines) == (set(), [])


def test_what_a_look_does_not_know_for_certain_it_leaves(bench: Bench) -> None:
    """Before the API server has been heard: other ENIs and pods may be there."""
    whole = bench.state()
    bench.node.enis.clear()
    pods, bench.node.pods = bench.node.pods, []
    assert bench.node.look(complete=False).repairs == ()
    assert bench.state() == whole
    bench.node.pods = pods
