"""What the operator says of an ENI: its part of the status, derived anew from the facts."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from openeni_crds.conditions import Condition, Reason, Status, Type, condition, find, is_true, merge
from openeni_crds.eni import ENI, ENIStatus, PortStatus, PortSubnet
from openeni_operator.cloud.api import ACTIVE, Port
from openeni_operator.eni.report import Report, report_of

OWNED: Final = (Type.PORT_READY, Type.ATTACHED, Type.READY)


@dataclass(frozen=True)
class Trouble:
    """Why a step is not done, or what it waits for."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Segment:
    """What a port's network says about it, beside the port itself."""

    mtu: int
    subnets: tuple[PortSubnet, ...]


def port_status(port: Port, before: PortStatus | None, segment: Segment) -> PortStatus | Trouble:
    """Describe the port; Trouble where Neutron's answer does not fit what was asked for.

    The primary addresses are chosen once and kept: Neutron sorts fixed IPs as text, so that no
    position means anything, and one that became a pod's must never be the node's.
    """
    same = before is not None and before.id == port.id
    primary = before.primary if before is not None and same else _lowest(port, segment)
    here = {f.address for f in port.fixed_ips}
    if len(primary) != len(segment.subnets) or not here >= set(primary):
        return Trouble(
            Reason.CONFLICT,
            f"port {port.id} lacks the primary address of the ENI: somebody changed its fixed "
            "IPs; put it back, or delete this ENI",
        )
    return PortStatus(
        id=port.id,
        name=port.name,
        mac_address=port.mac_address,
        revision=port.revision,
        mtu=segment.mtu,
        subnets=segment.subnets,
        primary=primary,
        addresses=tuple(sorted(here - set(primary), key=_numeric)),
    )


@dataclass(frozen=True)
class Seen:
    """What was just seen of the port: `live` as Neutron showed it, `port` as to be described."""

    live: Port | None
    port: PortStatus | None


def wanted_status(eni: ENI, seen: Seen | None, trouble: Trouble | None, now: str) -> ENIStatus:
    """Return the operator's part of the status; equal to the present one if nothing changed.

    `trouble` is what stands in the way of the next step. With nothing `seen`, since the cloud does
    not answer, what was true is still said: pods go on getting the addresses that are there.
    """
    generation = eni.metadata.generation
    if seen is None:
        port = eni.status.port
        there, attached = (
            is_true(eni.status.conditions, t) for t in (Type.PORT_READY, Type.ATTACHED)
        )
    else:
        port, there = seen.port, seen.port is not None and seen.live is not None
        attached = _attached(eni, seen.live)
    in_place = condition(
        Type.PORT_READY,
        *_judge(there, Reason.PORT_CREATED, trouble or _CREATING),
        status=there,
        generation=generation,
    )
    plugged = condition(
        Type.ATTACHED,
        *_judge(attached, Reason.ATTACHED, trouble or _ATTACHING)
        if there
        else (Reason.WAITING_FOR_PORT, "there is no port yet"),
        status=attached and there,
        generation=generation,
    )
    ready = _ready(eni, (in_place, plugged), trouble, report_of(eni, now))
    conditions = merge(eni.status.conditions, (in_place, plugged, ready), now)
    return ENIStatus(conditions=_sorted(conditions), port=port)


def present_status(eni: ENI) -> ENIStatus:
    """Return what stands there now of the operator's part."""
    own = [c for c in eni.status.conditions if c.type in OWNED]
    return ENIStatus(conditions=_sorted(own), port=eni.status.port)


def in_use(eni: ENI, port: Port | None) -> bool:
    """Whether the agent may still use the NIC, or may still grant one of its addresses.

    It gives up addresses at a generation; an older word could be from before they were asked for.
    """
    node, recorded = eni.status.node, eni.status.port
    if recorded is None or (node is None and (port is None or not port.device_id)):
        return False  # no agent was ever told of an address, or saw the NIC
    if is_true(eni.status.conditions, Type.LINK_READY):
        return True
    return not retired(eni) >= set(recorded.addresses)


def retired(eni: ENI) -> set[str]:
    """Addresses that the agent has given up for good at the ENI's present generation."""
    node = eni.status.node
    return {
        r.address for r in (node.retired if node else ()) if r.generation >= eni.metadata.generation
    }


def _ready(
    eni: ENI, own: tuple[Condition, ...], trouble: Trouble | None, report: Report
) -> Condition:
    """Return Ready: False for the first of its preconditions that does not hold."""
    generation = eni.metadata.generation

    def no(reason: str, message: str) -> Condition:
        return Condition(Type.READY, Status.FALSE, reason, message, generation)

    if eni.metadata.deleting:
        why = trouble or Trouble(Reason.DELETING, "the ENI is being deleted")
        return no(why.reason, why.message)
    agents = (find(eni.status.conditions, t) for t in (Type.GUEST_PREPARED, Type.LINK_READY))
    for part in (*own, *agents):
        if part is None:
            message = f"waiting for the agent of node {eni.spec.node_name}"
            return no(Reason.WAITING_FOR_AGENT, message)
        if part.status != Status.TRUE:
            return no(part.reason, part.message)
    if report.problem:
        return no(
            Reason.AGENT_REPORT_INVALID,
            f"{report.problem}; see the log of the agent of node {eni.spec.node_name}",
        )
    return condition(Type.READY, Reason.READY, status=True, generation=generation)


def _judge(good: bool, word: Reason, trouble: Trouble) -> tuple[Reason, str]:
    return (word, "") if good else (trouble.reason, trouble.message)


def _attached(eni: ENI, live: Port | None) -> bool:
    return live is not None and live.device_id == eni.spec.server_id and live.status == ACTIVE


def _lowest(port: Port, segment: Segment) -> tuple[str, ...]:
    """The lowest address of each subnet: the same choice after a crash before it was stored."""
    chosen: list[str] = []
    for subnet in segment.subnets:
        own = [f.address for f in port.fixed_ips if f.subnet_id == subnet.id]
        chosen.extend(sorted(own, key=_numeric)[:1])
    return tuple(chosen)


def _numeric(address: str) -> tuple[int, int]:
    parsed = ip_address(address)
    return parsed.version, int(parsed)


_CREATING: Final = Trouble(Reason.WAITING_FOR_PORT, "the port is being created")
_ATTACHING: Final = Trouble(Reason.WAITING_FOR_ATTACH, "the port is being attached")


def _sorted(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(sorted(conditions, key=lambda c: c.type))
