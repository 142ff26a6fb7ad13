"""What Neutron enforces for every port with port security, as nftables rules on the lab's bridges.

A datapath that would fail in a cloud has to fail here: a frame leaves a port only with a MAC and an
address that Neutron gave it (IPv4, ARP, IPv6 and neighbour discovery); the rest is dropped and
counted, one counter a port. The rules follow Neutron's OVS firewall
(neutron/agent/linux/openvswitch_firewall/firewall.py, `_initialize_egress`) and, where that is
laxer or breaks duplicate address detection, OVN's port security (ovn-nb, `port_security`).
Standard library only: it runs inside Neutron's process.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network
from typing import Any, Final, TypeAlias

TABLE: Final = "bridge openeni-lab"
COUNTERS_COMMAND: Final = ("nft", "-j", "list", "counters", "table", *TABLE.split())
DROP_UNKNOWN: Final = "drop-unknown"
_TARGET: Final = "@th,64,128"  # of a neighbour message: `icmpv6 taddr` is not in nftables 1.0.6

IPNetwork: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True)
class AddressPair:
    """A MAC and an address or CIDR that a port may use together."""

    mac: str
    address: str


@dataclass(frozen=True)
class PortFacts:
    """What Neutron says of one port, as far as anti-spoofing needs it."""

    port_id: str
    network: str
    mac: str
    fixed_ips: tuple[str, ...]
    pairs: tuple[AddressPair, ...] = ()
    port_security: bool = True

    @property
    def allowed(self) -> tuple[AddressPair, ...]:
        """Every pair the port may send from; its own link-local address is always one of them."""
        own = (AddressPair(self.mac, address) for address in self.fixed_ips)
        return (*own, *self.pairs, AddressPair(self.mac, link_local(self.mac)))


def device_name(port_id: str) -> str:
    """The port's device on its bridge, named as Neutron's agents name it."""
    return f"tap{port_id[:11]}"


def link_local(mac: str) -> str:
    """The IPv6 link-local address derived from a MAC (EUI-64, RFC 4291 appendix A)."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    host = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + host))


def table() -> str:
    """The table, its hook and the rule for devices that no port owns; safe to apply again.

    Only devices named tap... are ports; the bridge's own address and routers are not filtered.
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
    """One transaction that makes the port's chain say exactly what `port` says.

    The counter is added, never replaced: it survives every update of the rules.
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
    """Undo `allow`. Safe for an unknown port: what is deleted is added first."""
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
    """Packets dropped per port id, from the output of `COUNTERS_COMMAND`.

    `DROP_UNKNOWN` stands for devices that no port owns.
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
    """Each drop also counts on its own, under a comment: `nft list chain` then shows the reason."""
    owned = _by_mac(port.allowed)
    return [
        _drop(f"ether saddr != {_set(owned)}", counter, "MAC of no pair"),
        _drop("ether type ip udp sport 67 udp dport 68", counter, "DHCP server"),
        _drop("ether type ip6 udp sport 547 udp dport 546", counter, "DHCPv6 server"),
        _drop("icmpv6 type nd-router-advert", counter, "router advertisement"),
        f"ether saddr {port.mac} ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
        "ether type 0x8035 accept",  # RARP: the MAC is all it claims
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
    # Before an address is confirmed its owner speaks from `::` (OVN: types 131, 135 and 143 only).
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
    """Overlaps are merged: nftables refuses them in one set."""
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
    """An anonymous set; empty text for no elements, which nftables does not accept."""
    text = ", ".join(elements)
    return f"{{ {text} }}" if text else ""
