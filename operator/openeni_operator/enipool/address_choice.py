"""Choose the addresses that the operator asks back from an ENI which shall have fewer. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from openeni_crds.eni import ENI
from openeni_crds.status.eni import PortStatus
from openeni_operator.eni.report import in_fuller_family
from openeni_operator.eni.resize import addresses_in


@dataclass(frozen=True)
class AddressRequest:
    """The fields of ENI.spec that say how many addresses the ENI shall have, and which not."""

    count: int
    retiring: tuple[str, ...] = ()


def request_addresses(
    eni: ENI, keep: int, granted: Collection[str], leaving: Collection[str] = ()
) -> AddressRequest:
    """Return the request for all but `keep` of the ENI's addresses, and for those `leaving` it.

    It has none that pods have: `granted`, by their PodIPs, and what the agent has refused. If there
    are too few others, the ENI keeps more. What other nodes claim goes first; what is asked for
    already stays so, and of the others the highest go first; after a refusal those below it, so
    that each has its turn.
    """
    port = eni.status.port
    if port is None:
        return AddressRequest(keep)
    refused = refused_addresses(eni)
    held = set(granted) | refused
    going = set(leaving) - held
    free = {
        subnet.id: _in_order(
            (a for a in addresses_in(subnet, port.addresses) if a not in held),
            going,
            set(eni.spec.retiring),
            addresses_in(subnet, refused),
        )
        for subnet in port.subnets
    }
    sizes = _sizes(port)
    # An ENI has one address at least: the last one leaves once there is another.
    leaves = [min(sizes[s.id] - 1, len(addresses_in(s, going))) for s in port.subnets]
    if any(leaves):
        keep = min(keep, *(sizes[s.id] - n for s, n in zip(port.subnets, leaves, strict=True)))
    keep = max(keep, *(size - len(free[subnet]) for subnet, size in sizes.items()))
    chosen = (a for subnet, size in sizes.items() for a in free[subnet][: max(0, size - keep)])
    return AddressRequest(keep, tuple(sorted(chosen)))


def is_misasked(eni: ENI, leaving: Collection[str] = ()) -> bool:
    """Return True if the request for single addresses is not for just the ENI's surplus.

    It has some that a pod has or that the port has no more, lacks some that are `leaving` the ENI,
    but for one if all of them are, or is for too many or too few.
    """
    port, asked = eni.status.port, set(eni.spec.retiring)
    if port is None or eni.is_retired_whole:
        return False
    surplus = {subnet: max(0, n - eni.spec.address_count) for subnet, n in _sizes(port).items()}
    wanted = {s.id: len(asked & set(addresses_in(s, port.addresses))) for s in port.subnets}
    there = set(port.addresses) - refused_addresses(eni)
    unasked = in_fuller_family(set(leaving) - asked)
    all_leave = set(port.addresses) <= set(leaving)
    return surplus != wanted or not asked <= there or unasked > all_leave


def refused_addresses(eni: ENI) -> set[str]:
    """Return what the agent has refused at the ENI's present generation: pods have them."""
    node = eni.status.node
    return {
        r.address for r in (node.refused if node else ()) if r.generation >= eni.metadata.generation
    }


def _in_order(
    free: Iterable[str], going: set[str], asked: set[str], refused: list[str]
) -> list[str]:
    """Return the addresses in the order in which they are asked for."""
    lowest = min((int(ip_address(a)) for a in refused), default=None)

    def place(address: str) -> tuple[bool, bool, bool, int]:
        number = int(ip_address(address))
        below = lowest is not None and number < lowest
        return address in going, address in asked, below, number

    return sorted(free, key=place, reverse=True)


def _sizes(port: PortStatus) -> dict[str, int]:
    return {s.id: len(addresses_in(s, port.addresses)) for s in port.subnets}
