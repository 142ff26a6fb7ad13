"""Derive the operator's part of ENI.status from an observation."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from openeni_crds.conditions import Condition, Reason, Status, Type, condition, find, is_true, merge
from openeni_crds.eni import BROKEN, ENI
from openeni_crds.status.eni import ENIStatus, PortStatus
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import ACTIVE, Port
from openeni_operator.eni.port_settings import applied_settings, settings_of
from openeni_operator.eni.port_status import mark_releasing
from openeni_operator.eni.report import AgentReport, agent_report, report_is_about
from openeni_operator.eni.resize import NO_RESIZE, Resize, retired_addresses

# The port stays attached and not ACTIVE: it is attached anew once its agent has given it up.
INACTIVE: Final = frozenset({Reason.PORT_NOT_ACTIVE, Reason.REATTACHING})
OWNED: Final = (Type.PORT_READY, Type.ATTACHED, Type.SIZED, Type.UP_TO_DATE, Type.READY)


@dataclass(frozen=True)
class ObservedPort:
    """A port as Neutron shows it (None: it shows none), and as the status describes it.

    It is settled if it shows every setting that was requested: a read may be late.
    """

    neutron: Port | None
    described: PortStatus | None
    fault: Cause | None = None  # it cannot serve pods
    settled: bool = True
    elastic: bool = False  # its addresses may be changed
    resize: Resize = NO_RESIZE
    resize_failure: Cause | None = None  # why they are not: perhaps a step before fails
    inactive: Cause | None = None  # why it is attached and not ACTIVE, whatever step is next
    mtu_changed: Cause | None = None  # the network has another MTU than the port


def desired_status(
    eni: ENI, observed: ObservedPort | None, cause: Cause | None, now: str
) -> ENIStatus:
    """Return the operator's part of the status; equal to the current one if nothing changed.

    `cause` is what blocks the next step. With `observed` None, since the cloud does not respond,
    the last known conditions are kept: pods go on getting the addresses that are there.
    """
    generation = eni.metadata.generation
    applied = eni.status.applied
    if observed is None:
        port = eni.status.port
        exists, attached = (
            is_true(eni.status.conditions, t) for t in (Type.PORT_READY, Type.ATTACHED)
        )
    else:
        port = _with_record(eni, observed.described)
        cause = observed.fault or observed.inactive or cause
        exists = port is not None and observed.neutron is not None and observed.fault is None
        attached = _is_attached(eni, observed.neutron)
        applied = applied_settings(eni, observed.neutron if observed.settled else None)
    port_ready = condition(
        Type.PORT_READY,
        *_reason_and_message(exists, Reason.PORT_CREATED, cause or _CREATING),
        status=exists,
        generation=generation,
    )
    attached_condition = condition(
        Type.ATTACHED,
        *_reason_and_message(attached, Reason.ATTACHED, cause or _ATTACHING)
        if exists
        else (Reason.WAITING_FOR_PORT, "see the condition PortReady"),
        status=attached and exists,
        generation=generation,
    )
    if observed is None or is_port_deleted(eni):
        port_ready, attached_condition = (_kept(eni, c) for c in (port_ready, attached_condition))
    ready = _ready(eni, (port_ready, attached_condition), cause, agent_report(eni, now))
    others = (*_up_to_date(eni, observed, cause), *_sized(eni, observed))
    desired = (port_ready, attached_condition, *others, ready)
    conditions = merge(eni.status.conditions, desired, now)
    return ENIStatus(conditions=_sorted(conditions), port=port, applied=applied)


def _with_record(eni: ENI, port: PortStatus | None) -> PortStatus | None:
    """Return the port with what the ENI's status says that is leaving it.

    It may have been recorded after the port was observed, and is not taken back by another write.
    """
    recorded = eni.status.port
    if port is None or recorded is None or recorded.id != port.id:
        return port
    there = {*port.addresses, *port.releasing}
    return mark_releasing(port, {*port.releasing, *(there & set(recorded.releasing))})


def _kept(eni: ENI, built: Condition) -> Condition:
    """Return the known condition if it says why there is no port: nothing that was seen does."""
    known = find(eni.status.conditions, Type(built.type))
    kept = BROKEN | {Reason.DELETING_PORT}
    return known if known is not None and known.reason in kept else built


def _up_to_date(
    eni: ENI, observed: ObservedPort | None, cause: Cause | None
) -> tuple[Condition, ...]:
    """Return the condition: the last known one if the cloud does not respond, none without a port.

    It says nothing about whether pods can be served: that is Ready's.
    """
    if observed is None:
        known = find(eni.status.conditions, Type.UP_TO_DATE)
        return (known,) if known else ()
    if observed.neutron is None:
        return ()
    why, reason, message = observed.mtu_changed, Reason.UP_TO_DATE, ""
    if different := settings_of(eni).differences(observed.neutron):
        changes = f"to be changed on port {observed.neutron.id}: {', '.join(different)}"
        why = Cause(cause.reason, f"{changes}: {cause.message}") if cause else None
        why = why or Cause(Reason.UPDATING, changes)
    if why is not None:
        reason, message = why.reason, why.message
    generation = eni.metadata.generation
    same = why is None
    return (condition(Type.UP_TO_DATE, reason, message, status=same, generation=generation),)


def _sized(eni: ENI, observed: ObservedPort | None) -> tuple[Condition, ...]:
    """Return the condition of an ENI whose addresses may be changed.

    It says nothing about whether pods can be served with those that are there: that is Ready's.
    """
    if observed is None:
        known = find(eni.status.conditions, Type.SIZED)
        return (known,) if known else ()
    release = observed.resize.release
    added = len(observed.resize.add) + (observed.resize.claimed is not None)
    if observed.neutron is None or not (observed.elastic or release):
        return ()
    same = not (release or added)
    changes = " and ".join(
        text
        for count, text in (
            (len(release), f"{len(release)} to be removed from"),
            (added, f"{added} to be added to"),
        )
        if count
    )
    message = f"addresses: {changes} port {observed.neutron.id}"
    failure = observed.resize_failure
    why = Cause(failure.reason, f"{message}: {failure.message}") if failure else None
    return (
        condition(
            Type.SIZED,
            *_reason_and_message(same, Reason.SIZED, why or Cause(Reason.UPDATING, message)),
            status=same,
            generation=eni.metadata.generation,
        ),
    )


def current_status(eni: ENI) -> ENIStatus:
    """Return the operator's part of the ENI's present status."""
    own = [c for c in eni.status.conditions if c.type in OWNED]
    status = eni.status
    return ENIStatus(conditions=_sorted(own), port=status.port, applied=status.applied)


def in_use(eni: ENI, port: Port | None) -> bool:
    """Return True if the agent may still use the NIC, or may still grant one of its addresses.

    An address counts as retired only at the ENI's present generation: an older report may be from
    before the operator asked for the address.
    """
    node, recorded = eni.status.node, eni.status.port
    if recorded is None or (node is None and (port is None or not port.device_id)):
        return False  # no agent was ever given an address or a NIC
    if is_true(eni.status.conditions, Type.LINK_READY):
        return True
    return not retired_addresses(eni) >= set(recorded.addresses)


def is_given_up(eni: ENI) -> bool:
    """Return True if no pod has an address of the port, and its agent grants none any more."""
    node, port = eni.status.node, eni.status.port
    if node is None or port is None or node.granted:
        return False
    return eni.is_retired_whole and retired_addresses(eni) >= set(port.addresses)


def is_unattached(eni: ENI) -> bool:
    """Return True if the ENI has a port that is not attached, though its server has a slot."""
    exists = is_true(eni.status.conditions, Type.PORT_READY)
    return exists and not is_true(eni.status.conditions, Type.ATTACHED) and not lacks_slot(eni)


def lacks_slot(eni: ENI) -> bool:
    """Return True if the ENI's server has no slot for its NIC."""
    attached = find(eni.status.conditions, Type.ATTACHED)
    return attached is not None and attached.reason == Reason.NO_HOTPLUG_SLOT


def is_port_deleted(eni: ENI) -> bool:
    """Return True if the operator has asked Neutron to delete the port."""
    found = find(eni.status.conditions, Type.PORT_READY)
    return eni.metadata.deleting and found is not None and found.reason == Reason.DELETING_PORT


def _ready(
    eni: ENI, own: tuple[Condition, ...], cause: Cause | None, report: AgentReport
) -> Condition:
    """Derive Ready from the first condition that is not True."""
    generation = eni.metadata.generation

    def not_ready(reason: str, message: str) -> Condition:
        return Condition(Type.READY, Status.FALSE, reason, message, generation)

    if eni.metadata.deleting:
        why = cause or Cause(Reason.DELETING, "the ENI is being deleted")
        return not_ready(why.reason, why.message)
    about = eni.status.port is not None and report_is_about(eni, eni.status.port.mac_address)
    agents = (
        find(eni.status.conditions, type_) if about else None
        for type_ in (Type.GUEST_PREPARED, Type.LINK_READY)
    )
    for part in (*own, *agents):
        if part is None:
            message = f"waiting for the agent of node {eni.spec.node_name}"
            return not_ready(Reason.WAITING_FOR_AGENT, message)
        if part.status != Status.TRUE:
            return not_ready(part.reason, part.message)
    if report.error:
        return not_ready(
            Reason.AGENT_REPORT_INVALID,
            f"{report.error}; see the log of the agent of node {eni.spec.node_name}",
        )
    return condition(Type.READY, Reason.READY, status=True, generation=generation)


def _reason_and_message(ok: bool, reason: Reason, cause: Cause) -> tuple[Reason, str]:
    return (reason, "") if ok else (cause.reason, cause.message)


def _is_attached(eni: ENI, port: Port | None) -> bool:
    if port is None or not port.enabled:
        return False
    return port.device_id == eni.spec.server_id and port.status == ACTIVE


_CREATING: Final = Cause(Reason.WAITING_FOR_PORT, "the port is being created")
_ATTACHING: Final = Cause(Reason.WAITING_FOR_ATTACH, "the port is being attached")


def _sorted(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(sorted(conditions, key=lambda c: c.type))
