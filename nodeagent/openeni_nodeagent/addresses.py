"""IP addresses as text: their family, and the CIDRs that hold one of them or all; MACs. Pure."""

import ipaddress
from typing import Final

IPV4: Final = 4
IPV6: Final = 6
_LINK_LOCAL: Final = bytes.fromhex("fe80000000000000")


def family_of(address: str) -> int:
    """Return IPV4 or IPV6, for an address or a CIDR."""
    return IPV6 if ":" in address else IPV4


def address_bits(family: int) -> int:
    """Return the length of an address in bits."""
    return {IPV4: 32, IPV6: 128}[family]


def host_cidr(address: str) -> str:
    """Return the CIDR that holds this address and no other."""
    return f"{address}/{address_bits(family_of(address))}"


def default_cidr(family: int) -> str:
    """Return the destination of a default route."""
    return {IPV4: "0.0.0.0/0", IPV6: "::/0"}[family]


def packed_mac(mac: str) -> bytes:
    """Return the six bytes of a MAC."""
    return bytes.fromhex(mac.replace(":", ""))


def link_local(mac: str) -> str:
    """Return the IPv6 link-local address of a MAC by RFC 4291, appendix A (modified EUI-64)."""
    first, *rest = packed_mac(mac)
    identifier = bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])
    return str(ipaddress.IPv6Address(_LINK_LOCAL + identifier))


def on_link(address: str, subnet: str) -> bool:
    """Return True for an address of the subnet, and for a link-local one, which needs no route."""
    parsed = ipaddress.ip_address(address)
    return parsed.is_link_local or parsed in ipaddress.ip_network(subnet)


def overlap(subnet: str, other: str) -> bool:
    """Return True if two subnets of one family have an address in common."""
    within = ipaddress.ip_network(other, strict=False)
    return ipaddress.ip_network(subnet, strict=False).overlaps(within)
