"""Gather the facts that a pool's plan needs from the cluster state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from openeni_crds.capacity import ReclaimPolicy
from openeni_crds.conditions import Condition, Reason, Status, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import parse_time, seconds
from openeni_crds.selection import choose_pool, selects_node
from openeni_operator.claims import PendingClaims
from openeni_operator.core_objects import Node, WaitingPod
from openeni_operator.eni.report import agent_report, capacity_of, had_by, in_fuller_family
from openeni_operator.eni.resize import retired_addresses
from openeni_operator.eni.status import INACTIVE, is_unattached, lacks_slot
from openeni_operator.enipool.address_choice import is_misasked
from openeni_operator.enipool.memory.node_outcomes import Group
from openeni_operator.enipool.memory.subnet_usage import SubnetUsage, is_refused
from openeni_operator.enipool.resolution import Resolution
from openeni_operator.missing_nodes import counts_as_gone
from openeni_operator.sizing.stalls import is_stuck, stalled_seconds
from openeni_operator.sizing.state import UNBOUNDED, ENIState, NodeState, SizingPolicy

# Reasons for which a port does not get the addresses that it lacks, until something changes.
SCARCITY: Final = frozenset({Reason.SUBNET_EXHAUSTED, Reason.QUOTA_EXCEEDED})
REFUSALS: Final = SCARCITY | {Reason.DENIED, Reason.INVALID_SPEC, Reason.NOT_FOUND}


@dataclass(frozen=True)
class PoolFacts:
    """A pool with some of its nodes, and all its ENIs and waiting pods on them."""

    pool: ENIPool
    nodes: Mapping[str, Node]
    enis: tuple[ENI, ...]
    waiting: Mapping[str, frozenset[str]]  # node -> UIDs of pods that wait for this pool
    missing: Mapping[tuple[str, str], float]  # node and server of an ENI -> seconds it is missing
    idle: Mapping[str, float]  # ENI -> seconds since the last of its addresses was in use
    now: str  # RFC 3339
    slotless: frozenset[str] = frozenset()  # nodes where ENIs of other pools have found no slot
    elastic: bool = False  # the pool's ports can get and lose addresses
    # By ENI: addresses that other nodes claim, and claims to those that its port is to get.
    leaving: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    claims: Mapping[str, PendingClaims] = field(default_factory=dict[str, PendingClaims])

    @cached_property
    def selected_nodes(self) -> list[Node]:
        """The nodes that the pool selects, by name."""
        selected = (n for n in self.nodes.values() if selects_node(self.pool, n.traits))
        return sorted(selected, key=lambda node: node.name)

    @cached_property
    def enis_by_node(self) -> Mapping[str, list[ENI]]:
        found: dict[str, list[ENI]] = {}
        for eni in self.enis:
            found.setdefault(eni.spec.node_name, []).append(eni)
        return found

    def waiting_for_any(self, node: str) -> frozenset[str]:
        """Return the UIDs of the node's waiting pods that any address of the pool serves."""
        enis = self.enis_by_node.get(node, ())
        certain = (self.claims[eni.name].pods for eni in enis if eni.name in self.claims)
        return self.waiting.get(node, frozenset()).difference(*certain)

    def missing_for(self, eni: ENI) -> float | None:
        """Return the seconds since the ENI's server has been no node; None: it is one."""
        return self.missing.get((eni.spec.node_name, eni.spec.server_id))


@dataclass(frozen=True)
class SubnetFacts:
    """What the cloud has for the pool's nodes and ENIs."""

    served: frozenset[str] = frozenset()  # nodes on which an ENI can be created
    resolution: Resolution | None = None
    usage: SubnetUsage = field(default_factory=SubnetUsage)

    def alternative(self, node: Node | None, count: int) -> frozenset[str]:
        """Return the IDs of subnets that have so many addresses for an ENI of the node."""
        if self.resolution is None or node is None:
            return frozenset()
        found = self.resolution.alternative(node.zone, count, self.usage)
        return frozenset(subnet.id for subnet in found)

    def room(self, eni: ENI) -> int:
        """Return how many addresses the ENI's subnets still have, by estimate."""
        found = self.resolution.room(eni.spec.subnet_ids, self.usage) if self.resolution else None
        return UNBOUNDED if found is None else found


def sizing_policy(pool: ENIPool, *, elastic: bool = False) -> SizingPolicy:
    capacity, reclaim = pool.spec.capacity, pool.spec.reclaim
    after = float(seconds(reclaim.after)) if reclaim.policy is ReclaimPolicy.AFTER else None
    return SizingPolicy(
        addresses_per_eni=capacity.addresses_per_eni,
        max_enis=capacity.max_enis_per_node,
        min_available=capacity.min_available,
        max_available=capacity.max_available,
        max_addresses=capacity.max_addresses_per_node,
        reclaim_after=after,
        elastic=elastic,
    )


def group_nodes(facts: PoolFacts, resolution: Resolution | None) -> dict[str, Group]:
    """Group the selected nodes by what prevents an ENI there."""
    return {node.name: _group(node, facts.pool, resolution) for node in facts.selected_nodes}


def _group(node: Node, pool: ENIPool, resolution: Resolution | None) -> Group:
    supported = node.supports(pool.spec.datapath.mode)
    if supported is None:
        return Group.WITHOUT_AGENT
    if not supported:
        return Group.WITHOUT_DATAPATH
    if resolution is not None and not resolution.serves(node.zone):
        return Group.WITHOUT_SUBNET
    return Group.SERVED


def waiting_pods_by_node(
    pool: ENIPool,
    pools: Iterable[ENIPool],
    pods: Iterable[WaitingPod],
    labels: Mapping[str, dict[str, str]],
    nodes: Mapping[str, Node],
) -> dict[str, frozenset[str]]:
    """Return, by node, the UIDs of the pods that wait for an address of this pool."""
    candidates = list(pools)
    found: dict[str, set[str]] = {}
    for pod in pods:
        node = nodes.get(pod.node)
        if node is None:
            continue
        facts = pod.traits(labels.get(pod.namespace, {}))
        chosen = choose_pool(facts, node.traits, candidates)
        if isinstance(chosen, ENIPool) and chosen.name == pool.name:
            found.setdefault(pod.node, set()).add(pod.uid)
    return {node: frozenset(uids) for node, uids in found.items()}


def node_state(facts: PoolFacts, name: str, subnets: SubnetFacts) -> NodeState:
    """Return the node as the plan sees it."""
    node, enis = facts.nodes.get(name), facts.enis_by_node.get(name, ())
    return NodeState(
        name=name,
        enis=tuple(eni_state(eni, facts, subnets) for eni in enis),
        waiting=len(facts.waiting_for_any(name)),
        max_pods=node.max_pods if node else 0,
        selected=not facts.pool.metadata.deleting
        and node is not None
        and _may_keep(facts.pool, node),
        can_create=name in subnets.served,
        missing=node is None,
        cordoned=node is not None and node.cordoned,
        no_slot=name in facts.slotless,
        alternative=subnets.alternative(node, 2),  # a primary address and one for a pod
    )


def eni_state(eni: ENI, facts: PoolFacts, subnets: SubnetFacts) -> ENIState:
    port, report = eni.status.port, agent_report(eni, facts.now)
    addresses = set(port.addresses) if port else set[str]()
    reasons = {c.reason for c in eni.status.conditions if c.status == Status.FALSE}
    leaving = facts.leaving.get(eni.name, frozenset[str]())
    claims = facts.claims.get(eni.name, PendingClaims())
    waiting = facts.waiting.get(eni.spec.node_name, frozenset())
    whole = eni.is_retired_whole if port and facts.elastic else bool(eni.spec.retiring)
    parked = whole and is_unattached(eni)
    stalled, unsized = stalled_seconds(eni, facts.now), _unsized(eni)
    lacks_for = unsized.reason if facts.elastic and unsized else None
    return ENIState(
        name=eni.name,
        addresses=capacity_of(eni),
        releasing=in_fuller_family(port.releasing) if port else 0,
        granted=report.granted,
        cooling=report.cooling,
        ready=is_true(eni.status.conditions, Type.READY),
        retiring=whole and not parked,
        inactive=not INACTIVE.isdisjoint(reasons),
        parked=parked,
        all_asked=addresses <= set(eni.spec.retiring),
        all_retired=addresses <= retired_addresses(eni),
        deleting=eni.metadata.deleting,
        orphaned=counts_as_gone(facts.missing_for(eni)),
        broken=eni.is_broken,
        no_slot=Reason.NO_HOTPLUG_SLOT in reasons,
        stuck=is_stuck(eni, stalled) and not _is_agent_silent(eni, facts),
        stalled_seconds=stalled,
        exhausted=_is_exhausted(eni, facts, subnets),
        idle_seconds=facts.idle.get(eni.name),
        wanted=eni.spec.address_count if facts.elastic else None,
        settled=None if facts.elastic or had_by(eni) >= eni.spec.address_count else had_by(eni),
        misasked=facts.elastic and is_misasked(eni, leaving),
        refused=lacks_for in REFUSALS,
        scarce=lacks_for in SCARCITY,
        lacking_seconds=_seconds_since(unsized, facts.now) if unsized else 0.0,
        claimed=in_fuller_family(claims.addresses),
        awaited=len(claims.pods & waiting) + claims.restarted,
        all_leave=bool(leaving) and addresses <= leaving,
        subnets=frozenset(eni.spec.subnet_ids),
        room=subnets.room(eni) if facts.elastic else UNBOUNDED,
    )


def slotless_nodes(enis: Iterable[ENI], pool: ENIPool) -> frozenset[str]:
    """Return the nodes on whose servers ENIs of other pools have found no slot."""
    others = (eni for eni in enis if eni.spec.pool_name != pool.name)
    return frozenset(eni.spec.node_name for eni in others if lacks_slot(eni))


def _is_agent_silent(eni: ENI, facts: PoolFacts) -> bool:
    """Return True if the node's agent is not running, or the node is gone.

    A taint from before the ENI is the one that new nodes start with, until an ENI is Ready.
    """
    node = facts.nodes.get(eni.spec.node_name)
    return node is None or node.tainted_since > eni.metadata.creation_timestamp


def _unsized(eni: ENI) -> Condition | None:
    """Return the condition that says why the ENI's port lacks addresses; None if it has all."""
    sized = find(eni.status.conditions, Type.SIZED)
    return sized if sized is not None and sized.status == Status.FALSE else None


def _seconds_since(condition: Condition, now: str) -> float:
    """Return the seconds since the condition's status has changed; 0 if it does not say."""
    try:
        since = parse_time(condition.last_transition_time)
    except ValueError:
        return 0.0
    return max(0.0, (parse_time(now) - since).total_seconds())


def _is_exhausted(eni: ENI, facts: PoolFacts, subnets: SubnetFacts) -> bool:
    """Return True if the ENI's port was refused addresses and would find them in other subnets."""
    if eni.status.port is not None or not is_refused(eni):
        return False
    node = facts.nodes.get(eni.spec.node_name)
    other = subnets.alternative(node, eni.spec.address_count + 1)
    return bool(other) and other != frozenset(eni.spec.subnet_ids)


def _may_keep(pool: ENIPool, node: Node) -> bool:
    """Return True if ENIs stay on the node; one without a providerID may still be a server."""
    selector = pool.spec.node_selector
    return selector is None or selector.matches(node.labels)
