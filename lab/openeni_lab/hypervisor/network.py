"""The network of the lab's cloud: a bridge per Neutron network, the gateway, and peers for pods.

The lab's own network namespace is the provider's router. `outside` is a host beyond the subnets.
The remote VM is a Nova server with a real port, like every node, but not part of the cluster.
Everything is created with iproute2 and nftables inside the lab and ends with its namespaces.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from openeni_lab import layout
from openeni_lab.hypervisor import antispoof
from openeni_lab.hypervisor.records import DEFAULT_MTU, bridge_name
from openeni_lab.layout import Layout
from openeni_lab.machine import sysctl
from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.machine.enclosure import init_environment
from openeni_lab.machine.steps import Step
from openeni_lab.programs.sets import BUSYBOX, find_built_sets

REMOTE_ADDRESS: Final = "10.98.3.250"  # outside the allocation pools, like the next
REMOTE_ADDRESS_V6: Final = "fd00:98::250"
OUTSIDE_LINK: Final = "to-outside"
WEB_PORT: Final = 80

# Bridged frames must not pass through the router's rules. IPv6 is off unless it is asked for.
SYSCTLS: Final = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv6.conf.default.disable_ipv6=1",
)
BRIDGE_SYSCTLS: Final = tuple(
    f"net.bridge.bridge-nf-call-{name}=0" for name in ("iptables", "ip6tables", "arptables")
)


@dataclass(frozen=True)
class Bridge:
    """A Neutron network's bridge, and the gateway's addresses on it with their prefixes.

    A bridge without a MAC of its own takes the lowest MAC of its ports: the gateway's MAC would
    change, and the kernel would delete permanent neighbour entries of the bridge.
    """

    network: str
    mac: str
    addresses: tuple[str, ...]

    @property
    def name(self) -> str:
        return bridge_name(self.network)


@dataclass(frozen=True)
class HostAddress:
    """An address of a host, with its prefix, and the gateway of the same family."""

    address: str
    gateway: str


def _in(cidr: str, address: str) -> str:
    """Return an address with the prefix of its subnet."""
    return f"{address}/{ip_network(cidr).prefixlen}"


BRIDGES: Final = (
    Bridge(
        layout.NODES_NETWORK,
        "02:00:00:99:00:01",
        (_in(layout.NODES_CIDR, layout.NODES_GATEWAY),),
    ),
    Bridge(
        layout.PODS_NETWORK,
        "02:00:00:98:00:01",
        (
            _in(layout.PODS_CIDR, layout.PODS_GATEWAY),
            _in(layout.PODS_CIDR_V6, layout.PODS_GATEWAY_V6),
        ),
    ),
)
REMOTE: Final = (
    HostAddress(_in(layout.PODS_CIDR, REMOTE_ADDRESS), layout.PODS_GATEWAY),
    HostAddress(_in(layout.PODS_CIDR_V6, REMOTE_ADDRESS_V6), layout.PODS_GATEWAY_V6),
)
OUTSIDE: Final = (
    HostAddress(_in(layout.OUTSIDE_CIDR, layout.OUTSIDE_ADDRESS), layout.OUTSIDE_GATEWAY),
    HostAddress(_in(layout.OUTSIDE_CIDR_V6, layout.OUTSIDE_ADDRESS_V6), layout.OUTSIDE_GATEWAY_V6),
)
OUTSIDE_GATEWAYS: Final = (
    _in(layout.OUTSIDE_CIDR, layout.OUTSIDE_GATEWAY),
    _in(layout.OUTSIDE_CIDR_V6, layout.OUTSIDE_GATEWAY_V6),
)


def bridge_links(bridges: Sequence[Bridge], existing: frozenset[str]) -> list[str]:
    """Return lines for `ip -batch` that create the missing bridges."""
    missing = (bridge for bridge in bridges if bridge.name not in existing)
    kind = f"mtu {DEFAULT_MTU} type bridge forward_delay 0"
    return [f"link add {bridge.name} address {bridge.mac} {kind}" for bridge in missing]


def bridge_addresses(bridges: Sequence[Bridge]) -> list[str]:
    """Return lines for `ip -batch` that set the bridges up as gateways; safe to repeat."""
    lines: list[str] = []
    for bridge in bridges:
        lines += [f"address replace {a} dev {bridge.name} nodad" for a in bridge.addresses]
        lines.append(f"link set {bridge.name} up")
    return lines


def host_commands(name: str, addresses: Sequence[HostAddress]) -> list[str]:
    """Return lines for `ip -batch` that configure a host whose NIC is called `name`."""
    return [
        "link set lo up",
        *(f"address replace {each.address} dev {name} nodad" for each in addresses),
        f"link set {name} up",
        *(f"route replace default via {each.gateway} dev {name}" for each in addresses),
    ]


class LabNetwork:
    """The network of one lab's cloud, created from outside through the lab's init."""

    def __init__(self, lab: Layout, machine: Machine) -> None:
        self._lab = lab
        self._machine = machine

    def steps(self) -> list[Step]:
        """Return the steps: bridges, gateway, anti-spoofing table, the host `outside`."""
        return [
            Step("bridges and gateway", self._has_bridges, self._make_bridges, 0.2),
            Step("host outside", self._has_outside, self._make_outside, 0.2),
        ]

    @staticmethod
    def namespace(host: str) -> str:
        """Return the path of a host's network namespace in the lab's mount namespace."""
        return f"/run/netns/{host}"

    def make_host(self, host: str) -> str:
        """Create a host's network namespace unless it exists; return its path."""
        if self._machine.run(["test", "-e", self.namespace(host)]).code:
            self._machine.check(["ip", "netns", "add", host])
        return self.namespace(host)

    def configure_host(self, host: str, name: str, addresses: Sequence[HostAddress]) -> None:
        """Set the addresses and the default routes of a host's NIC; safe to repeat."""
        self._ip(host_commands(name, addresses), host)

    def serve(self, host: str) -> None:
        """Start an HTTP server on a host that answers with the host's name."""
        name = self.server(host)
        if self._machine.running(name):
            return
        folder = self._lab.state / "www" / host
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text(f"{host}\n")
        busybox = str(find_built_sets([BUSYBOX.name]).busybox)
        web = [busybox, "httpd", "-f", "-p", str(WEB_PORT), "-h", str(folder)]
        enter = ["ip", "netns", "exec", host]
        self._machine.start(name, [*enter, *web], log=self._lab.logs / f"{name}.log")

    @staticmethod
    def server(host: str) -> str:
        """Return the name of a host's HTTP server among the programs of the lab's init."""
        return f"web-{host}"

    def dropped(self) -> dict[str, int]:
        """Return the packets that anti-spoofing has dropped, by port id."""
        return antispoof.parse_counters(self._machine.check(antispoof.COUNTERS_COMMAND))

    def hypervisor(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a command of the hypervisor inside the lab; return its output."""
        command = [sys.executable, "-S", "-m", "openeni_lab.hypervisor.command"]
        return self._machine.check(
            [*command, f"--state={self._lab.state}", *arguments],
            env=init_environment(),
            stdin=stdin,
        )

    def _links(self) -> frozenset[str]:
        links = json.loads(self._machine.check(["ip", "-json", "link"]))
        return frozenset(link["ifname"] for link in links)

    def _has_bridges(self) -> bool:
        """Return True if the bridges exist, and the table that `_make_bridges` creates last."""
        try:
            found = self._machine.run(["nft", "list", "table", *antispoof.TABLE.split()])
            return not found.code and {bridge.name for bridge in BRIDGES} <= self._links()
        except MachineError:
            return False

    def _make_bridges(self) -> None:
        self._machine.check(sysctl.set_command(*SYSCTLS))
        if Path("/proc/sys/net/bridge").exists():
            self._machine.check(sysctl.set_command(*BRIDGE_SYSCTLS))
        self._ip(["link set lo up", *bridge_links(BRIDGES, self._links())])
        with_ipv6 = [bridge.name for bridge in BRIDGES if any(":" in a for a in bridge.addresses)]
        self._enable_ipv6(*with_ipv6)
        self._ip(bridge_addresses(BRIDGES))
        self.hypervisor("restore")

    def _has_outside(self) -> bool:
        return self._machine.running(self.server("outside"))

    def _make_outside(self) -> None:
        path = self.make_host("outside")
        if OUTSIDE_LINK not in self._links():
            self._ip([f"link add {OUTSIDE_LINK} type veth peer name eth0 netns {path}"])
        self._enable_ipv6(OUTSIDE_LINK)
        addresses = [f"address replace {a} dev {OUTSIDE_LINK} nodad" for a in OUTSIDE_GATEWAYS]
        self._ip([*addresses, f"link set {OUTSIDE_LINK} up"])
        self.configure_host("outside", "eth0", OUTSIDE)
        self.serve("outside")

    def _enable_ipv6(self, *links: str) -> None:
        settings = (f"net.ipv6.conf.{link}.disable_ipv6=0" for link in links)
        self._machine.check(sysctl.set_command(*settings))

    def _ip(self, lines: Sequence[str], host: str | None = None) -> None:
        inside = ["-n", host] if host else []
        batch = "".join(f"{line}\n" for line in lines).encode()
        self._machine.check(["ip", *inside, "-batch", "-"], stdin=batch)
