"""The cloud API that the operator uses, as a Protocol over plain values.

Implemented on openstacksdk and, for tests, in memory; both pass the same contract suite. Every
method raises CloudErrors, has a timeout and does not retry.
"""

from dataclasses import dataclass, field
from typing import Final, Protocol

from openeni_crds.terms import SecurityGroupTerm, SubnetTerm

ACTIVE: Final = "ACTIVE"


@dataclass(frozen=True)
class FixedIP:
    subnet_id: str
    address: str


@dataclass(frozen=True)
class Port:
    """A Neutron port. `device_id` is "" while it is not attached."""

    id: str
    name: str
    network_id: str
    mac_address: str
    status: str = "DOWN"
    device_id: str = ""
    fixed_ips: tuple[FixedIP, ...] = ()
    tags: frozenset[str] = frozenset()
    revision: int = 0
    created_at: str = ""


@dataclass(frozen=True)
class NewPort:
    """A port to create, with `count` addresses in each subnet."""

    name: str
    network_id: str
    subnet_ids: tuple[str, ...]
    count: int
    security_group_ids: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Subnet:
    id: str
    name: str
    network_id: str
    cidr: str
    ip_version: int
    gateway: str = ""  # "" if there is none
    dhcp: bool = False
    slaac: bool = False  # guests derive addresses by themselves
    pools: tuple[tuple[str, str], ...] = field(
        default=()
    )  # first and last address of each allocation pool


@dataclass(frozen=True)
class Network:
    id: str
    mtu: int


@dataclass(frozen=True)
class SecurityGroup:
    id: str
    name: str


@dataclass(frozen=True)
class Place:
    """What a credential leads to: a project in a region. The region is "" if it has no name."""

    project_id: str
    region: str = ""


class Cloud(Protocol):
    """One project in one region."""

    @property
    def place(self) -> Place: ...

    def find_subnets(self, term: SubnetTerm) -> tuple[Subnet, ...]:
        """Return the subnets that the term selects, by name and ID; its zone is ignored."""
        ...

    def subnets_of(self, network_id: str) -> tuple[Subnet, ...]: ...

    def find_security_groups(self, term: SecurityGroupTerm) -> tuple[SecurityGroup, ...]: ...

    def network(self, network_id: str) -> Network: ...

    def port_quota(self) -> int:
        """Return how many ports the project may have; -1 is unlimited."""
        ...

    def port(self, port_id: str) -> Port:
        """Raise ResourceNotFoundError if Neutron reports that there is none."""
        ...

    def ports_named(self, name: str) -> tuple[Port, ...]: ...

    def ports_on(self, network_id: str) -> tuple[Port, ...]:
        """Return the ports on the network that the project can see."""
        ...

    def create_port(self, wanted: NewPort) -> Port:
        """Create the port with all its addresses, or fail.

        Neutron can drop the tags. After OutcomeUnknownError the port may exist, or may still
        appear.
        """
        ...

    def tag_port(self, port_id: str, tags: tuple[str, ...]) -> None: ...

    def delete_port(self, port_id: str) -> None:
        """Delete the port, if it exists."""
        ...

    def server_exists(self, server_id: str) -> bool:
        """Return False if Nova reports that there is no such server in the project."""
        ...

    def attach(self, server_id: str, port_id: str) -> None:
        """Attach the port.

        After OutcomeUnknownError it may still become attached: see its device_id.
        """
        ...

    def detach(self, server_id: str, port_id: str) -> None:
        """Start to detach the port; the detach is done once its device_id is empty.

        Succeeds if the port is not attached or the server does not exist.
        """
        ...
