"""Choose the ENI of a node whose port is to get certain addresses. Pure."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from openeni_crds.conditions import Reason, Status, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.status.eni import MOST_PODS
from openeni_operator.cause import Cause
from openeni_operator.claims import LIMITS
from openeni_operator.eni.report import in_fuller_family
from openeni_operator.sizing.stalls import OWN_REASONS


def choose_eni(enis: tuple[ENI, ...], node: str, addresses: list[str]) -> tuple[Cause, ENI | None]:
    """Return what the addresses wait for, and the node's ENI that shall get them, if one can.

    That is the one with the fewest addresses.
    """
    text = ", ".join(addresses)
    able = (eni for eni in enis if can_get(eni, addresses))
    chosen = min(able, key=lambda eni: (eni.spec.address_count, eni.name), default=None)
    if chosen is not None:
        message = f"{text} is being added to ENI {chosen.name}"
        return Cause(Reason.WAITING_FOR_ADDRESS, message), chosen
    if _is_outside(enis, addresses):
        message = f"{text} is in no subnet of the ENIs of node {node}"
        return Cause(Reason.ADDRESS_OUTSIDE_SUBNETS, message), None
    full = f"no ENI of node {node} is ready and has room for {text}"
    return Cause(Reason.WAITING_FOR_ADDRESS, full), None


def may_serve(eni: ENI) -> bool:
    """Return True if pods may get the ENI's addresses, now or in a moment.

    Not of one whose link has failed for a reason of its own: another ENI has none of that.
    """
    link = find(eni.status.conditions, Type.LINK_READY)
    failed = link is not None and link.status == Status.FALSE and link.reason in OWN_REASONS
    return eni.offers_addresses and not failed


def can_get(eni: ENI, addresses: list[str]) -> bool:
    """Return True if the ENI serves pods, has room, and is in the subnets of the addresses."""
    return _is_usable(eni) and _has_place(eni, addresses)


def may_keep(eni: ENI, addresses: list[str]) -> bool:
    """Return True if the addresses are safe there, though the ENI serves no pods without a link."""
    return eni.offers_addresses and not may_serve(eni) and _has_place(eni, addresses)


def _has_place(eni: ENI, addresses: list[str]) -> bool:
    port = eni.status.port
    room = port is not None and in_fuller_family(port.addresses) < MOST_PODS
    return room and _covers(eni, addresses)


def awaited_room(eni: ENI, pool: ENIPool | None, addresses: str) -> Cause:
    """Return what addresses for the ENI wait for: its port, or before that room within a limit."""
    port = eni.status.port
    full = port is not None and in_fuller_family(port.addresses) >= eni.spec.address_count
    capacity = find(pool.status.conditions, Type.CAPACITY_AVAILABLE) if pool else None
    if full and capacity is not None and capacity.reason in LIMITS:
        message = f"{addresses} finds no room on ENI {eni.name}: {capacity.message}"
        return Cause(Reason(capacity.reason), message)
    return Cause(Reason.WAITING_FOR_ADDRESS, f"{addresses} is being added to ENI {eni.name}")


def _is_outside(enis: Iterable[ENI], addresses: list[str]) -> bool:
    """Return True if the node has ENIs, and none in the subnets of the addresses."""
    usable = [eni for eni in enis if _is_usable(eni)]
    return bool(usable) and not any(_covers(eni, addresses) for eni in usable)


def _is_usable(eni: ENI) -> bool:
    return is_true(eni.status.conditions, Type.READY) and may_serve(eni)


def _covers(eni: ENI, addresses: list[str]) -> bool:
    """Return True if each address is in a subnet of the ENI's port."""
    subnets = [ip_network(s.cidr) for s in eni.status.port.subnets] if eni.status.port else []
    return all(any(ip_address(a) in subnet for subnet in subnets) for a in addresses)
