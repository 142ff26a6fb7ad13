"""Neutron's anti-spoofing for ports with port security, as nftables rules on the lab's bridges.

A datapath that would fail in a cloud must fail here: a frame leaves a port only with a MAC and an
address that Neutron gave it (IPv4, ARP, IPv6 and neighbour discovery). Every other frame is dropped
and counted, with one counter per port. The rules follow Neutron's OVS firewall
(neutron/agent/linux/openvswitch_firewall/firewall.py, `_initialize_egress`) and, where that is
laxer or breaks duplicate address detection, OVN's port security (ovn-nb, `port_security`).
Standard library only: this runs inside Neutron's process.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network
from typing import Any, Final, TypeAlias

TABLE: Final = "bridge openeni-lab"
COUNTERS_COMMAND: Final = ("nft", "-j", "list", "counters", "table", *TABLE.split())
DROP_UNKNOWN: Final = "drop-unknown"
_TARGET: Final = "@th,64,128"  # target of a neighbour message; nftables 1.0.6 lacks `icmpv6 taddr`

IPNetwork: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True)
class AddressPair:
    """A MAC and an address or CIDR that a port may use together."""

    mac: str
    address: str


@dataclass(frozen=True)
class PortFacts:
    """The properties of a Neutron port that anti-spoofing needs."""

    port_id: str
    network: str
    mac: str
    fixed_ips: tuple[str, ...]
    pairs: tuple[AddressPair, ...] = ()
    port_security: bool = True

    @property
    def allowed(self) -> tuple[AddressPair, ...]:
        """Return every pair that the port may send from, including its link-local address."""
        own = (AddressPair(self.mac, address) for address in self.fixed_ips)
        return (*own, *self.pairs, AddressPair(self.mac, link_local(self.mac)))


def device_name(port_id: str) -> str:
    """Return the name of the port's device on its bridge, as Neutron's agents name it."""
    return f"tap{port_id[:11]}"


def link_local(mac: str) -> str:
    """Return the IPv6 link-local address of a MAC (EUI-64, RFC 4291 appendix A)."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    host = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + host))


def table() -> str:
    """Return the table, its hook and the rule for devices of unknown ports; safe to apply again.

    Only devices named tap* are ports; the bridge's own address and routers are not filtered.
    """
    return f"""
table {TABLE} {{
  map ports {{ type ifname : verdict; }}
  counter {DROP_UNKNOWN} {{ }}
  chain from-ports {{ type filter hook prerouting priority -300; policy accept; }}
}}
flush chain {TABLE} from-ports
add rule {TABLE} from-ports iifname vmap @ports
add rule {TABLE} from-ports iifname "tap*" counter name "{DROP_UNKNOWN}" drop
"""


def allow(port: PortFacts) -> str:
    """Return a transaction that rewrites the port's chain.

    The counter is added if missing, never replaced, so that it survives updates of the rules.
    """
    chain, counter = _chain(port.port_id), _counter(port.port_id)
    rules = _rules(port, counter) if port.port_security else ["accept"]
    return "\n".join(
        [
            f"add counter {TABLE} {counter}",
            f"add chain {TABLE} {chain}",
            f"flush chain {TABLE} {chain}",
            *(f"add rule {TABLE} {chain} {rule}" for rule in rules),
            f"add element {TABLE} ports {_element(port.port_id)}",
            "",
        ],
    )


def forget(port_id: str) -> str:
    """Return a transaction that undoes `allow`; it adds each object so that it can delete it."""
    chain, counter = _chain(port_id), _counter(port_id)
    element = f"element {TABLE} ports {_element(port_id)}"
    return "\n".join(
        [
            f"add counter {TABLE} {counter}",
            f"add chain {TABLE} {chain}",
            f"flush chain {TABLE} {chain}",
            f"add {element}",
            f"delete {element}",
            f"delete chain {TABLE} {chain}",
            f"delete counter {TABLE} {counter}",
            "",
        ],
    )


def parse_counters(listing: bytes | str) -> dict[str, int]:
    """Parse the output of `COUNTERS_COMMAND`: packets dropped, by port id.

    `DROP_UNKNOWN` stands for devices of unknown ports.
    """
    entries: list[Mapping[str, Any]] = json.loads(listing)["nftables"]
    counters = (entry["counter"] for entry in entries if "counter" in entry)
    return {_port_of(c["name"]): int(c["packets"]) for c in counters}


def _chain(port_id: str) -> str:
    return f"port-{port_id}"


def _counter(port_id: str) -> str:
    return f"drop-{port_id}"


def _port_of(counter: str) -> str:
    return counter if counter == DROP_UNKNOWN else counter.removeprefix("drop-")


def _element(port_id: str) -> str:
    return f'{{ "{device_name(port_id)}" : jump {_chain(port_id)} }}'


def _rules(port: PortFacts, counter: str) -> list[str]:
    """Return the port's rules. Each drop has a counter and a comment for `nft list chain`."""
    owned = _by_mac(port.allowed)
    return [
        _drop(f"ether saddr != {_set(owned)}", counter, "MAC of no pair"),
        _drop("ether type ip udp sport 67 udp dport 68", counter, "DHCP server"),
        _drop("ether type ip6 udp sport 547 udp dport 546", counter, "DHCPv6 server"),
        _drop("icmpv6 type nd-router-advert", counter, "router advertisement"),
        f"ether saddr {port.mac} ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
        "ether type 0x8035 accept",  # RARP claims a MAC only
        *(rule for mac, networks in owned.items() for rule in _ipv4_rules(mac, networks)),
        *(rule for mac, networks in owned.items() for rule in _ipv6_rules(mac, networks)),
        _drop("ether type arp", counter, "ARP sender"),
        _drop("ether type ip", counter, "IPv4 source"),
        _drop("ether type ip6", counter, "IPv6 source or neighbour target"),
        _drop("", counter, "other protocol"),
    ]


def _drop(match: str, counter: str, reason: str) -> str:
    return f'{match} counter counter name "{counter}" drop comment "{reason}"'


def _ipv4_rules(mac: str, networks: Sequence[IPNetwork]) -> list[str]:
    known = _set(str(network) for network in networks if isinstance(network, IPv4Network))
    if not known:
        return []
    sender = f"ether saddr {mac} arp htype 1 arp ptype ip arp saddr ether {mac}"
    return [f"{sender} arp saddr ip {known} accept", f"ether saddr {mac} ip saddr {known} accept"]


def _ipv6_rules(mac: str, networks: Sequence[IPNetwork]) -> list[str]:
    mine = [network for network in networks if isinstance(network, IPv6Network)]
    if not mine:
        return []
    known, targets = _set(str(network) for network in mine), _set(map(_hexadecimal, mine))
    # During duplicate address detection the source is `::` (OVN allows types 131, 135 and 143).
    early = f"ether saddr {mac} ip6 saddr :: ip6 daddr ff02::/16 icmpv6 type"
    sender = f"ether saddr {mac} ip6 saddr {known}"
    return [
        f"{early} nd-neighbor-solicit {_TARGET} {targets} accept",
        f"{early} {{ mld-listener-report, mld2-listener-report }} accept",
        f"{sender} icmpv6 type nd-neighbor-advert {_TARGET} {targets} accept",
        f"{sender} icmpv6 type != nd-neighbor-advert accept",
        f"{sender} meta l4proto != ipv6-icmp accept",
    ]


def _by_mac(pairs: Iterable[AddressPair]) -> dict[str, list[IPNetwork]]:
    """Group the pairs' networks by MAC, overlaps merged: nftables refuses them in one set."""
    found: dict[str, list[IPNetwork]] = {}
    for pair in pairs:
        found.setdefault(pair.mac, []).append(ip_network(pair.address, strict=False))
    return {mac: _merged(networks) for mac, networks in found.items()}


def _merged(networks: Sequence[IPNetwork]) -> list[IPNetwork]:
    v4 = [network for network in networks if isinstance(network, IPv4Network)]
    v6 = [network for network in networks if isinstance(network, IPv6Network)]
    return [*collapse_addresses(v4), *collapse_addresses(v6)]


def _hexadecimal(network: IPv6Network) -> str:
    first, last = int(network.network_address), int(network.broadcast_address)
    return f"{first:#034x}" if first == last else f"{first:#034x}-{last:#034x}"


def _set(elements: Iterable[str]) -> str:
    """Return an anonymous set, or "" without elements: nftables does not accept empty ones."""
    text = ", ".join(elements)
    return f"{{ {text} }}" if text else ""
