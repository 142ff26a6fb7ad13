"""The cloud API that the operator uses, as a Protocol over plain values.

Implemented on openstacksdk and, for tests, in memory; both pass the same contract suite. Every
method raises CloudErrors, has a timeout and does not retry.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from openeni_crds.terms import QoSPolicyTerm, SecurityGroupTerm, SubnetTerm

ACTIVE: Final = "ACTIVE"
DOWN: Final = "DOWN"  # nobody wires it up; while somebody does, it is in BUILD
# IPv6 modes in which Neutron adds an address to every port of the network, and guests another.
_SLAAC_MODES: Final = frozenset({"slaac", "dhcpv6-stateless"})


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
    security_group_ids: frozenset[str] = frozenset()
    port_security: bool | None = None  # None: Neutron does not say
    qos_policy_id: str = ""  # of its own; "" where the network's holds, or none
    enabled: bool = True  # admin_state_up
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
    qos_policy_id: str = ""


@dataclass(frozen=True)
class Subnet:
    id: str
    name: str
    network_id: str
    cidr: str
    ip_version: int
    gateway: str = ""  # "" if there is none
    dhcp: bool = False
    ipv6_mode: str = ""  # its address mode, or else its RA mode; "" for none
    pools: tuple[tuple[str, str], ...] = field(
        default=()
    )  # first and last address of each allocation pool

    @property
    def slaac(self) -> bool:
        return self.ipv6_mode in _SLAAC_MODES


@dataclass(frozen=True)
class Network:
    id: str
    mtu: int
    project_id: str = ""
    port_security: bool | None = None  # None: Neutron does not say


@dataclass(frozen=True)
class SecurityGroup:
    id: str
    name: str


@dataclass(frozen=True)
class QoSPolicy:
    id: str
    name: str


@dataclass(frozen=True)
class PortQuota:
    """Ports of the project, and how many it may have; -1 is unlimited."""

    used: int
    limit: int


@dataclass(frozen=True)
class Place:
    """What a credential leads to: a project in a region. The region is "" if it has no name."""

    project_id: str
    region: str = ""

    def may_be(self, other: "Place") -> bool:
        """Return True unless they differ: a region without a name may be any."""
        same_region = self.region == other.region or "" in {self.region, other.region}
        return self.project_id == other.project_id and same_region


class Cloud(Protocol):
    """One project in one region."""

    @property
    def place(self) -> Place: ...

    def credential_expiry(self) -> str | None:
        """Return when the credential of the log-in expires, as metav1.Time prints it.

        Return "" for never, as with a password, and None if Keystone does not tell.
        """
        ...

    def find_subnets(self, term: SubnetTerm) -> tuple[Subnet, ...]:
        """Return the subnets that the term selects, by name and ID; its zone is ignored."""
        ...

    def subnets_of(self, network_id: str) -> tuple[Subnet, ...]: ...

    def find_security_groups(self, term: SecurityGroupTerm) -> tuple[SecurityGroup, ...]: ...

    def find_qos_policies(self, term: QoSPolicyTerm) -> tuple[QoSPolicy, ...]:
        """Raise QoSUnsupportedError if the cloud has none at all."""
        ...

    def network(self, network_id: str) -> Network: ...

    def has_extension(self, alias: str) -> bool:
        """Return True if Neutron has the extension."""
        ...

    def port_quota(self) -> PortQuota: ...

    def port(self, port_id: str) -> Port:
        """Raise ResourceNotFoundError if Neutron reports that there is none."""
        ...

    def ports_named(self, name: str) -> tuple[Port, ...]: ...

    def ports_on(self, network_id: str) -> tuple[Port, ...]:
        """Return the ports on the network that the project can see."""
        ...

    def ports_tagged(self, tag: str) -> tuple[Port, ...]: ...

    def create_port(self, wanted: NewPort, before: Callable[[], None] = lambda: None) -> Port:
        """Create the port with all its addresses, or fail.

        `before` is called once the request may be sent, and is the last that happens before it.
        Neutron can drop the tags. After OutcomeUnknownError the port may exist, or may still
        appear.
        """
        ...

    def tag_port(self, port_id: str, tag: str) -> None:
        """Add one tag; the others stay."""
        ...

    def untag_port(self, port_id: str, tag: str) -> None:
        """Remove one tag, if the port has it; the others stay."""
        ...

    def set_security_groups(
        self, port_id: str, group_ids: tuple[str, ...], *, enable_port_security: bool = False
    ) -> None:
        """Give the port exactly these security groups, and enable port security if asked.

        Without port security Neutron refuses any group. By its default policy only an admin or the
        network's owner may change it.
        """
        ...

    def set_qos_policy(self, port_id: str, policy_id: str) -> None:
        """Give the port this QoS policy, "" for none."""
        ...

    def set_fixed_ips(self, port_id: str, fixed_ips: tuple[FixedIP, ...], revision: int) -> Port:
        """Replace the port's fixed IPs if it is at this revision; return it as it is then.

        An address "" stands for any other address of its subnet. Raises RevisionConflictError if
        the port has changed. After OutcomeUnknownError the change may still be made.
        """
        ...

    def check_resizing(self, port_id: str) -> None:
        """Raise DeniedError if the cloud does not let the project call `set_fixed_ips`.

        By Neutron's default policy that takes the network's ownership. Nothing is changed.
        """
        ...

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
