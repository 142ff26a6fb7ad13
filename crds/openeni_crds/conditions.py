"""Conditions: the only stored state that code decides on, with stable transition times.

The convention is Kubernetes' own (`metav1.Condition`). Reasons are an enum so that documentation,
code and alerts share them; messages carry no time stamps, so a second reconcile of the same world
writes nothing.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from openeni_crds.meta import Generation


class Type(StrEnum):
    """Types of conditions; `owners` has the one owner of each."""

    READY = "Ready"
    CLOUD_REACHABLE = "CloudReachable"
    CREDENTIALS_CURRENT = "CredentialsCurrent"
    CAPACITY_AVAILABLE = "CapacityAvailable"
    SUPPORTED = "Supported"
    PORTS_OWNED = "PortsOwned"
    UP_TO_DATE = "UpToDate"
    PORT_READY = "PortReady"
    ATTACHED = "Attached"
    SIZED = "Sized"
    GUEST_PREPARED = "GuestPrepared"
    LINK_READY = "LinkReady"
    GATEWAY_REACHABLE = "GatewayReachable"
    CNI_CONFIGURED = "CNIConfigured"
    ASSIGNED = "Assigned"
    DATAPATH_READY = "DatapathReady"
    ADDRESS_LOST = "AddressLost"
    RETAINED = "Retained"
    PLACED = "Placed"


class Status(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Reasons of conditions; `reasons` has what each means and what to do about it."""

    # all is well
    READY = "Ready"
    REACHABLE = "Reachable"
    CURRENT = "Current"
    AVAILABLE = "Available"
    SUPPORTED = "Supported"
    OWNED = "Owned"
    UP_TO_DATE = "UpToDate"
    PORT_CREATED = "PortCreated"
    ATTACHED = "Attached"
    SIZED = "Sized"
    PREPARED = "Prepared"
    LINK_UP = "LinkUp"
    CONFIGURED = "Configured"
    ASSIGNED = "Assigned"
    APPLIED = "Applied"
    RETAINED = "Retained"
    IN_USE = "InUse"
    PLACED = "Placed"
    # in progress
    WAITING_FOR_PORT = "WaitingForPort"
    WAITING_FOR_AGENT = "WaitingForAgent"
    WAITING_FOR_ATTACH = "WaitingForAttach"
    WAITING_FOR_NIC = "WaitingForNIC"
    WAITING_FOR_NODES = "WaitingForNodes"
    WAITING_FOR_ADDRESS = "WaitingForAddress"
    WAITING_FOR_RELEASE = "WaitingForRelease"
    UPDATING = "Updating"
    DELETING = "Deleting"
    DELETING_PORT = "DeletingPort"
    # the cloud
    CLOUD_NOT_CONFIGURED = "CloudNotConfigured"
    CREDENTIALS_INVALID = "CredentialsInvalid"
    CREDENTIALS_EXPIRING = "CredentialsExpiring"
    CLOUD_UNREACHABLE = "CloudUnreachable"
    DENIED = "Denied"
    THROTTLED = "Throttled"
    QUOTA_EXCEEDED = "QuotaExceeded"
    SUBNET_EXHAUSTED = "SubnetExhausted"
    NOT_FOUND = "NotFound"
    AMBIGUOUS_NAME = "AmbiguousName"
    INVALID_SPEC = "InvalidSpec"
    CONFLICT = "Conflict"
    OUTCOME_UNKNOWN = "OutcomeUnknown"
    PORT_LOST = "PortLost"
    PORT_CHANGED = "PortChanged"
    ATTACHED_ELSEWHERE = "AttachedElsewhere"
    PORT_NOT_ACTIVE = "PortNotActive"
    REATTACHING = "Reattaching"
    PORT_DISABLED = "PortDisabled"
    MTU_CHANGED = "MTUChanged"
    ATTACH_UNKNOWN = "AttachUnknown"
    UNEXPECTED_RESPONSE = "UnexpectedResponse"
    NO_HOTPLUG_SLOT = "NoHotplugSlot"
    SERVER_NOT_FOUND = "ServerNotFound"
    ORPHANED_PORTS = "OrphanedPorts"
    TOO_MANY_ORPHANS = "TooManyOrphans"
    # the spec cannot be served
    DHCP_ENABLED = "DHCPEnabled"
    SLAAC_ENABLED = "SLAACEnabled"
    SUBNETS_DIFFER = "SubnetsOfDifferentNetworks"
    QOS_UNSUPPORTED = "QoSUnsupported"
    MODE_UNSUPPORTED = "ModeUnsupported"
    ELASTIC_UNSUPPORTED = "ElasticUnsupported"
    NODE_LIMIT = "NodeLimit"
    POOL_LIMIT = "PoolLimit"
    PAUSED = "Paused"
    SELECTION_CHANGED = "SelectionChanged"
    # an address that a pod asks for cannot be had
    ADDRESS_IN_USE = "AddressInUse"
    ADDRESS_TAKEN = "AddressTaken"
    ADDRESS_IS_PRIMARY = "AddressIsPrimary"
    ADDRESS_IS_RESERVED = "AddressIsReserved"
    ADDRESS_OUTSIDE_SUBNETS = "AddressOutsideSubnets"
    MOVE_UNSUPPORTED = "MoveUnsupported"
    # the node
    NIC_MISSING = "NICMissing"
    NO_CARRIER = "NoCarrier"
    GATEWAY_UNREACHABLE = "GatewayUnreachable"
    ARP_UNANSWERED = "ARPUnanswered"
    GUEST_NOT_PREPARED = "GuestNotPrepared"
    KERNEL_REFUSED = "KernelRefused"
    OTHER_CNI = "OtherCNI"
    INSTALL_FAILED = "InstallFailed"
    ADDRESS_NOT_ON_PORT = "AddressNotOnPort"
    AGENT_REPORT_INVALID = "AgentReportInvalid"


MESSAGE_LENGTH: Final = 1024  # of openeni's own conditions
MOST_CONDITIONS: Final = 16  # on one object: other controllers may add theirs


class Condition(Struct, frozen=True, rename="camel"):
    """One condition as the API stores it (metav1.Condition)."""

    type: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=316,
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
            description="Name of the condition, such as Ready.",
        ),
    ]
    status: Annotated[
        Status, Meta(description="True, False, or Unknown: it could not be observed yet.")
    ]
    reason: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1024,
            pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            description="Why, in one word. docs/conditions.md lists every reason and what to do.",
        ),
    ]
    message: Annotated[
        str,
        Meta(
            max_length=32768,
            description="What is wrong and what to do about it, in one line.",
        ),
    ] = ""
    observed_generation: Annotated[
        Generation, Meta(description="The metadata.generation that the condition describes.")
    ] = 0
    last_transition_time: Annotated[
        str,
        Meta(
            max_length=32,
            description="Time at which the status last changed, RFC 3339 in UTC.",
            extra_json_schema={"format": "date-time"},
        ),
    ] = ""


def condition(
    type_: Type, reason: Reason, message: str = "", *, status: bool | None, generation: int = 0
) -> Condition:
    """Build a condition without a time: `merge` gives it one. `status` None is Unknown."""
    word = Status.UNKNOWN if status is None else Status.TRUE if status else Status.FALSE
    return Condition(type_, word, reason, one_line(message), generation)


def one_line(text: str) -> str:
    """Return a message as one line without control characters, cut to MESSAGE_LENGTH."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(words)[:MESSAGE_LENGTH]


def merge(
    before: Iterable[Condition], wanted: Iterable[Condition], now: str
) -> tuple[Condition, ...]:
    """Give `wanted` their transition times: the old one where the status has not changed.

    `now` is RFC 3339 in UTC with whole seconds, as metav1.Time prints it.
    """
    old = {c.type: c for c in before}
    return tuple(_timed(c, old.get(c.type), now) for c in wanted)


def _timed(wanted: Condition, old: Condition | None, now: str) -> Condition:
    kept = old is not None and old.status == wanted.status and old.last_transition_time
    return Condition(
        wanted.type,
        wanted.status,
        wanted.reason,
        wanted.message,
        wanted.observed_generation,
        old.last_transition_time if old is not None and kept else now,
    )


def find(conditions: Iterable[Condition], type_: Type) -> Condition | None:
    """Return the condition of this type, or None."""
    return next((c for c in conditions if c.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: Type) -> bool:
    """Return whether the condition is there and True."""
    found = find(conditions, type_)
    return found is not None and found.status == Status.TRUE
