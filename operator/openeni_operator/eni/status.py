"""Derive the operator's part of ENI.status from an observation."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from openeni_crds.conditions import Condition, Reason, Status, Type, condition, find, is_true, merge
from openeni_crds.eni import ENI, MOST_ADDRESSES, ENIStatus, PortStatus, PortSubnet
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import ACTIVE, Place, Port
from openeni_operator.eni.report import AgentReport, agent_report

OWNED: Final = (Type.PORT_READY, Type.ATTACHED, Type.READY)


@dataclass(frozen=True)
class NetworkFacts:
    """The facts of a port's network, and of where it is, that ENI.status repeats."""

    mtu: int
    subnets: tuple[PortSubnet, ...]
    place: Place


def port_status(
    port: Port, recorded: PortStatus | None, network: NetworkFacts
) -> PortStatus | Cause:
    """Describe the port, or return the cause if it lacks its primary address.

    The primary addresses are chosen once and kept. Neutron sorts fixed IPs as text, so their
    position has no meaning, and an address that a pod has must never become the primary one.
    """
    same_port = recorded is not None and recorded.id == port.id
    primary = recorded.primary if recorded is not None and same_port else _lowest(port, network)
    own = {subnet.id for subnet in network.subnets}  # anybody may add fixed IPs of other subnets
    present = {f.address for f in port.fixed_ips if f.subnet_id in own}
    if len(primary) != len(network.subnets) or not present >= set(primary):
        return Cause(
            Reason.CONFLICT,
            f"port {port.id} lacks the primary address of the ENI because its fixed IPs were "
            "changed; restore them, or delete this ENI",
        )
    addresses = tuple(sorted(present - set(primary), key=_numeric))
    if len(addresses) > MOST_ADDRESSES:
        return Cause(
            Reason.CONFLICT,
            f"port {port.id} has {len(addresses)} fixed IPs for pods because some were added; an "
            f"ENI can use {MOST_ADDRESSES}: remove the others, or delete this ENI",
        )
    return PortStatus(
        id=port.id,
        name=port.name,
        mac_address=port.mac_address,
        revision=port.revision,
        mtu=network.mtu,
        subnets=network.subnets,
        primary=primary,
        addresses=addresses,
        project_id=network.place.project_id,
        region=network.place.region,
    )


@dataclass(frozen=True)
class ObservedPort:
    """A port as Neutron shows it (None: it shows none), and as the status describes it."""

    neutron: Port | None
    described: PortStatus | None


def desired_status(
    eni: ENI, observed: ObservedPort | None, cause: Cause | None, now: str
) -> ENIStatus:
    """Return the operator's part of the status; equal to the current one if nothing changed.

    `cause` is what blocks the next step. With `observed` None, since the cloud does not respond,
    the last known conditions are kept: pods go on getting the addresses that are there.
    """
    generation = eni.metadata.generation
    if observed is None:
        port = eni.status.port
        exists, attached = (
            is_true(eni.status.conditions, t) for t in (Type.PORT_READY, Type.ATTACHED)
        )
    else:
        port = observed.described
        exists = port is not None and observed.neutron is not None
        attached = _is_attached(eni, observed.neutron)
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
        else (Reason.WAITING_FOR_PORT, "the port does not exist yet"),
        status=attached and exists,
        generation=generation,
    )
    ready = _ready(eni, (port_ready, attached_condition), cause, agent_report(eni, now))
    conditions = merge(eni.status.conditions, (port_ready, attached_condition, ready), now)
    return ENIStatus(conditions=_sorted(conditions), port=port)


def current_status(eni: ENI) -> ENIStatus:
    """Return the operator's part of the ENI's present status."""
    own = [c for c in eni.status.conditions if c.type in OWNED]
    return ENIStatus(conditions=_sorted(own), port=eni.status.port)


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


def retired_addresses(eni: ENI) -> set[str]:
    """Return the addresses that the agent has retired at the ENI's present generation."""
    node = eni.status.node
    return {
        r.address for r in (node.retired if node else ()) if r.generation >= eni.metadata.generation
    }


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
    agents = (find(eni.status.conditions, t) for t in (Type.GUEST_PREPARED, Type.LINK_READY))
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
    return port is not None and port.device_id == eni.spec.server_id and port.status == ACTIVE


def _lowest(port: Port, network: NetworkFacts) -> tuple[str, ...]:
    """Return the lowest address in each subnet: stable if a crash loses the first choice."""
    chosen: list[str] = []
    for subnet in network.subnets:
        own = [f.address for f in port.fixed_ips if f.subnet_id == subnet.id]
        chosen.extend(sorted(own, key=_numeric)[:1])
    return tuple(chosen)


def _numeric(address: str) -> tuple[int, int]:
    parsed = ip_address(address)
    return parsed.version, int(parsed)


_CREATING: Final = Cause(Reason.WAITING_FOR_PORT, "the port is being created")
_ATTACHING: Final = Cause(Reason.WAITING_FOR_ATTACH, "the port is being attached")


def _sorted(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(sorted(conditions, key=lambda c: c.type))
