"""Convert openstacksdk's objects to the values of the Cloud protocol."""

from collections.abc import Mapping
from typing import Any

from openeni_operator.cloud.api import (
    FixedIP,
    Network,
    Port,
    PortQuota,
    QoSPolicy,
    SecurityGroup,
    Subnet,
)


def checked(found: Any, attribute: str) -> Any:
    """Return the object if it has the attribute, which every response has.

    Raises ValueError: the SDK makes an object without attributes of a page that is no JSON.
    """
    if getattr(found, attribute) is None:
        raise ValueError(f"it has no {attribute}")
    return found


def to_port(found: Any) -> Port:
    """Convert a port that was read alone."""
    return port_of(found.to_dict(computed=False, headers=False, original_names=True))


def port_of(body: Mapping[str, Any]) -> Port:
    """Convert Neutron's JSON of a port; a response may lack attributes of extensions."""
    if body.get("mac_address") is None:
        raise ValueError("it has no mac_address")
    fixed_ips = body.get("fixed_ips") or ()
    return Port(
        id=body["id"],
        name=body.get("name") or "",
        network_id=body.get("network_id") or "",
        mac_address=body["mac_address"],
        status=body.get("status") or "",
        device_id=body.get("device_id") or "",
        fixed_ips=tuple(FixedIP(f["subnet_id"], f["ip_address"]) for f in fixed_ips),
        tags=frozenset(body.get("tags") or ()),
        security_group_ids=frozenset(body.get("security_groups") or ()),
        port_security=body.get("port_security_enabled"),
        qos_policy_id=body.get("qos_policy_id") or "",
        enabled=body.get("admin_state_up") is not False,
        revision=body.get("revision_number") or 0,
        created_at=body.get("created_at") or "",
    )


def to_subnet(found: Any) -> Subnet:
    return Subnet(
        id=found.id,
        name=found.name or "",
        network_id=found.network_id,
        cidr=found.cidr,
        ip_version=found.ip_version,
        gateway=found.gateway_ip or "",
        dhcp=bool(found.is_dhcp_enabled),
        # Neutron takes no two different ones: db_base_plugin_v2._validate_ipv6_combination.
        ipv6_mode=found.ipv6_address_mode or found.ipv6_ra_mode or "",
        pools=tuple((p["start"], p["end"]) for p in found.allocation_pools or ()),
    )


def to_network(found: Any) -> Network:
    checked(found, "name")
    return Network(
        found.id, found.mtu or 1500, found.project_id or "", found.is_port_security_enabled
    )


def to_security_group(found: Any) -> SecurityGroup:
    return SecurityGroup(found.id, found.name or "")


def to_qos_policy(found: Any) -> QoSPolicy:
    return QoSPolicy(found.id, found.name or "")


def fixed_ip_body(fixed: FixedIP) -> dict[str, str]:
    """Return a fixed IP as Neutron's requests have it; the address "" stands for any."""
    address = {"ip_address": fixed.address} if fixed.address else {}
    return {"subnet_id": fixed.subnet_id, **address}


def to_quota(details: Any) -> PortQuota:
    return PortQuota(int(details.get("used", 0)), int(details.get("limit", -1)))
