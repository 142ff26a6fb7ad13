"""Derive ENIPool.status from the results of a reconcile."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import msgspec

from openeni_crds.capacity import Growth
from openeni_crds.conditions import (
    Condition,
    Reason,
    Status,
    Type,
    condition,
    find,
    merge,
    one_line,
)
from openeni_crds.enipool import ENIPool
from openeni_crds.status.enipool import AddressCounts, ENIPoolStatus, NodeCounts
from openeni_operator.cause import Cause
from openeni_operator.enipool.capacity_status import (
    NO_NODES,
    NodeGroups,
    capacity_obstacles,
    name_nodes,
)
from openeni_operator.enipool.growth_probe import GrowthInForce
from openeni_operator.enipool.memory.eni_totals import NO_ENIS, ENISummary
from openeni_operator.enipool.port_selection import PortSelection, up_to_date
from openeni_operator.enipool.resolution import Resolution, without_port_security
from openeni_operator.enipool.resolved import applied_groups, free_count, resolved_subnets

NO_GROWTH: Final = GrowthInForce(Growth.STATIC)


@dataclass(frozen=True)
class StatusInputs:
    """The results of a reconcile."""

    nodes: NodeGroups = NO_NODES
    enis: ENISummary = NO_ENIS
    cloud_failure: Cause | None = None
    pool_failure: Cause | None = None  # the cloud responds, but cannot serve the pool
    resolution: Resolution | None = None
    selection: PortSelection | None = None  # with a resolution
    limits_reached: tuple[str, ...] = ()  # fields of spec.limits that hold growth
    waiting: Collection[str] = ()  # nodes where pods wait and a limit or a pause forbids an ENI
    ports_owned: Condition | None = None  # None: this process has not looked yet
    growth: GrowthInForce = NO_GROWTH
    credentials: Condition | None = None  # None: the cloud does not tell when they expire

    @property
    def failure(self) -> Cause | None:
        return self.cloud_failure or self.pool_failure


def desired_status(pool: ENIPool, inputs: StatusInputs, now: str) -> ENIPoolStatus:
    """Return the status; equal to the current one if nothing changed."""
    reachable = _reachable(inputs)
    supported = _supported(pool, inputs)
    capacity = _capacity(pool, inputs)
    ready = _ready(pool, inputs, capacity)
    current = _up_to_date(pool, inputs)
    owned = inputs.ports_owned or find(pool.status.conditions, Type.PORTS_OWNED)
    shared = (c for c in (owned, inputs.credentials) if c is not None)
    desired = (reachable, supported, capacity, current, ready, *shared)
    generation = pool.metadata.generation
    with_generation = (
        Condition(c.type, c.status, c.reason, c.message, generation)
        for c in sorted(desired, key=lambda c: c.type)
    )
    resolution, selection = inputs.resolution, inputs.selection
    return ENIPoolStatus(
        conditions=merge(pool.status.conditions, with_generation, now),
        node_counts=_node_counts(inputs.nodes),
        eni_count=inputs.enis.count,
        address_counts=inputs.enis.addresses,
        free_count=free_count(resolution) if resolution else pool.status.free_count,
        datapath_mode=pool.spec.datapath.word,
        subnets=resolved_subnets(resolution) if resolution else pool.status.subnets,
        security_groups=applied_groups(selection) if selection else pool.status.security_groups,
        security_group_terms=(selection or pool.status).security_group_terms,
        qos_policy=(selection if selection and selection.qos_is_known else pool.status).qos_policy,
        growth=inputs.growth.growth,
        observed_generation=generation,
    )


def current_status(pool: ENIPool) -> ENIPoolStatus:
    """Return the present status, with the conditions ordered as `desired_status` orders them."""
    conditions = tuple(sorted(pool.status.conditions, key=lambda c: c.type))
    return msgspec.structs.replace(pool.status, conditions=conditions)


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
    fault = inputs.selection.unsupported if inputs.selection else None
    fault = fault or (without_port_security(inputs.resolution) if inputs.resolution else None)
    if fault is not None:
        return _false(Type.SUPPORTED, fault.reason, fault.message)
    if pool.spec.capacity.growth is Growth.ELASTIC and inputs.growth.obstacle:
        return _false(
            Type.SUPPORTED,
            Reason.ELASTIC_UNSUPPORTED,
            "spec.capacity.growth is Elastic, and addresses of ports cannot be changed, so nodes "
            f"grow by whole ENIs as with Static: {inputs.growth.obstacle}; give the project that "
            "right, or set Auto or Static",
        )
    others = inputs.enis.other_cni
    if others:
        return _false(
            Type.SUPPORTED,
            Reason.OTHER_CNI,
            f"pods do not use the pool on {name_nodes(others)}, where another CNI plugin is "
            "configured: the condition CNIConfigured of the ENIs there names its file",
        )
    return _true_or_unknown(Type.SUPPORTED, Reason.SUPPORTED, inputs)


def _up_to_date(pool: ENIPool, inputs: StatusInputs) -> Condition:
    if inputs.selection is not None:
        enis = inputs.enis
        return up_to_date(pool, inputs.selection, enis.present, enis.behind, enis.settings_failure)
    reason = inputs.failure.reason if inputs.failure else Reason.DELETING
    message = "not known: see the condition Ready"
    return condition(Type.UP_TO_DATE, reason, message, status=None)


def _capacity(pool: ENIPool, inputs: StatusInputs) -> Condition:
    limits, waiting = inputs.limits_reached, inputs.waiting
    obstacles = capacity_obstacles(pool, inputs.nodes, inputs.enis.obstacle, limits, waiting)
    for reason, message in obstacles:
        return _false(Type.CAPACITY_AVAILABLE, reason, message)
    return _true_or_unknown(Type.CAPACITY_AVAILABLE, Reason.AVAILABLE, inputs)


def _true_or_unknown(type_: Type, reason: Reason, inputs: StatusInputs) -> Condition:
    if inputs.failure is not None:
        message = "not known yet: see the condition Ready"
        return condition(type_, inputs.failure.reason, message, status=None)
    return condition(type_, reason, status=True)


def _ready(pool: ENIPool, inputs: StatusInputs, capacity: Condition) -> Condition:
    if pool.metadata.deleting and pool.spec.paused:
        return _false(
            Type.READY,
            Reason.PAUSED,
            "the pool is being deleted, but spec.paused is true: set it to false to let the "
            "operator delete the ENIs",
        )
    if pool.metadata.deleting:
        return _false(Type.READY, Reason.DELETING, "waiting for the last pod of each ENI to end")
    if inputs.failure is not None:
        return _false(Type.READY, inputs.failure.reason, inputs.failure.message)
    if not inputs.nodes.served:
        return _false(Type.READY, *_without_nodes(pool, inputs))
    if capacity.status == Status.FALSE and not inputs.enis.ready:
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
            f"waiting for the openeni agent on {name_nodes(nodes.without_agent)}",
        )
    if nodes.without_subnet:
        return Reason.WAITING_FOR_NODES, "no node is in the zone of any of spec.subnets"
    return (
        Reason.WAITING_FOR_NODES,
        "spec.nodeSelector matches no node whose spec.providerID begins with openstack://",
    )


def _mode_message(pool: ENIPool, inputs: StatusInputs) -> str:
    nodes = name_nodes(inputs.nodes.without_datapath)
    return (
        f"the kernel of {nodes} lacks {pool.spec.datapath.mode}: no ENI is created there; use "
        "another spec.datapath.mode or exclude them by spec.nodeSelector"
    )


def without_counts(status: ENIPoolStatus) -> ENIPoolStatus:
    """Leave out what is a number; the message of UpToDate counts ENIs."""
    conditions = tuple(
        msgspec.structs.replace(c, message="") if c.type == Type.UP_TO_DATE else c
        for c in status.conditions
    )
    return msgspec.structs.replace(
        status,
        conditions=conditions,
        eni_count=0,
        free_count=0,
        address_counts=AddressCounts(),
        subnets=(),
    )
