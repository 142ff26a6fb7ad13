"""A Neutron network as a node sees it: a subnet with its gateway, other machines, anti-spoofing.

One namespace is the fabric: a bridge for the pods' network and one for the nodes', routed by the
gateway, under the lab's own anti-spoofing rules, which drop and count what no port may send.
"""

from dataclasses import dataclass, field
from typing import Final

from openeni_lab.hypervisor import antispoof
from openeni_testing.network.netns import Namespace

GATEWAY: Final = "10.98.0.1"
GATEWAY_6: Final = "fd98::1"
ROUTER_MAC: Final = "fa:16:3e:00:00:01"  # of the gateway, which is the metadata service's too
SUBNET: Final = "10.98.0.0/24"
SUBNET_6: Final = "fd98::/64"
NODES_GATEWAY: Final = "10.99.0.1"
NODES_GATEWAY_6: Final = "fd99::1"
GATEWAYS: Final = {  # by bridge
    "br-pods": (GATEWAY, GATEWAY_6),
    "br-nodes": (NODES_GATEWAY, NODES_GATEWAY_6),
}
OUTSIDE: Final = "192.0.2.2"  # a client beyond the gateway
OUTSIDE_6: Final = "fd02::2"
# With a MAC of its own: else it takes its ports' lowest, which changes under the neighbours.
_BRIDGE: Final = "type bridge forward_delay 0 mcast_snooping 0"
METADATA: Final = "169.254.169.254"
METADATA_6: Final = "fe80::a9fe:a9fe"
ROUTER_LINK_LOCAL: Final = "fe80::f816:3eff:fe00:1"  # of ROUTER_MAC
# Of security groups that let everything pass. ML2/OVN drops `ct.inv`, the Open vSwitch firewall
# `+inv`.
_INVALID: Final = """
table inet groups {
  counter invalid { }
  chain pass {
    type filter hook forward priority filter; policy accept;
    ct state invalid counter name invalid drop
  }
}
"""


@dataclass(frozen=True)
class Port:
    """A Neutron port, which may send from its MAC with its addresses."""

    name: str
    mac: str
    addresses: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """On the bridge."""
        return antispoof.device_name(self.name)


@dataclass
class NeutronNetwork:
    """Two networks and their gateway, with a client beyond it."""

    fabric: Namespace = field(default_factory=lambda: Namespace("fabric"))
    outside: Namespace = field(default_factory=lambda: Namespace("outside"))

    def __post_init__(self) -> None:
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            self.fabric.sysctl(f"net/{path}", "1")
        self.fabric.ip(
            f"link add br-pods address {ROUTER_MAC} {_BRIDGE}",
            f"addr add {GATEWAY}/24 dev br-pods",
            f"addr add {GATEWAY_6}/64 dev br-pods nodad",
            f"addr add {METADATA}/32 dev br-pods",
            # Its own comes first: it asks for neighbours by the first one, and no pod may answer
            # the metadata service.
            f"addr add {ROUTER_LINK_LOCAL}/64 dev br-pods nodad",
            f"addr add {METADATA_6}/128 dev br-pods nodad",
            "link set br-pods up",
            f"link add br-nodes address fa:16:3e:00:00:02 {_BRIDGE}",
            f"addr add {NODES_GATEWAY}/24 dev br-nodes",
            f"addr add {NODES_GATEWAY_6}/64 dev br-nodes nodad",
            "link set br-nodes up",
            f"link add out type veth peer name eth0 netns {self.outside.thread_id}",
            "addr add 192.0.2.1/24 dev out",
            "addr add fd02::1/64 dev out nodad",
            "link set out up",
        )
        self.outside.ip(
            f"addr add {OUTSIDE}/24 dev eth0",
            f"addr add {OUTSIDE_6}/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 192.0.2.1",
            "route add default via fd02::1",
        )
        self.fabric.nft(antispoof.table())
        self.fabric.listen(80)  # the gateway; also what the metadata service would be
        self.outside.listen(80)

    def plug(self, machine: Namespace, device: str, port: Port, bridge: str = "br-pods") -> None:
        """Give a machine a NIC that is this port, as a hypervisor does: down and bare."""
        self.allow(port)
        self.fabric.ip(
            f"link add {port.device} type veth peer name {device} address {port.mac} "
            f"netns {machine.thread_id}",
            f"link set {port.device} master {bridge}",
            f"link set {port.device} up",
        )

    def unplug(self, port: Port) -> None:
        self.fabric.ip(f"link del {port.device}")
        self.fabric.nft(antispoof.forget(port.name))

    def allow(self, port: Port) -> None:
        """Let the port send from its addresses, and from nothing else."""
        facts = antispoof.PortFacts(port.name, "pods", port.mac, port.addresses)
        self.fabric.nft(antispoof.allow(facts))

    def narrow(self, bridge: str, mtu: int) -> None:
        """Give a network's bridge, and so its gateway, this MTU, whatever its ports' is."""
        self.fabric.ip(f"link set {bridge} mtu {mtu}")

    def rename_router(self, link_local: str) -> None:
        """Give the pods' gateway another link-local address, as a provider's router may have."""
        self.fabric.ip(
            "addr flush dev br-pods scope link",
            f"addr add {link_local}/64 dev br-pods nodad",
            f"addr add {METADATA_6}/128 dev br-pods nodad",
            "neigh flush dev br-pods",
        )

    def add_bridge(self, bridge: str, number: int, mtu: int) -> None:
        """Add a network for pods, 10.<number>.0.0/24 and fd<number>::/64, with its gateway."""
        self.fabric.ip(
            f"link add {bridge} address fa:16:3e:00:00:{number:02x} {_BRIDGE}",
            f"addr add 10.{number}.0.1/24 dev {bridge}",
            f"addr add fd{number}::1/64 dev {bridge} nodad",
            f"link set {bridge} up",
        )
        self.narrow(bridge, mtu)

    def answer_arp(self, port: Port, bridge: str = "br-pods") -> None:
        """Answer ARP for the port's addresses in its place, as ML2/OVN's responder does.

        The bridge answers for its own neighbour entries that lie behind such a port, and does not
        pass the request on to it (net/bridge/br_arp_nd_proxy.c).
        """
        self.fabric.ip(
            f"link set {port.device} type bridge_slave proxy_arp_wifi on",
            *(f"neigh replace {a} lladdr {port.mac} dev {bridge}" for a in port.addresses),
        )
        forwarding = ("fdb", "replace", port.mac, "dev", port.device, "master", "static")
        self.fabric.program("bridge", *forwarding)

    def answer_no_arp(self, port: Port, bridge: str = "br-pods") -> None:
        """Let the port answer ARP itself, as ML2/OVS does without l2population."""
        self.fabric.ip(
            f"link set {port.device} type bridge_slave proxy_arp_wifi off",
            *(f"neigh del {a} dev {bridge}" for a in port.addresses),
        )

    def dropped(self) -> dict[str, int]:
        """Return the number of packets dropped as spoofed, for ports that have any."""
        listed = self.fabric.program(*antispoof.COUNTERS_COMMAND)
        return {port: count for port, count in antispoof.parse_counters(listed).items() if count}

    def drop_invalid(self) -> None:
        """Drop what conntrack calls invalid, on bridges, too: Neutron's security groups have state.

        Who asks by the network, and is answered past it, hears nothing then. Not for attacks: it
        would hide what a node lets out.
        """
        self.fabric.nft(_INVALID)
        for word in ("iptables", "ip6tables"):  # br_netfilter has bridges ask IP's hooks
            self.fabric.sysctl(f"net/bridge/bridge-nf-call-{word}", "1")

    def dropped_as_invalid(self) -> int:
        """Return the number of packets that `drop_invalid` has dropped."""
        listed = self.fabric.program("nft", "list", "counter", "inet", "groups", "invalid")
        return int(listed.split("packets")[1].split()[0])

    def forget_dropped(self) -> None:
        """Count from zero again."""
        self.fabric.program("nft", "reset", "counters", "table", *antispoof.TABLE.split())

    def close(self) -> None:
        self.outside.close()
        self.fabric.close()


def vm(network: NeutronNetwork, name: str, port: Port) -> Namespace:
    """A machine elsewhere in the subnet, listening on port 80."""
    machine = Namespace(name)
    network.plug(machine, "eth0", port)
    v4 = next(a for a in port.addresses if ":" not in a)
    v6 = next(a for a in port.addresses if ":" in a)
    machine.ip(
        f"addr add {v4}/24 dev eth0",
        f"addr add {v6}/64 dev eth0 nodad",
        "link set eth0 up",
        f"route add default via {GATEWAY}",
        f"route add default via {GATEWAY_6}",
    )
    machine.listen(80)
    return machine
