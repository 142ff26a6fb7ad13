"""A pod poses as a router or as many neighbours: its node believes none.

From a veth pod two things keep it, each of them alone: the guard's rules, and the sysctls of the
node's end of the pair, which stay when an administrator flushes all rules.
"""

import socket
from ipaddress import ip_address

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.pod_options import Bandwidth, RateLimit
from openeni_testing.network import neutron
from openeni_testing.network.attacks import (
    ALL_NODES,
    ROUTER,
    captured,
    icmp_redirect,
    icmpv6,
    router_advertisement,
    sending,
    tagged,
)
from openeni_testing.network.frames import BROADCAST, arp
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import ROUTER_MAC
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
MACS = ("02:ba:d0:00:00:01", names.VETH_MAC)
NODE_ADDRESS = "10.99.0.11"
FILTER = "tc filter add dev eth0 egress protocol all prio 1 bpf bytecode"
# Classic BPF: what has the mark 7 (SKF_AD_MARK).
MARKED = "4,32 0 0 4294963220,21 0 1 7,6 0 0 4294967295,6 0 0 0"


@pytest.fixture
def pod(node: Node) -> Pod:
    """A pod without IPv6, so that the node does not forward it and heeds advertisements."""
    eni = eni_facts("eni", 10, Datapath(Mode.VETH))
    node.attach("ens7", eni, ("10.98.0.11",))
    made = node.add("pod", eni, "10.98.0.11")
    assert node.namespace.sysctl("net/ipv6/conf/all/forwarding") == "0"
    return made


def ipv6_of(node: Namespace) -> list[str]:
    """Everything that an advertisement changes."""
    listed = (node.program("ip", "-6", *words) for words in (("route",), ("addr",), ("neigh",)))
    return [line.strip() for text in listed for line in text.splitlines()]


def advertise(node: Node, pod: Pod) -> None:
    """Return once the node has processed an advertisement of the pod."""
    frames = [router_advertisement((MACS[0], to)) for to in ("33:33:00:00:00:01", MACS[1])]
    place = (node.namespace, pod.pod_network.host_interface)
    attack = sending(pod.namespace, "eth0", *frames)
    captured(pod.namespace, attack, NODE_ADDRESS, place)


def believed(node: Node) -> list[str]:
    return [line for line in ipv6_of(node.namespace) if "2001:db8:bad" in line or ROUTER in line]


def test_an_advertisement_changes_nothing(node: Node, pod: Pod) -> None:
    before = ipv6_of(node.namespace)
    advertise(node, pod)
    assert ipv6_of(node.namespace) == before


def test_the_guard_alone_keeps_it_out(node: Node, pod: Pod) -> None:
    allow_ipv6(node, pod)
    advertise(node, pod)
    assert believed(node) == []


def test_the_links_sysctls_alone_keep_it_out(node: Node, pod: Pod) -> None:
    node.namespace.nft("flush ruleset")
    advertise(node, pod)
    assert believed(node) == []


def test_without_both_it_would_be_believed(node: Node, pod: Pod) -> None:
    """The other tests mean something: this is CVE-2020-10749."""
    allow_ipv6(node, pod)
    node.namespace.nft("flush ruleset")
    advertise(node, pod)
    found = wait_for(lambda: believed(node), "a route or an address of the advertisement")
    assert any(line.startswith(f"default via {ROUTER}") for line in found)


def test_no_message_of_neighbour_discovery_and_no_redirect_gets_past_the_guard(
    node: Node, pod: Pod
) -> None:
    allow_ipv6(node, pod)
    target = ip_address(names.GATEWAY_V6).packed
    solicited = [
        icmpv6(ROUTER, "ff02::1", kind, bytes(4) + target, MACS) for kind in (133, 135, 136)
    ]
    redirect = icmpv6(ROUTER, "ff02::1", 137, bytes(4) + 2 * target, MACS)
    redirect_4 = icmp_redirect("10.98.0.11", NODE_ADDRESS, "10.98.0.11", MACS)
    behind = "iifname oeni* icmpv6 type 133-137", "iifname oeni* icmp type redirect"
    rules = " ".join(f"{rule} counter;" for rule in behind)
    node.namespace.nft(
        f"table inet behind {{ chain c {{ type filter hook prerouting priority -200; {rules} }}; }}"
    )
    frames = [*solicited, redirect, router_advertisement(MACS), redirect_4]
    place = (node.namespace, pod.pod_network.host_interface)
    attack = sending(pod.namespace, "eth0", *frames)
    (seen,) = captured(pod.namespace, attack, NODE_ADDRESS, place)
    assert set(frames) <= set(seen)
    listed = node.namespace.program("nft", "list", "table", "inet", "behind")
    assert listed.count("packets 0 ") == len(behind)


def test_forged_arp_requests_fill_no_table_of_the_node(node: Node, pod: Pod) -> None:
    """The table is the machine's: with 1,024 entries its last, the node resolves nothing more."""
    forged = [arp(MACS[0], MACS[0], f"198.51.100.{n}", NODE_ADDRESS) for n in range(5)]
    attack = sending(pod.namespace, "eth0", *forged)
    place = (node.namespace, pod.pod_network.host_interface)
    (seen,) = captured(pod.namespace, attack, NODE_ADDRESS, place)
    assert set(forged) <= set(seen)
    known = node.namespace.program("ip", "-4", "neigh", "show", "dev", place[1]).splitlines()
    assert [line.split()[0] for line in known] == ["10.98.0.11"]
    assert node.namespace.ask("10.98.0.11", 80) == ("pod", NODE_ADDRESS)


@pytest.mark.ipvlan
@pytest.mark.parametrize("limit", [None, RateLimit(80_000_000, 800_000)], ids=["", "limited"])
@pytest.mark.parametrize("mode", IPVlanMode)
def test_an_ipvlan_pod_leads_nothing_of_its_node_to_another_machine(
    node: Node, mode: IPVlanMode, limit: RateLimit | None
) -> None:
    """What other pods of its ENI send beyond the subnet goes to the gateway that the node knows."""
    eni = eni_facts("eni", 10, Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), dual=True)
    node.attach("ens7", eni, ("10.98.0.11", "fd98::11"))
    pod = node.add("pod", eni, "10.98.0.11", "fd98::11", bandwidth=Bandwidth(egress=limit))
    for gateway in (neutron.GATEWAY, neutron.GATEWAY_6):
        node.namespace.ip(f"neigh replace {gateway} lladdr {ROUTER_MAC} dev ens7 nud stale")
    attack = sending(pod.namespace, "eth0", *lies(eni.mac))
    captured(pod.namespace, attack, neutron.GATEWAY, (node.namespace, "ens7"))
    known = node.namespace.program("ip", "neigh", "show", "dev", "ens7").splitlines()
    assert [line for line in known if MACS[0] in line] == []
    assert sorted(line.split()[0] for line in known if ROUTER_MAC in line) == [
        neutron.GATEWAY,
        neutron.GATEWAY_6,
    ]


def lies(mac: str) -> list[bytes]:
    """Return frames that tell the node of an ENI, in every way, that MACS[0] is the gateway's."""
    announced = arp(mac, MACS[0], neutron.GATEWAY, neutron.GATEWAY)
    direct = bytes.fromhex(mac.replace(":", "")) + announced[6:]
    to_all = arp(BROADCAST, MACS[0], neutron.GATEWAY, neutron.GATEWAY)
    link_layer = bytes.fromhex("0201" + MACS[0].replace(":", ""))
    override = b"\x20\0\0\0" + ip_address(neutron.GATEWAY_6).packed + link_layer
    advertised = [
        icmpv6(source, target, 136, override, (mac, mac))
        for source in (neutron.GATEWAY_6, "fd98::11")
        for target in ("fd98::10", ALL_NODES)
    ]
    return [direct, to_all, tagged(direct, 0), tagged(tagged(direct, 0), 0), *advertised]


def allow_ipv6(node: Node, pod: Pod) -> None:
    """Put the link's sysctls back to what the kernel has by default, and wait for its IPv6."""
    link = pod.pod_network.host_interface
    for name, value in (("accept_ra", "1"), ("disable_ipv6", "0")):
        node.namespace.sysctl(f"net/ipv6/conf/{link}/{name}", value)
    show = "ip", "-6", "addr", "show", "dev", link
    wait_for(lambda: "fe80::" in node.namespace.program(*show), "a link-local address")


def send_marked(mark: int, *frames: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        for frame in frames:
            raw.sendto(frame, ("eth0", 0x0806))


@pytest.mark.ipvlan
@pytest.mark.parametrize("mark", [0, 7], ids=["sent", "led"])
@pytest.mark.parametrize("ends", ["own", "33:33:00:00:00:01"])
def test_no_arp_of_an_l2_pod_moves_its_enis_gateway(node: Node, ends: str, mark: int) -> None:
    """Led by an ifb, its frames get past hooks at ingress (tc_skip_classify).

    They are for its node if their two MACs are the same: the ENI's, or a group's.
    """
    eni = eni_facts("eni", 10, Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2)))
    node.attach("ens7", eni, ("10.98.0.11", "10.98.0.12"))
    bad, good = node.add("bad", eni, "10.98.0.11"), node.add("good", eni, "10.98.0.12")
    bad.namespace.ip("link add ifb9 type ifb", "link set ifb9 up")
    led = "action skbedit mark 0 pipe action mirred egress redirect dev ifb9"
    bad.namespace.program("sh", "-c", f"tc qdisc add dev eth0 clsact; {FILTER} '{MARKED}' {led}")
    node.namespace.ip(f"neigh replace {neutron.GATEWAY} lladdr {ROUTER_MAC} dev ens7 nud stale")
    end = bytes.fromhex((eni.mac if ends == "own" else ends).replace(":", ""))
    asked = end + end + arp(eni.mac, MACS[0], neutron.GATEWAY, neutron.GATEWAY)[12:]
    answered = asked[:20] + b"\x00\x02" + asked[22:]

    def attack() -> None:
        bad.namespace.run(send_marked, mark, asked, answered)

    captured(bad.namespace, attack, neutron.GATEWAY, (node.namespace, "ens7"))
    assert ROUTER_MAC in node.namespace.program("ip", "neigh", "show", neutron.GATEWAY)
    assert good.namespace.ping(neutron.OUTSIDE)
