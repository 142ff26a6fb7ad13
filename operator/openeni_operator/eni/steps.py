"""The steps that the lifecycle of an ENI's port consists of: one is taken in each reconcile."""

from dataclasses import dataclass
from typing import TypeAlias

from openeni_crds.conditions import Reason


@dataclass(frozen=True)
class CreatePort:
    pass


@dataclass(frozen=True)
class TagPort:
    port: str
    tag: str


@dataclass(frozen=True)
class UntagPort:
    port: str
    tag: str


@dataclass(frozen=True)
class SetQoSPolicy:
    """Give the port this QoS policy, "" for none."""

    port: str
    policy: str


@dataclass(frozen=True)
class SetSecurityGroups:
    """Give the port exactly the ENI's security groups, and enable port security if asked."""

    port: str
    enable_port_security: bool = False


@dataclass(frozen=True)
class ReleaseAddresses:
    """Remove these addresses from the port, once the status says that they are going."""

    port: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class AddAddresses:
    """Add an address to the port for each of these subnets."""

    port: str
    subnets: tuple[str, ...]


@dataclass(frozen=True)
class AddClaimedAddress:
    """Add this very address to the port, for the pod that claims it."""

    port: str
    subnet: str
    address: str


@dataclass(frozen=True)
class DeletePort:
    port: str


@dataclass(frozen=True)
class ConfirmPort:
    """Ask Neutron to keep the fixed IPs that it shows: it refuses if the port is a newer one."""

    port: str


@dataclass(frozen=True)
class AttachPort:
    port: str


@dataclass(frozen=True)
class DetachPort:
    port: str


@dataclass(frozen=True)
class ForgetPort:
    """The recorded port is lost: clear it in the status, so that another is created."""


@dataclass(frozen=True)
class Wait:
    """Observe again after so many seconds."""

    reason: Reason
    message: str
    after: float


@dataclass(frozen=True)
class Ready:
    pass


@dataclass(frozen=True)
class RemoveFinalizer:
    """The cloud holds nothing of this ENI any more."""


Step: TypeAlias = (
    CreatePort
    | TagPort
    | UntagPort
    | SetQoSPolicy
    | SetSecurityGroups
    | ReleaseAddresses
    | AddAddresses
    | AddClaimedAddress
    | DeletePort
    | ConfirmPort
    | AttachPort
    | DetachPort
    | ForgetPort
    | Wait
    | Ready
    | RemoveFinalizer
)
