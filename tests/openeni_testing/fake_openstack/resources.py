"""Resources of Neutron and Nova as the fake stores them, and their JSON."""

from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

from openeni_testing.fake_openstack.messages import Json

AUTO_ADDRESS_MODES: Final = ("slaac", "dhcpv6-stateless")  # neutron_lib.constants.IPv6_SLAAC, ...


class Address(NamedTuple):
    """An address on a port."""

    subnet_id: str
    ip: str


@dataclass(frozen=True)
class NetworkRecord:
    id: str
    name: str
    project_id: str
    mtu: int = 1450
    shared: bool = False
    port_security: bool = True
    tags: tuple[str, ...] = ()

    @cached_property
    def body(self) -> Json:
        return {
            "id": self.id,
            "name": self.name,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "mtu": self.mtu,
            "shared": self.shared,
            "admin_state_up": True,
            "port_security_enabled": self.port_security,
            "router:external": False,
            "status": "ACTIVE",
            "tags": list(self.tags),
        }


@dataclass(frozen=True)
class SubnetRecord:
    """A subnet. `ipv6_mode` is its address mode and its RA mode, "" for IPv4."""

    id: str
    name: str
    network_id: str
    project_id: str
    cidr: str
    pools: tuple[tuple[str, str], ...]
    dhcp: bool = False
    ipv6_mode: str = ""
    tags: tuple[str, ...] = ()

    @cached_property
    def version(self) -> int:
        return ip_network(self.cidr).version

    @property
    def auto_address(self) -> bool:
        """Return whether each port gets one address that is derived from its MAC address."""
        return self.ipv6_mode in AUTO_ADDRESS_MODES

    @cached_property
    def _ranges(self) -> list[range]:
        pairs = ((ip_address(first), ip_address(last)) for first, last in self.pools)
        return [range(int(first), int(last) + 1) for first, last in pairs]

    @cached_property
    def size(self) -> int:
        """Return how many addresses the pools have."""
        return sum(numbers.stop - numbers.start for numbers in self._ranges)

    def address_at(self, index: int) -> str:
        """Return an address of the pools by its place in them."""
        for numbers in self._ranges:
            length = numbers.stop - numbers.start
            if index < length:
                return _text(numbers.start + index, self.version)
            index -= length
        raise IndexError(index)

    def contains(self, ip: str) -> bool:
        return ip_address(ip) in ip_network(self.cidr)

    def derived_address(self, mac: str) -> str:
        """Return the EUI-64 address (RFC 4291, appendix A)."""
        octets = bytearray.fromhex(mac.replace(":", ""))
        octets[0] ^= 2
        interface = int.from_bytes(octets[:3] + b"\xff\xfe" + octets[3:])
        return str(ip_network(self.cidr).network_address + interface)

    @cached_property
    def body(self) -> Json:
        return {
            "id": self.id,
            "name": self.name,
            "network_id": self.network_id,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "cidr": self.cidr,
            "ip_version": self.version,
            "gateway_ip": str(ip_network(self.cidr).network_address + 1),
            "enable_dhcp": self.dhcp,
            "ipv6_address_mode": self.ipv6_mode or None,
            "ipv6_ra_mode": self.ipv6_mode or None,
            "allocation_pools": [{"start": start, "end": end} for start, end in self.pools],
            "service_types": [],
            "tags": list(self.tags),
        }


@dataclass(frozen=True)
class SecurityGroupRecord:
    id: str
    name: str
    project_id: str
    tags: tuple[str, ...] = ()

    @cached_property
    def body(self) -> Json:
        return {
            "id": self.id,
            "name": self.name,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "description": "",
            "security_group_rules": [],
            "tags": list(self.tags),
        }


@dataclass(frozen=True)
class QoSPolicyRecord:
    id: str
    name: str
    project_id: str

    @cached_property
    def body(self) -> Json:
        return {
            "id": self.id,
            "name": self.name,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "description": "",
            "shared": False,
            "is_default": False,
            "rules": [],
            "tags": [],
        }


@dataclass(frozen=True)
class PortRecord:
    """One version of a port. `host` is where Nova has bound it."""

    id: str
    name: str
    network_id: str
    project_id: str
    mac: str
    created_at: str
    addresses: tuple[Address, ...] = ()
    groups: tuple[str, ...] = ()
    qos_policy_id: str | None = None
    tags: tuple[str, ...] = ()
    status: str = "DOWN"
    device_id: str = ""
    device_owner: str = ""
    host: str = ""
    description: str = ""
    admin_state_up: bool = True
    port_security: bool = True
    address_pairs: tuple[Json, ...] = ()
    revision: int = 1
    updated_at: str = ""

    @cached_property
    def body(self) -> Json:
        """Return what its project may read: no binding:host_id, :profile or :vif_type."""
        return {
            "id": self.id,
            "name": self.name,
            "network_id": self.network_id,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "mac_address": self.mac,
            "status": self.status,
            "device_id": self.device_id,
            "device_owner": self.device_owner,
            "fixed_ips": self.fixed_ips,
            "security_groups": list(self.groups),
            "qos_policy_id": self.qos_policy_id,
            "tags": list(self.tags),
            "description": self.description,
            "admin_state_up": self.admin_state_up,
            "port_security_enabled": self.port_security,
            "allowed_address_pairs": list(self.address_pairs),
            "binding:vnic_type": "normal",
            "created_at": self.created_at,
            "updated_at": self.updated_at or self.created_at,
            "revision_number": self.revision,
        }

    @property
    def fixed_ips(self) -> list[Json]:
        """Return the addresses as neutron.db.models_v2.Port orders them: as texts."""
        ordered = sorted(self.addresses, key=lambda address: address.ip)
        return [{"subnet_id": subnet_id, "ip_address": ip} for subnet_id, ip in ordered]

    @property
    def binding(self) -> Json:
        """Return what administrators can read besides."""
        return {
            "binding:host_id": self.host,
            "binding:profile": {},
            "binding:vif_type": "ovs" if self.host else "unbound",
            "binding:vif_details": {},
        }


@dataclass
class ServerRecord:
    """A server, and how its compute host behaves. `nics` are the ports that the guest has.

    `slots` is how many NICs fit; None is no limit. With `loses_detaches`, Nova accepts a detach and
    nothing follows: the guest did not release the device. Without an `agent`, ports stay DOWN.
    """

    id: str
    name: str
    project_id: str
    zone: str = "nova"
    host: str = "compute-1"
    vm_state: str = "active"
    task_state: str | None = None
    locked: bool = False
    slots: int | None = None
    agent: bool = True
    loses_detaches: bool = False
    nics: set[str] = field(default_factory=set[str])

    @property
    def body(self) -> Json:
        return {
            "id": self.id,
            "name": self.name,
            "status": self.vm_state.upper(),
            "tenant_id": self.project_id,
            "addresses": {},
            "metadata": {},
            "OS-EXT-AZ:availability_zone": self.zone,
            "OS-EXT-STS:vm_state": self.vm_state,
            "OS-EXT-STS:task_state": self.task_state,
        }


def _text(number: int, version: int) -> str:
    return str(IPv4Address(number) if version == 4 else IPv6Address(number))
