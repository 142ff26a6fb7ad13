"""What the operator says of a pool: conditions and counts, derived anew from what was found."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec

from openeni_crds.conditions import (
    MESSAGE_LENGTH,
    Condition,
    Reason,
    Status,
    Type,
    condition,
    find,
    merge,
)
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.enipool_status import (
    MOST_RESOLVED,
    AddressCounts,
    ENIPoolStatus,
    NodeCounts,
    ResolvedSecurityGroup,
    ResolvedSubnet,
)
from openeni_operator.eni.report import capacity_of, families_of, report_of
from openeni_operator.enipool.resolve import COUNTED, Problem, Resolution

SHOWN: Final = 5  # names of nodes in a message
# An ENI that waits for one of these is on its way; any other reason needs somebody's attention.
ON_THE_WAY: Final = frozenset(
    {
        Reason.WAITING_FOR_PORT,
        Reason.WAITING_FOR_AGENT,
        Reason.WAITING_FOR_ATTACH,
        Reason.WAITING_FOR_NIC,
        Reason.DELETING,
        Reason.OUTCOME_UNKNOWN,
        Reason.CLOUD_UNREACHABLE,
    }
)


@dataclass(frozen=True)
class Nodes:
    """Names of the pool's nodes by what keeps an ENI from them."""

    served: tuple[str, ...] = ()
    without_agent: tuple[str, ...] = ()
    without_mode: tuple[str, ...] = ()
    without_subnet: tuple[str, ...] = ()
    short: tuple[str, ...] = ()  # pods wait and a limit is reached


@dataclass(frozen=True)
class Findings:
    """All that a reconcile found out."""

    nodes: Nodes = Nodes()
    enis: tuple[ENI, ...] = ()
    cloud: Problem | None = None  # no answer, or none that helps
    problem: Problem | None = None
    resolution: Resolution | None = None


def wanted_status(pool: ENIPool, found: Findings, now: str) -> ENIPoolStatus:
    """Return the status; equal to the present one if nothing changed."""
    reachable = _reachable(found)
    supported = _supported(pool, found)
    capacity = _capacity(found)
    ready = _ready(pool, found, capacity)
    wanted = (reachable, supported, capacity, ready)
    generation = pool.metadata.generation
    stamped = (
        Condition(c.type, c.status, c.reason, c.message, generation)
        for c in sorted(wanted, key=lambda c: c.type)
    )
    resolution = found.resolution
    return ENIPoolStatus(
        conditions=merge(pool.status.conditions, stamped, now),
        node_counts=_node_counts(found.nodes),
        eni_count=len(found.enis),
        address_counts=counts(found.enis, now),
        free_count=_free(resolution) if resolution else pool.status.free_count,
        datapath_mode=pool.spec.datapath.word,
        subnets=_subnets(resolution) if resolution else pool.status.subnets,
        security_groups=_groups(resolution) if resolution else pool.status.security_groups,
        observed_generation=generation,
    )


def present_status(pool: ENIPool) -> ENIPoolStatus:
    """Return the pool's present status, its conditions in the order of `wanted_status`."""
    conditions = tuple(sorted(pool.status.conditions, key=lambda c: c.type))
    return msgspec.structs.replace(pool.status, conditions=conditions)


def counts(enis: Iterable[ENI], now: str) -> AddressCounts:
    """Count addresses in pods: with two IP families a pod takes one address of each."""
    total = granted = cooling = available = retiring = 0
    for eni in enis:
        report = report_of(eni, now)
        total += capacity_of(eni) if eni.status.port else 0
        retiring += len(eni.spec.retiring) // families_of(eni)
        granted += report.granted
        cooling += report.cooling
        available += report.available
    return AddressCounts(total, granted, available, cooling, retiring)


def _node_counts(nodes: Nodes) -> NodeCounts:
    without = (nodes.without_agent, nodes.without_mode, nodes.without_subnet)
    return NodeCounts(
        selected=len(nodes.served) + sum(map(len, without)),
        served=len(nodes.served),
        without_agent=len(nodes.without_agent),
        without_datapath=len(nodes.without_mode),
        without_subnet=len(nodes.without_subnet),
        at_limit=len(nodes.short),
    )


def _reachable(found: Findings) -> Condition:
    if found.cloud is not None:
        return _no(Type.CLOUD_REACHABLE, found.cloud.reason, found.cloud.message)
    return condition(Type.CLOUD_REACHABLE, Reason.REACHABLE, status=True)


def _supported(pool: ENIPool, found: Findings) -> Condition:
    if found.problem is not None and found.problem.unsupported:
        return _no(Type.SUPPORTED, found.problem.reason, found.problem.message)
    if found.nodes.without_mode:
        return _no(Type.SUPPORTED, Reason.MODE_UNSUPPORTED, _no_mode(pool, found))
    return _yes_or_unknown(Type.SUPPORTED, Reason.SUPPORTED, found)


def _capacity(found: Findings) -> Condition:
    type_ = Type.CAPACITY_AVAILABLE
    trouble = next(_eni_troubles(found.enis), None)
    if trouble is not None:
        return trouble
    if found.nodes.short:
        return _no(
            type_,
            Reason.NODE_LIMIT,
            f"pods wait on {_names(found.nodes.short)}: raise spec.capacity.maxENIsPerNode or "
            "maxAddressesPerNode, or run fewer pods there",
        )
    if found.nodes.without_subnet:
        return _no(
            type_,
            Reason.INVALID_SPEC,
            f"spec.subnets has none for the zone of {_names(found.nodes.without_subnet)}: "
            "add one with that zone, or one without a zone",
        )
    return _yes_or_unknown(type_, Reason.AVAILABLE, found)


def _yes_or_unknown(type_: Type, good: Reason, found: Findings) -> Condition:
    unknown = found.cloud or found.problem
    if unknown is not None:
        return condition(type_, unknown.reason, "not known yet", status=None)
    return condition(type_, good, status=True)


def _ready(pool: ENIPool, found: Findings, capacity: Condition) -> Condition:
    if pool.metadata.deleting:
        return _no(Type.READY, Reason.DELETING, "each ENI goes when its last pod has gone")
    bad = found.cloud or found.problem
    if bad is not None:
        return _no(Type.READY, bad.reason, bad.message)
    if not found.nodes.served:
        return _no(Type.READY, *_no_node(pool, found))
    if capacity.status == Status.FALSE and not any(_is_ready(e) for e in found.enis):
        return _no(Type.READY, capacity.reason, capacity.message)
    return condition(Type.READY, Reason.READY, status=True)


def _no(type_: Type, reason: str, message: str) -> Condition:
    return Condition(type_, Status.FALSE, reason, message[:MESSAGE_LENGTH])


def _no_node(pool: ENIPool, found: Findings) -> tuple[Reason, str]:
    nodes = found.nodes
    if nodes.without_mode:
        return Reason.MODE_UNSUPPORTED, _no_mode(pool, found)
    if nodes.without_agent:
        return (
            Reason.WAITING_FOR_NODES,
            f"waiting for the openeni agent on {_names(nodes.without_agent)}",
        )
    if nodes.without_subnet:
        return Reason.WAITING_FOR_NODES, "no node is in the zone of any of spec.subnets"
    return (
        Reason.WAITING_FOR_NODES,
        "spec.nodeSelector matches no node whose spec.providerID begins with openstack://",
    )


def _no_mode(pool: ENIPool, found: Findings) -> str:
    return (
        f"the kernel of {_names(found.nodes.without_mode)} lacks {pool.spec.datapath.mode}: no ENI "
        "is made there; use another spec.datapath.mode or leave them out by spec.nodeSelector"
    )


def _eni_troubles(enis: Iterable[ENI]) -> Iterator[Condition]:
    for eni in sorted(enis, key=lambda e: e.name):
        bad = find(eni.status.conditions, Type.READY)
        if bad is not None and bad.status != Status.TRUE and bad.reason not in ON_THE_WAY:
            where = f"ENI {eni.name} on node {eni.spec.node_name}: {bad.message}"
            yield _no(Type.CAPACITY_AVAILABLE, bad.reason, where)


def _is_ready(eni: ENI) -> bool:
    found = find(eni.status.conditions, Type.READY)
    return found is not None and found.status == Status.TRUE


def _subnets(resolution: Resolution) -> tuple[ResolvedSubnet, ...]:
    found = (
        ResolvedSubnet(
            id=s.subnet.id,
            name=s.subnet.name,
            network_id=s.subnet.network_id,
            cidr=s.subnet.cidr,
            zone=s.zone,
            free_count=s.free,
        )
        for s in resolution.subnets
    )
    return tuple(islice(found, MOST_RESOLVED))


def _groups(resolution: Resolution) -> tuple[ResolvedSecurityGroup, ...]:
    found = (ResolvedSecurityGroup(g.id, g.name) for g in resolution.security_groups)
    return tuple(islice(found, MOST_RESOLVED))


def _free(resolution: Resolution) -> int:
    """Return the sum over the pool's subnets; one that several zones use counts once."""
    free = {s.subnet.id: s.free for s in resolution.subnets}
    return min(sum(free.values()), COUNTED)


def _names(nodes: tuple[str, ...]) -> str:
    rest = len(nodes) - SHOWN
    shown = ", ".join(sorted(nodes)[:SHOWN])
    return (
        f"node {shown}"
        if len(nodes) == 1
        else f"nodes {shown}" + (f" and {rest} more" if rest > 0 else "")
    )
