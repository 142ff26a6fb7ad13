"""Addresses of a subnet that no pod may have, whoever asks for them by name. Pure.

Neutron hands none of them out unasked, but gives them to whoever names them: it compares a request
with the addresses of its ports alone, and the gateway of a provider network is on none.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, ip_address, ip_network

from openeni_crds.status.eni import PortSubnet


def role_of(address: str, subnets: Iterable[PortSubnet]) -> str:
    """Return what the address is in one of the subnets that no pod may be; "" if any pod may."""
    text = _canonical(address)
    found = ((subnet, role) for subnet in subnets if (role := _roles(subnet).get(text)))
    return next((f"{role} of subnet {subnet.id} ({subnet.cidr})" for subnet, role in found), "")


@lru_cache(maxsize=1024)
def _roles(subnet: PortSubnet) -> Mapping[str, str]:
    network = ip_network(subnet.cidr)
    found: dict[str, str] = {}
    # a link between two machines has none of these (RFC 3021, RFC 6164)
    if network.max_prefixlen - network.prefixlen > 1:
        if isinstance(network, IPv4Network):
            found[str(network.broadcast_address)] = "the broadcast address"
            found[str(network.network_address)] = "the network address"
        else:
            found[str(network.network_address)] = "the anycast address of the routers"
    if subnet.gateway:
        found[_canonical(subnet.gateway)] = "the gateway"
    return found


def _canonical(address: str) -> str:
    return str(ip_address(address))
