"""What the operator wants of an OpenStack cloud, in our words.

One Protocol, implemented by openstacksdk and by the tests' cloud in memory; both pass the same
contract suite. Every method raises a CloudError, has a timeout and repeats nothing by itself.
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
    """A Neutron port. `device_id` is "" while it is attached to nothing."""

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
    """A port to be made: `count` addresses in each subnet, all in one request."""

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
    gateway: str = ""  # "" for none
    dhcp: bool = False
    slaac: bool = False  # addresses are made by the guests themselves
    pools: tuple[tuple[str, str], ...] = field(default=())  # first and last address of each


@dataclass(frozen=True)
class Network:
    id: str
    name: str
    mtu: int


@dataclass(frozen=True)
class SecurityGroup:
    id: str
    name: str


@dataclass(frozen=True)
class Server:
    id: str


@dataclass(frozen=True)
class Quota:
    """Of ports in the project; `limit` -1 is none."""

    limit: int
    used: int


class Cloud(Protocol):
    """One project in one region."""

    def find_subnets(self, term: SubnetTerm) -> tuple[Subnet, ...]:
        """Return the subnets that the term selects, by name and id; its zone is not looked at."""
        ...

    def subnets_of(self, network_id: str) -> tuple[Subnet, ...]: ...

    def find_security_groups(self, term: SecurityGroupTerm) -> tuple[SecurityGroup, ...]: ...

    def network(self, network_id: str) -> Network: ...

    def port_quota(self) -> Quota: ...

    def port(self, port_id: str) -> Port:
        """Raise NotFoundError when Neutron says that there is none."""
        ...

    def ports_named(self, name: str) -> tuple[Port, ...]: ...

    def ports_on(self, network_id: str) -> tuple[Port, ...]:
        """All that the project sees on the network."""
        ...

    def create_port(self, wanted: NewPort) -> Port:
        """All addresses or none. The answer's tags may be missing: Neutron can drop them.

        After OutcomeUnknownError the port may be there, now or in a while.
        """
        ...

    def tag_port(self, port_id: str, tags: tuple[str, ...]) -> None: ...

    def delete_port(self, port_id: str) -> None:
        """A port that is not there is no error."""
        ...

    def server(self, server_id: str) -> Server:
        """Raise NotFoundError when Nova says that there is none."""
        ...

    def attach(self, server_id: str, port_id: str) -> None:
        """After OutcomeUnknownError the port may become attached later: look at its device_id."""
        ...

    def detach(self, server_id: str, port_id: str) -> None:
        """Only begins it: the port's device_id tells when it is done.

        A port that is not attached, and a server that is gone, are no errors.
        """
        ...
