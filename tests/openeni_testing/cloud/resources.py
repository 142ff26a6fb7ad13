"""What a cloud in memory has besides ports: networks, subnets, security groups and servers."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TypeVar

from openeni_crds.terms import Term, selects
from openeni_operator.cloud.api import FixedIP, Network, QoSPolicy, SecurityGroup, Subnet
from openeni_operator.cloud.errors import (
    InvalidRequestError,
    OutcomeUnknownError,
    ResourceNotFoundError,
)

T = TypeVar("T")
N = TypeVar("N", Subnet, SecurityGroup, QoSPolicy)
PROJECT = "project-1"  # of the credentials


@dataclass
class Resources:
    """The resources of one project; `numbers` make their IDs."""

    tags_of: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    servers: set[str] = field(default_factory=set[str])
    slots: int | None = None  # for the NICs of pods on each server; None is no limit
    networks: dict[str, Network] = field(default_factory=dict[str, Network])
    subnets: dict[str, Subnet] = field(default_factory=dict[str, Subnet])
    groups: dict[str, SecurityGroup] = field(default_factory=dict[str, SecurityGroup])
    policies: dict[str, QoSPolicy] = field(default_factory=dict[str, QoSPolicy])
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def add_network(
        self, *, mtu: int = 1450, project_id: str = PROJECT, port_security: bool | None = None
    ) -> Network:
        network = Network(self._id("network"), mtu, project_id, port_security)
        self.networks[network.id] = network
        return network

    def add_subnet(
        self, network: Network, name: str, cidr: str, *, dhcp: bool = False, ipv6_mode: str = ""
    ) -> Subnet:
        net = ip_network(cidr)
        first, last = int(net.network_address) + 2, int(net.broadcast_address) - 1
        pool = (str(ip_address(first)), str(ip_address(last)))
        subnet = Subnet(
            id=self._id("subnet"),
            name=name,
            network_id=network.id,
            cidr=cidr,
            ip_version=net.version,
            gateway=str(net.network_address + 1),
            dhcp=dhcp,
            ipv6_mode=ipv6_mode,
            pools=(pool,),
        )
        self.subnets[subnet.id] = subnet
        return subnet

    def add_group(self, name: str) -> SecurityGroup:
        group = SecurityGroup(self._id("group"), name)
        self.groups[group.id] = group
        return group

    def add_policy(self, name: str) -> QoSPolicy:
        policy = QoSPolicy(self._id("policy"), name)
        self.policies[policy.id] = policy
        return policy

    def check_slot(self, server_id: str, attached: Iterable[str]) -> None:
        """Fail as Nova does if the server has no slot for a NIC: it has those `attached` to it."""
        if self.slots is not None and sum(s == server_id for s in attached) >= self.slots:
            raise OutcomeUnknownError(f"Failed to attach network adapter device to {server_id}")

    def add_server(self) -> str:
        """Add a server and return its ID."""
        server_id = self._id("server")
        self.servers.add(server_id)
        return server_id

    def derived(self, network_id: str, mac: str) -> list[FixedIP]:
        """Return the addresses that a new port gets unasked: one in each subnet with SLAAC."""
        octets = bytearray.fromhex(mac.replace(":", ""))
        octets[0] ^= 2
        interface = int.from_bytes(octets[:3] + b"\xff\xfe" + octets[3:])  # EUI-64, RFC 4291
        return [
            FixedIP(s.id, str(ip_network(s.cidr).network_address + interface))
            for s in self.subnets.values()
            if s.network_id == network_id and s.slaac
        ]

    def check_security(self, security: bool | None, group_ids: tuple[str, ...]) -> None:
        """Refuse groups on a port without port security, as Neutron does."""
        if security is False and group_ids:
            raise InvalidRequestError("Port security must be enabled to use security groups.")

    def _selected(self, known: dict[str, N], term: Term) -> tuple[N, ...]:
        found = (
            i for i in known.values() if selects(term, i.id, i.name, self.tags_of.get(i.id, ()))
        )
        return tuple(sorted(found, key=lambda i: (i.name, i.id)))

    def _get(self, known: dict[str, T], key: str) -> T:
        if key not in known:
            raise ResourceNotFoundError(f"{key} could not be found.")
        return known[key]

    def _id(self, kind: str) -> str:
        return f"{kind}-{next(self.numbers):04}"
