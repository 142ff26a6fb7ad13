"""What a node's agent reports on an ENI, for agents that are simulated.

Stateless, so that an address is retired as long as the operator asks for it and no pod has it.
"""

from collections.abc import Collection
from contextlib import suppress

from openeni_crds.conditions import Condition, Reason, Type, condition, merge
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, encode, parse_time
from openeni_crds.names import API_VERSION
from openeni_crds.status.eni import NodeStatus, RetireAnswer

CONFIGURED = condition(Type.CNI_CONFIGURED, Reason.CONFIGURED, status=True)


def requested_addresses(eni: ENI) -> set[str]:
    """Return the addresses that the operator wants back: of an ENI that is deleted, all."""
    port = eni.status.port
    return set(port.addresses) if port and eni.metadata.deleting else set(eni.spec.retiring)


def of_pods(eni: ENI, but: Collection[str] = ()) -> list[tuple[str, ...]]:
    """Return the addresses of the ENI's port `but` some, one of each family for each pod."""
    port = eni.status.port
    free = [address for address in port.addresses if address not in but] if port else []
    families = [":" in subnet.cidr for subnet in port.subnets] if port else []
    return list(zip(*([a for a in free if (":" in a) == six] for six in families), strict=False))


def pods_with(eni: ENI, addresses: Collection[str], *, scarcer: bool = True) -> int:
    """Return how many pods can have these addresses, or have some: one of each family is one."""
    subnets = eni.status.port.subnets if eni.status.port else ()
    sixes = sum(":" in address for address in addresses)
    counts = [sixes if ":" in s.cidr else len(addresses) - sixes for s in subnets]
    return (min if scarcer else max)(counts, default=0)


def new_report(
    eni: ENI,
    granted: Collection[str],
    now: str,
    *,
    attached: bool,
    configured: Condition = CONFIGURED,
) -> Json | None:
    """Return the report to apply to the ENI's status; None if there is nothing new."""
    port, had = eni.status.port, set(granted)
    requested = requested_addresses(eni)
    retired = requested - had
    out_of_use = eni.metadata.deleting and not had
    linked = condition(
        Type.LINK_READY,
        Reason.DELETING if out_of_use else Reason.LINK_UP if attached else Reason.NIC_MISSING,
        status=attached and not out_of_use,
    )
    prepared = condition(Type.GUEST_PREPARED, Reason.PREPARED, status=True)
    types = (configured.type, linked.type, prepared.type)
    own = [c for c in eni.status.conditions if c.type in types]
    wanted = merge(own, [configured, prepared, linked], now) if port else ()
    same = {c.type: c for c in own} == {c.type: c for c in wanted}
    free = set(port.addresses) - had - retired if port and attached else set[str]()
    node = NodeStatus(
        mac_address=port.mac_address if port else "",
        device="eth1" if attached else "",
        granted=pods_with(eni, had, scarcer=False),
        available=pods_with(eni, free),
        idle_since="" if had else (_idle_since(eni, now) if attached else ""),
        retired=tuple(RetireAnswer(a, eni.metadata.generation) for a in sorted(retired)),
        refused=tuple(RetireAnswer(a, eni.metadata.generation) for a in sorted(requested & had)),
    )
    if not port or (node == eni.status.node and same):
        return None
    return {
        "apiVersion": API_VERSION,
        "kind": "ENI",
        "metadata": {"name": eni.name},
        "status": {"node": encode(node), "conditions": [encode(c) for c in wanted]},
    }


def _idle_since(eni: ENI, now: str) -> str:
    before = eni.status.node.idle_since if eni.status.node else ""
    with suppress(ValueError):
        parse_time(before)
        return before
    return now
