"""The machines between which the support table's packets are sent.

Two nodes with the real datapath and kube-proxy on the first; three ENIs on that, one of them in
another subnet; a remote VM; the gateway, a host behind it, and one behind a router whose link is
narrower than everything else. The network drops and counts what no port may send, and drops what
conntrack calls invalid, as Neutron's security groups do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_crds.status.eni import PortSubnet
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.matrix import services
from openeni_testing.matrix.axes import Proxy, Stack
from openeni_testing.matrix.kube_proxy import KubeProxy
from openeni_testing.matrix.paths import (
    BULK_PORT,
    TCP_PORT,
    UDP_PORT,
    Address,
    HostPort,
    LocalDNS,
    Metadata,
    NodePort,
    Service,
    Target,
)
from openeni_testing.matrix.services import Backend
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.network.node import LOCAL_DNS, LOCAL_DNS_6, MTU, Node
from openeni_testing.waiting import wait_for

NARROW_MTU: Final = 1300
_FAR: Final = ("198.51.100.2", "fd51::2")
_OUTSIDE: Final = (neutron.OUTSIDE, neutron.OUTSIDE_6)
_GATEWAY: Final = (neutron.GATEWAY, neutron.GATEWAY_6)
# The gateway has no route to services. It says so by this rule: no namespace can lift the limit of
# a few messages a second that the kernel's route code has for that (net/ipv4/route.c, ip_error).
_NO_SERVICES: Final = f"""
table inet services {{
  chain refused {{
    type filter hook prerouting priority 0;
    ip daddr {services.CIDRS[0]} reject
    ip6 daddr {services.CIDRS[1]} reject
  }}
}}
"""
_PROBE: Final = Service("remote")


@dataclass(frozen=True, slots=True)
class Subnet:
    """A Neutron network's subnets: the third number of its addresses, and its bridge."""

    number: int
    bridge: str

    def address(self, host: int, family: int) -> str:
        return f"fd{self.number}::{host}" if family == 6 else f"10.{self.number}.0.{host}"

    def facts(self, family: int) -> PortSubnet:
        prefix = f"fd{self.number}::/64" if family == 6 else f"10.{self.number}.0.0/24"
        return PortSubnet(f"v{family}", prefix, self.address(1, family))


PODS: Final = Subnet(98, "br-pods")
MORE_PODS: Final = Subnet(97, "br-more")
NODES: Final = Subnet(99, "br-nodes")


@dataclass
class World:
    """Everything of one mode, stack and proxy; it ends with `close`."""

    mode: Datapath
    stack: Stack
    proxy: Proxy
    folder: Path  # for kube-proxy's log
    one_subnet: bool = False  # nodes are where pods are
    network: NeutronNetwork = field(default_factory=NeutronNetwork)
    machines: dict[str, Namespace] = field(default_factory=dict[str, Namespace])
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    enis: dict[str, ENIFacts] = field(default_factory=dict[str, ENIFacts])
    node: Node = field(init=False)
    other: Node = field(init=False)
    _kube_proxy: KubeProxy | None = None

    def __post_init__(self) -> None:
        self.network.drop_invalid()
        self._widen_network()
        self.node, self.other = self._node("node", 2), self._node("other", 3)
        for node in (self.node, self.other):
            self._take(node.name, node.namespace, node.addresses)
        self._take("fabric", self.network.fabric, _GATEWAY)
        self._take("outside", self.network.outside, _OUTSIDE)
        self._add_remote()
        self._fill(self.node, "a", 10, PODS, 2)
        self._fill(self.node, "b", 20, PODS, 1)
        self._fill(self.other, "c", 30, PODS, 1)
        self._fill(self.node, "d", 40, MORE_PODS, 1)
        if self.mode.ipvlan_mode is IPVlanMode.L3:
            self._answer_discovery()
        for name in self.machines:
            self._serve(name)
        self._add_service_cidrs()
        self._start_proxy()

    def address_of(self, machine: str, family: int) -> str:
        return next(a for a in self.addresses[machine] if (":" in a) == (family == 6))

    def primary(self, machine: str) -> tuple[str, ...]:
        """Return the primary addresses of a pod's ENI; none for other machines."""
        eni = self.enis.get(machine[:1]) if machine[1:].isdigit() else None
        return eni.primary if eni else ()

    def destination(self, target: Target, family: int) -> str:
        """Return the address that a client of the target sends to."""
        match target:
            case Address():
                return self.address_of(target.server, family)
            case LocalDNS():
                return (LOCAL_DNS, LOCAL_DNS_6)[family == 6]
            case Metadata():
                return (neutron.METADATA, f"{neutron.METADATA_6}%eth0")[family == 6]
            case HostPort() | NodePort():
                return self.address_of("node", family)
            case _:
                return services.cluster_ip(target, family)

    def close(self) -> None:
        if self._kube_proxy:
            self._kube_proxy.close()
        for node in (self.node, self.other):
            node.close()
        self.network.close()
        for machine in self.machines.values():
            machine.close()

    def _take(self, name: str, machine: Namespace, addresses: Sequence[str]) -> None:
        """Name a machine, which sends every ICMP error that there is a reason for."""
        self.machines[name] = machine
        self.addresses[name] = tuple(addresses)
        machine.sysctl("net/ipv4/icmp_ratelimit", "0")
        machine.sysctl("net/ipv6/icmp/ratelimit", "0")

    def _node(self, name: str, number: int) -> Node:
        subnet = PODS if self.one_subnet else NODES
        addresses = subnet.address(number, 4), subnet.address(number, 6)
        node = Node(name, self.network, *addresses, bridge=subnet.bridge)
        if self.one_subnet:
            node.namespace.ip(f"link set eth0 mtu {MTU}")
            # It would answer for the ENIs' primary addresses, too, and Neutron would drop that.
            node.namespace.sysctl("net/ipv4/conf/eth0/arp_ignore", "1")
        return node

    def _widen_network(self) -> None:
        """Add a second subnet for pods, and a host behind a router with a narrow link."""
        fabric, router, far = self.network.fabric, Namespace("router"), Namespace("far")
        fabric.nft(_NO_SERVICES)
        self.network.narrow("br-pods", MTU)
        self.network.add_bridge(MORE_PODS.bridge, MORE_PODS.number, MTU)
        self._take("router", router, ())
        self._take("far", far, _FAR)
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            router.sysctl(f"net/{path}", "1")
        narrow = f"mtu {NARROW_MTU}"
        fabric.ip(
            f"link add narrow {narrow} type veth peer name near {narrow} netns {router.thread_id}",
            "addr add 203.0.113.1/24 dev narrow",
            "addr add fd03::1/64 dev narrow nodad",
            "link set narrow up",
            "route add 198.51.100.0/24 via 203.0.113.2",
            "route add fd51::/64 via fd03::2",
        )
        router.ip(
            "addr add 203.0.113.2/24 dev near",
            "addr add fd03::2/64 dev near nodad",
            "link set near up",
            "route add default via 203.0.113.1",
            "route add default via fd03::1",
            f"link add beyond type veth peer name eth0 netns {far.thread_id}",
            "addr add 198.51.100.1/24 dev beyond",
            "addr add fd51::1/64 dev beyond nodad",
            "link set beyond up",
        )
        far.ip(
            f"addr add {_FAR[0]}/24 dev eth0",
            f"addr add {_FAR[1]}/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 198.51.100.1",
            "route add default via fd51::1",
        )

    def _add_remote(self) -> None:
        addresses = tuple(PODS.address(200, family) for family in (4, 6))
        port = Port("remote", "fa:16:3e:98:00:c8", addresses)
        self._take("remote", neutron.vm(self.network, "remote", port), addresses)
        self.machines["remote"].ip(f"link set eth0 mtu {MTU}")

    def _fill(self, node: Node, name: str, number: int, subnet: Subnet, count: int) -> None:
        """Plug an ENI, and make its pods: number 10 is its primary address, and pod 1 has 11."""
        families = self.stack.families
        primary, *pods = (
            tuple(subnet.address(number + host, family) for family in families)
            for host in range(count + 1)
        )
        eni = ENIFacts(
            f"eni-{name}",
            f"fa:16:3e:{subnet.number}:00:{number:02x}",
            MTU,
            self.mode,
            primary,
            tuple(map(subnet.facts, families)),
        )
        self.enis[name] = eni
        of_pods = tuple(address for pod in pods for address in pod)
        port = node.attach(f"ens{number}", eni, of_pods, bridge=subnet.bridge)
        if self.mode.ipvlan_mode is IPVlanMode.L3:  # does not work without
            self.network.answer_arp(port, subnet.bridge)
        for place, addresses in enumerate(pods, start=1):
            pod = f"{name}{place}"
            made = node.add(pod, eni, *addresses, host_ports=_host_ports(pod))
            self._take(pod, made.namespace, addresses)

    def _answer_discovery(self) -> None:
        """Let everybody in a pod's subnet know where it is, as if the network had answered.

        In l3 it must, as ML2/OVN does. A bridge answers solicitations only of machines at other
        ports than those for which it answers (net/bridge/br_arp_nd_proxy.c).
        """
        neighbours = [
            f"neigh replace {address} lladdr {pod.facts.eni.mac}"
            for node in (self.node, self.other)
            for pod in node.pods
            for address in pod.facts.addresses
            if address.startswith(f"fd{PODS.number}:")
        ]
        own = ("eth0",) if self.one_subnet else ()
        for machine, devices in (
            (self.machines["remote"], ("eth0",)),
            (self.node.namespace, ("ens10", "ens20", *own)),
            (self.other.namespace, ("ens30", *own)),
        ):
            machine.ip(*(f"{words} dev {device}" for words in neighbours for device in devices))

    def _serve(self, name: str) -> None:
        machine = self.machines[name]
        machine.listen(TCP_PORT)
        machine.answer(UDP_PORT)
        machine.echo(BULK_PORT)

    def _add_service_cidrs(self) -> None:
        """Give the cluster another ServiceCIDR for each family, after its pods."""
        self.node.service_cidrs += services.LATE
        self.node.look(into=True)

    def _start_proxy(self) -> None:
        if self.proxy is Proxy.NONE:
            return
        nodes = {node.name: node.addresses for node in (self.node, self.other)}
        backends = {
            target.server: Backend(self._of_stack(target.server), self._node_of(target.server))
            for target in services.targets()
        }
        objects = services.objects(self.stack.families, backends, nodes)
        log = self.folder / f"kube-proxy-{self.mode.word}-{self.stack.name}-{self.proxy}.log"
        self._kube_proxy = KubeProxy(self.node.namespace, self.proxy, objects, log)
        wait_for(self._is_translated, "kube-proxy's rules")

    def _is_translated(self) -> bool:
        if self._kube_proxy:
            self._kube_proxy.require_running()
        probes = (services.cluster_ip(_PROBE, family) for family in self.stack.families)
        return all(self.node.namespace.ask(probe, TCP_PORT) for probe in probes)

    def _of_stack(self, machine: str) -> tuple[str, ...]:
        return tuple(self.address_of(machine, family) for family in self.stack.families)

    def _node_of(self, machine: str) -> str:
        for node in (self.node, self.other):
            if machine in {node.name, *(pod.namespace.name for pod in node.pods)}:
                return node.name
        return ""


def _host_ports(pod: str) -> tuple[PortMapping, ...]:
    target = HostPort(pod)
    return tuple(
        PortMapping(services.port_of(target, port), port, Transport(protocol.lower()))
        for protocol, port in services.PORTS
        if pod == "a1"
    )
