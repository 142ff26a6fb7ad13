"""Decide which changes of an object's conditions are Kubernetes Events. Pure.

An event tells an administrator that something is wrong, or that it is no longer. A reason of
progress, such as WaitingForPort, is no event, but in CapacityAvailable, which is False for it only
once it has lasted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from openeni_crds.conditions import Condition, Reason, Status, Type
from openeni_crds.meta import ObjectMeta
from openeni_crds.names import Kind
from openeni_kube.event_series import EventType
from openeni_kube.events import Recorder

_NORMAL, _WARNING = EventType.NORMAL, EventType.WARNING
# The type of the event for each reason; None: no event.
EVENT_TYPES: Final[Mapping[str, EventType | None]] = {
    Reason.READY: _NORMAL,
    Reason.REACHABLE: _NORMAL,
    Reason.CURRENT: _NORMAL,
    Reason.AVAILABLE: _NORMAL,
    Reason.SUPPORTED: _NORMAL,
    Reason.UP_TO_DATE: _NORMAL,
    Reason.OWNED: _NORMAL,
    Reason.PORT_CREATED: _NORMAL,
    Reason.ATTACHED: _NORMAL,
    Reason.SIZED: _NORMAL,
    Reason.ASSIGNED: _NORMAL,
    # the agent's own, on its own conditions
    Reason.PREPARED: None,
    Reason.LINK_UP: None,
    Reason.CONFIGURED: None,
    Reason.APPLIED: None,
    Reason.RETAINED: None,
    Reason.IN_USE: None,
    Reason.PLACED: _NORMAL,
    # on the way
    Reason.WAITING_FOR_PORT: None,
    Reason.WAITING_FOR_AGENT: None,
    Reason.WAITING_FOR_ATTACH: None,
    Reason.WAITING_FOR_NIC: None,
    Reason.WAITING_FOR_NODES: None,
    Reason.WAITING_FOR_ADDRESS: None,
    Reason.WAITING_FOR_RELEASE: None,
    Reason.UPDATING: None,
    Reason.DELETING: None,
    Reason.DELETING_PORT: None,
    Reason.OUTCOME_UNKNOWN: None,
    Reason.ATTACH_UNKNOWN: None,
    Reason.THROTTLED: None,
    # the cloud
    Reason.CLOUD_NOT_CONFIGURED: _WARNING,
    Reason.CREDENTIALS_INVALID: _WARNING,
    Reason.CREDENTIALS_EXPIRING: _WARNING,
    Reason.CLOUD_UNREACHABLE: _WARNING,
    Reason.DENIED: _WARNING,
    Reason.QUOTA_EXCEEDED: _WARNING,
    Reason.SUBNET_EXHAUSTED: _WARNING,
    Reason.NOT_FOUND: _WARNING,
    Reason.AMBIGUOUS_NAME: _WARNING,
    Reason.INVALID_SPEC: _WARNING,
    Reason.CONFLICT: _WARNING,
    Reason.PORT_CHANGED: _WARNING,
    Reason.ATTACHED_ELSEWHERE: _WARNING,
    Reason.PORT_LOST: _WARNING,
    Reason.PORT_NOT_ACTIVE: _WARNING,
    Reason.REATTACHING: _WARNING,
    Reason.PORT_DISABLED: _WARNING,
    Reason.MTU_CHANGED: _WARNING,
    Reason.UNEXPECTED_RESPONSE: _WARNING,
    Reason.NO_HOTPLUG_SLOT: _WARNING,
    Reason.SERVER_NOT_FOUND: _WARNING,
    Reason.ORPHANED_PORTS: _WARNING,
    Reason.TOO_MANY_ORPHANS: _WARNING,
    # what the pool asks for cannot be had
    Reason.DHCP_ENABLED: _WARNING,
    Reason.SLAAC_ENABLED: _WARNING,
    Reason.SUBNETS_DIFFER: _WARNING,
    Reason.QOS_UNSUPPORTED: _WARNING,
    Reason.MODE_UNSUPPORTED: _WARNING,
    Reason.ELASTIC_UNSUPPORTED: _WARNING,
    Reason.NODE_LIMIT: _WARNING,
    Reason.POOL_LIMIT: _WARNING,
    Reason.PAUSED: _NORMAL,
    Reason.SELECTION_CHANGED: _WARNING,
    Reason.ADDRESS_IN_USE: _WARNING,
    Reason.ADDRESS_TAKEN: _WARNING,
    Reason.ADDRESS_IS_PRIMARY: _WARNING,
    Reason.ADDRESS_IS_RESERVED: _WARNING,
    Reason.ADDRESS_OUTSIDE_SUBNETS: _WARNING,
    Reason.MOVE_UNSUPPORTED: _WARNING,
    # the node
    Reason.NIC_MISSING: _WARNING,
    Reason.NO_CARRIER: _WARNING,
    Reason.GATEWAY_UNREACHABLE: _WARNING,
    Reason.ARP_UNANSWERED: _WARNING,
    Reason.GUEST_NOT_PREPARED: _WARNING,
    Reason.KERNEL_REFUSED: _WARNING,
    Reason.OTHER_CNI: _WARNING,
    Reason.INSTALL_FAILED: _WARNING,
    Reason.ADDRESS_NOT_ON_PORT: _WARNING,
    Reason.AGENT_REPORT_INVALID: _WARNING,
}
# What the operator was doing, for the Event's action.
ACTIONS: Final[Mapping[str, str]] = {
    Type.CLOUD_REACHABLE: "Connect",
    Type.CREDENTIALS_CURRENT: "Connect",
    Type.SUPPORTED: "Validate",
    Type.CAPACITY_AVAILABLE: "Provision",
    Type.PORT_READY: "CreatePort",
    Type.ATTACHED: "AttachPort",
    Type.SIZED: "ResizePort",
    Type.UP_TO_DATE: "UpdatePort",
    Type.PORTS_OWNED: "SweepPorts",
    Type.ADDRESS_LOST: "CheckPort",
    Type.PLACED: "MoveAddress",
}
OTHER_ACTION: Final = "Reconcile"
# Notes for conditions without a message: all is well then.
_GOOD_NOTES: Final[Mapping[str, str]] = {
    Type.READY: "the {kind} is ready",
    Type.CLOUD_REACHABLE: "the cloud responds and accepts the credentials again",
    Type.CREDENTIALS_CURRENT: "the cloud's credentials do not expire within 30 days",
    Type.SUPPORTED: "the cloud and the nodes' kernels support what the pool asks for",
    Type.CAPACITY_AVAILABLE: "nothing keeps the pool from its addresses any more",
    Type.PORT_READY: "the port exists, with all its addresses",
    Type.ATTACHED: "the port is attached to the node's server",
    Type.SIZED: "the port has as many addresses as it should",
    Type.UP_TO_DATE: "what the {kind} asks for is in force",
    Type.PORTS_OWNED: "every port of this cluster in the cloud has its ENI again",
    Type.ADDRESS_LOST: "the address is on the ENI's port again",
    Type.PLACED: "the addresses that the pod asks for are on its node",
}


@dataclass(frozen=True)
class Transition:
    """An event that a change of a condition is."""

    type: EventType
    reason: str
    note: str
    action: str


def events_for(
    kind: Kind, before: Iterable[Condition], after: Iterable[Condition]
) -> tuple[Transition, ...]:
    """Return the events of a change of an object's conditions.

    Ready repeats the reason and message of the condition that it follows: that is one event. A
    changed message alone is none, since messages name nodes and ENIs that come and go.
    """
    old = {condition.type: condition for condition in before}
    found: dict[tuple[str, str], Transition] = {}
    for condition in after:
        type_ = _event_type(old.get(condition.type), condition)
        if type_ is not None:
            note = condition.message or _good_note(kind, condition)
            action = ACTIONS.get(condition.type, OTHER_ACTION)
            event = Transition(type_, condition.reason, note, action)
            known = found.get((event.reason, event.note))
            if known is None or known.action == OTHER_ACTION:
                found[event.reason, event.note] = event
    return tuple(found.values())


def record_transitions(
    recorder: Recorder,
    kind: Kind,
    metadata: ObjectMeta,
    before: Iterable[Condition],
    after: Iterable[Condition],
) -> None:
    """Record the events of a status that was written in the place of another."""
    for event in events_for(kind, before, after):
        recorder.record(
            kind, metadata, event.type, event.reason, note=event.note, action=event.action
        )


def _event_type(old: Condition | None, new: Condition) -> EventType | None:
    """Return the type of the change's event; None if it is none."""
    if new.status == Status.UNKNOWN:
        return None
    if old is not None and (old.status, old.reason) == (new.status, new.reason):
        return None
    type_ = _type_for(new)
    # A condition that is good from its beginning is no news, but for the object's first Ready.
    relieved = (
        old is not None
        and old.status not in {Status.UNKNOWN, new.status}
        and (_type_for(old) is not None or new.type == Type.READY)
    )
    if type_ is EventType.NORMAL and not (relieved or (old is None and new.type == Type.READY)):
        return None
    return type_


def _type_for(condition: Condition) -> EventType | None:
    """Return the type of the event that the condition is, if it is new."""
    found = EVENT_TYPES.get(condition.reason)  # an agent's reason may be none of ours
    lasts = condition.type == Type.CAPACITY_AVAILABLE and condition.status == Status.FALSE
    return EventType.WARNING if found is None and lasts else found


def _good_note(kind: Kind, condition: Condition) -> str:
    note = _GOOD_NOTES.get(condition.type, f"{condition.type} is {condition.status}")
    return note.format(kind=kind.name)
