"""Derive ENIPool.status from the results of a reconcile."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec

from openeni_crds.conditions import (
    Condition,
    Reason,
    Status,
    Type,
    condition,
    find,
    is_true,
    merge,
    one_line,
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
from openeni_operator.cause import Cause
from openeni_operator.eni.report import agent_report, capacity_of, uses_other_cni
from openeni_operator.enipool.resolution import MAX_FREE, Resolution

NODES_SHOWN: Final = 5  # names of nodes in a message
# An ENI that is not Ready for one of these reasons makes progress; any other needs attention.
IN_PROGRESS: Final = frozenset(
    {
        Reason.WAITING_FOR_PORT,
        Reason.WAITING_FOR_AGENT,
        Reason.WAITING_FOR_ATTACH,
        Reason.WAITING_FOR_NIC,
        Reason.DELETING,
        Reason.OUTCOME_UNKNOWN,
        Reason.ATTACH_UNKNOWN,
        Reason.CLOUD_UNREACHABLE,
        Reason.THROTTLED,
    }
)


@dataclass(frozen=True)
class NodeGroups:
    """Names of the pool's nodes, by what prevents an ENI there."""

    served: tuple[str, ...] = ()
    without_agent: tuple[str, ...] = ()
    without_datapath: tuple[str, ...] = ()
    without_subnet: tuple[str, ...] = ()
    at_limit: tuple[str, ...] = ()  # pods wait, but a limit of the pool forbids another ENI


@dataclass(frozen=True)
class StatusInputs:
    """The results of a reconcile."""

    nodes: NodeGroups = NodeGroups()
    enis: tuple[ENI, ...] = ()
    cloud_failure: Cause | None = None
    pool_failure: Cause | None = None  # the cloud responds, but cannot serve the pool
    resolution: Resolution | None = None

    @property
    def failure(self) -> Cause | None:
        return self.cloud_failure or self.pool_failure


def desired_status(pool: ENIPool, inputs: StatusInputs, now: str) -> ENIPoolStatus:
    """Return the status; equal to the current one if nothing changed."""
    reachable = _reachable(inputs)
    supported = _supported(pool, inputs)
    capacity = _capacity(inputs)
    ready = _ready(pool, inputs, capacity)
    desired = (reachable, supported, capacity, ready)
    generation = pool.metadata.generation
    with_generation = (
        Condition(c.type, c.status, c.reason, c.message, generation)
        for c in sorted(desired, key=lambda c: c.type)
    )
    resolution = inputs.resolution
    return ENIPoolStatus(
        conditions=merge(pool.status.conditions, with_generation, now),
        node_counts=_node_counts(inputs.nodes),
        eni_count=len(inputs.enis),
        address_counts=address_counts(inputs.enis, now),
        free_count=_free(resolution) if resolution else pool.status.free_count,
        datapath_mode=pool.spec.datapath.word,
        subnets=_subnets(resolution) if resolution else pool.status.subnets,
        security_groups=_groups(resolution) if resolution else pool.status.security_groups,
        observed_generation=generation,
    )


def current_status(pool: ENIPool) -> ENIPoolStatus:
    """Return the present status, with the conditions ordered as `desired_status` orders them."""
    conditions = tuple(sorted(pool.status.conditions, key=lambda c: c.type))
    return msgspec.structs.replace(pool.status, conditions=conditions)


def address_counts(enis: Iterable[ENI], now: str) -> AddressCounts:
    """Count addresses in pods: a dual-stack pod has one address of each family."""
    total = granted = cooling = available = 0
    for eni in enis:
        report = agent_report(eni, now)
        total += capacity_of(eni) if eni.status.port else 0
        granted += report.granted
        cooling += report.cooling
        available += report.available
    return AddressCounts(total, granted, available, cooling)


def _node_counts(nodes: NodeGroups) -> NodeCounts:
    without = (nodes.without_agent, nodes.without_datapath, nodes.without_subnet)
    return NodeCounts(
        selected=len(nodes.served) + sum(map(len, without)),
        served=len(nodes.served),
        without_agent=len(nodes.without_agent),
        without_datapath=len(nodes.without_datapath),
        without_subnet=len(nodes.without_subnet),
        at_limit=len(nodes.at_limit),
    )


def _reachable(inputs: StatusInputs) -> Condition:
    if inputs.cloud_failure is not None:
        return _false(
            Type.CLOUD_REACHABLE, inputs.cloud_failure.reason, inputs.cloud_failure.message
        )
    return condition(Type.CLOUD_REACHABLE, Reason.REACHABLE, status=True)


def _supported(pool: ENIPool, inputs: StatusInputs) -> Condition:
    if inputs.pool_failure is not None and inputs.pool_failure.unsupported:
        return _false(Type.SUPPORTED, inputs.pool_failure.reason, inputs.pool_failure.message)
    if inputs.nodes.without_datapath:
        return _false(Type.SUPPORTED, Reason.MODE_UNSUPPORTED, _mode_message(pool, inputs))
    others = tuple({eni.spec.node_name for eni in inputs.enis if uses_other_cni(eni)})
    if others:
        return _false(
            Type.SUPPORTED,
            Reason.OTHER_CNI,
            f"pods do not use the pool on {_names(others)}, where another CNI plugin is "
            "configured: the condition CNIConfigured of the ENIs there names its file",
        )
    return _true_or_unknown(Type.SUPPORTED, Reason.SUPPORTED, inputs)


def _capacity(inputs: StatusInputs) -> Condition:
    type_ = Type.CAPACITY_AVAILABLE
    eni_failure = next(_eni_failures(inputs.enis), None)
    if eni_failure is not None:
        return eni_failure
    if inputs.nodes.at_limit:
        return _false(
            type_,
            Reason.NODE_LIMIT,
            f"pods wait on {_names(inputs.nodes.at_limit)}: raise spec.capacity.maxENIsPerNode or "
            "maxAddressesPerNode, or run fewer pods there",
        )
    if inputs.nodes.without_subnet:
        return _false(
            type_,
            Reason.INVALID_SPEC,
            f"spec.subnets has none for the zone of {_names(inputs.nodes.without_subnet)}: "
            "add one with that zone, or one without a zone",
        )
    return _true_or_unknown(type_, Reason.AVAILABLE, inputs)


def _true_or_unknown(type_: Type, reason: Reason, inputs: StatusInputs) -> Condition:
    if inputs.failure is not None:
        message = "not known yet: see the condition Ready"
        return condition(type_, inputs.failure.reason, message, status=None)
    return condition(type_, reason, status=True)


def _ready(pool: ENIPool, inputs: StatusInputs, capacity: Condition) -> Condition:
    if pool.metadata.deleting:
        return _false(Type.READY, Reason.DELETING, "waiting for the last pod of each ENI to end")
    if inputs.failure is not None:
        return _false(Type.READY, inputs.failure.reason, inputs.failure.message)
    if not inputs.nodes.served:
        return _false(Type.READY, *_without_nodes(pool, inputs))
    if capacity.status == Status.FALSE and not any(
        is_true(e.status.conditions, Type.READY) for e in inputs.enis
    ):
        return _false(Type.READY, capacity.reason, capacity.message)
    return condition(Type.READY, Reason.READY, status=True)


def _false(type_: Type, reason: str, message: str) -> Condition:
    return Condition(type_, Status.FALSE, reason, one_line(message))


def _without_nodes(pool: ENIPool, inputs: StatusInputs) -> tuple[Reason, str]:
    nodes = inputs.nodes
    if nodes.without_datapath:
        return Reason.MODE_UNSUPPORTED, _mode_message(pool, inputs)
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


def _mode_message(pool: ENIPool, inputs: StatusInputs) -> str:
    return (
        f"the kernel of {_names(inputs.nodes.without_datapath)} lacks {pool.spec.datapath.mode}: "
        "no ENI is created there; use another spec.datapath.mode or exclude them by "
        "spec.nodeSelector"
    )


def _eni_failures(enis: Iterable[ENI]) -> Iterator[Condition]:
    for eni in sorted(enis, key=lambda e: e.name):
        ready = find(eni.status.conditions, Type.READY)
        if ready is not None and ready.status != Status.TRUE and ready.reason not in IN_PROGRESS:
            message = f"ENI {eni.name} on node {eni.spec.node_name}: {ready.message}"
            yield _false(Type.CAPACITY_AVAILABLE, ready.reason, message)


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
    """Sum the free addresses of the pool's subnets, each counted once."""
    free = {s.subnet.id: s.free for s in resolution.subnets}
    return min(sum(free.values()), MAX_FREE)


def _names(nodes: tuple[str, ...]) -> str:
    rest = len(nodes) - NODES_SHOWN
    shown = ", ".join(sorted(nodes)[:NODES_SHOWN])
    return (
        f"node {shown}"
        if len(nodes) == 1
        else f"nodes {shown}" + (f" and {rest} more" if rest > 0 else "")
    )
