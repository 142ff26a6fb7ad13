"""What others may change of openeni's links, or put there, as commands: the agent undoes it.

Which link is openeni's is found with `ip`, by the ENI's MAC and the alias of the others.
"""

import json
from collections.abc import Callable, Iterator
from typing import Final

from openeni_crds import names
from openeni_testing.network.netns import Namespace
from openeni_testing.soak.kernel_objects import Command
from openeni_testing.soak.observer import FAMILIES, SYSCTLS

# Of documentation (RFC 5737, RFC 3849), and of zeroconf, which has the metadata service's subnet.
ADDRESSES: Final = (("-4", "192.0.2.5/24"), ("-4", "169.254.77.5/16"), ("-6", "2001:db8::5/64"))
ROUTES_PROTOCOL: Final = "dhcp"
ROUTES: Final = (
    ("-4", "default"),
    ("-4", "192.0.2.64/26"),
    ("-6", "default"),
    ("-6", "2001:db8:1::/64"),
)
# The kernel removes IPv6 from a link with the first one. With the next higher MTU it is back, and
# announces an address of the kernel's own before anybody can forbid that.
MTU_WITHOUT_IPV6: Final = "1000"
MTUS: Final = (MTU_WITHOUT_IPV6, "1280", "9000")
SWITCHES: Final = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


def links(node: Namespace, nic: str) -> list[str]:
    """Return the names of the links that are openeni's as a whole."""
    listed = json.loads(node.program("ip", "-j", "link", "show"))
    ours = (link["ifname"] for link in listed if link.get("ifalias") == names.LINK_ALIAS)
    return [nic, *ours]


def addresses(node: Namespace, nic: str) -> list[Command]:
    """Return additions of addresses, as a DHCP client has them that serves every link."""
    return [
        ("ip", family, "addr", "add", address, "dev", link)
        for link in links(node, nic)
        for family, address in ADDRESSES
    ]


def routes(node: Namespace, nic: str) -> list[Command]:
    """Return additions of routes, default ones before the node's own among them."""
    tables, protocol = ("main", str(names.TABLE_PODS)), ("proto", ROUTES_PROTOCOL)
    return [
        ("ip", family, "route", "prepend", to, "dev", link, *protocol, "table", table)
        for link in links(node, nic)
        for family, to in ROUTES
        for table in tables
    ]


def left(node: Namespace) -> list[str]:
    """Return the addresses and routes that have not gone yet."""
    listed = node.program("ip", "-o", "addr", "show").splitlines()
    found = [line for line in listed if any(address in line for _, address in ADDRESSES)]
    for family in FAMILIES:
        routes_of_others = f"ip {family} route show table all proto {ROUTES_PROTOCOL}"
        found += node.program(*routes_of_others.split()).splitlines()
    return [f"of others: {line}" for line in found]


def states(node: Namespace, nic: str) -> list[Command]:
    """Return other states, MTUs, groups and aliases of links."""
    changes = ("down", "arp off", "arp on", *(f"mtu {mtu}" for mtu in MTUS))
    of_ours = ("alias theirs", "group default")
    return [
        ("ip", "link", "set", link, *change.split())
        for link in links(node, nic)
        for change in (*changes, *(of_ours if link != nic else ()))
    ]


def sysctls(node: Namespace, nic: str) -> list[Command]:
    """Return other values of each sysctl, of links and of the node."""
    of_links = (path.format(link) for link in links(node, nic) for path in SYSCTLS)
    written = [f"{path.replace('/', '.')}={value}" for path in of_links for value in "01"]
    return [("sysctl", "-w", one) for one in (*written, *(f"{path}=0" for path in SWITCHES))]


def filters(node: Namespace, _: str) -> list[Command]:
    """Return changes of openeni's tables that a list of their rules hardly shows."""
    return list(_filters(node))


def _filters(node: Namespace) -> Iterator[Command]:
    for one in json.loads(node.program("nft", "-j", "list", "ruleset"))["nftables"]:
        ((kind, body),) = one.items()
        if kind == "table" and body["name"] == names.NFT_TABLE:
            table = f"{body['family']} {body['name']}"
            yield ("nft", f"add table {table} {{ flags dormant; }}")
        elif kind == "chain" and body["table"] == names.NFT_TABLE:
            chain = f"{body['family']} {body['table']} {body['name']}"
            yield ("nft", f"insert rule {chain} drop")
            if "policy" in body:
                yield ("nft", f"chain {chain} {{ policy drop; }}")


DAMAGES: Final[tuple[Callable[[Namespace, str], list[Command]], ...]] = (
    addresses,
    routes,
    states,
    sysctls,
    filters,
)
