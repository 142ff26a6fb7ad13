"""Convert openstacksdk's objects to the values of the Cloud protocol."""

from typing import Any, Final

from openeni_operator.cloud.api import FixedIP, Network, Port, SecurityGroup, Subnet

_SLAAC_MODES: Final = ("slaac", "dhcpv6-stateless")  # IPv6 modes with derived addresses


def to_port(found: Any) -> Port:
    return Port(
        id=found.id,
        name=found.name or "",
        network_id=found.network_id or "",
        mac_address=found.mac_address or "",
        status=found.status or "",
        device_id=found.device_id or "",
        fixed_ips=tuple(FixedIP(f["subnet_id"], f["ip_address"]) for f in found.fixed_ips or ()),
        tags=frozenset(found.tags or ()),
        revision=found.revision_number or 0,
        created_at=found.created_at or "",
    )


def to_subnet(found: Any) -> Subnet:
    modes = (found.ipv6_address_mode, found.ipv6_ra_mode)
    return Subnet(
        id=found.id,
        name=found.name or "",
        network_id=found.network_id,
        cidr=found.cidr,
        ip_version=found.ip_version,
        gateway=found.gateway_ip or "",
        dhcp=bool(found.is_dhcp_enabled),
        slaac=any(mode in _SLAAC_MODES for mode in modes),
        pools=tuple((p["start"], p["end"]) for p in found.allocation_pools or ()),
    )


def to_network(found: Any) -> Network:
    return Network(found.id, found.mtu or 1500)


def to_security_group(found: Any) -> SecurityGroup:
    return SecurityGroup(found.id, found.name or "")


def to_limit(quota: Any) -> int:
    return int(quota.get("limit", -1))
