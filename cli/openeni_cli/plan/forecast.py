"""Forecast what more nodes and pods take of a pool and its cloud. Pure.

The operator's own planning decides how many ENIs each node gets.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final

from openeni_cli.plan.report import PlanReport, SubnetNeed
from openeni_cli.times import parse
from openeni_crds.capacity import Growth
from openeni_crds.conditions import Status, Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.status.enipool import ResolvedSubnet
from openeni_operator.core_objects import Node
from openeni_operator.eni.report import held_by
from openeni_operator.enipool.facts import PoolFacts, SubnetFacts, node_state, sizing_policy
from openeni_operator.sizing.demand import needed_addresses
from openeni_operator.sizing.limits import PoolBudget, by_need, pool_budget
from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.state import (
    CreateENI,
    ENIState,
    GrowENI,
    NodeState,
    SizingPolicy,
    UnretireENI,
)

ASSUMED_SECONDS: Final = 30.0  # from an ENI to its first grant, where none has been measured
LONGEST_SECONDS: Final = 600.0  # a later transition is another one
WRITES: Final = 3  # of an ENI: the port, and two tags where the cloud drops those of a new port
MOST_ROUNDS: Final = 1000  # of planning for one node, which has 16 ENIs at most


@dataclass(frozen=True)
class Demand:
    """What is to come; `ports_left` of the project's quota is None where nobody has said it."""

    nodes: int = 0
    pods: int = 0
    ports_left: int | None = None


@dataclass(frozen=True)
class Rates:
    """Calls per second that the operator may make."""

    attaches: float
    writes: float


@dataclass(frozen=True)
class PlanFacts:
    """A pool with its nodes, and the ENIs of all pools."""

    pool: ENIPool
    nodes: Mapping[str, Node]
    enis: tuple[ENI, ...]
    rates: Rates
    now: str


@dataclass
class _Outcome:
    """What all nodes together get."""

    ports: dict[str, int] = field(default_factory=dict[str, int])  # new ones, by node
    addresses: int = 0  # for pods
    unserved: int = 0  # pods
    limits: set[str] = field(default_factory=set[str])


def forecast(facts: PlanFacts, demand: Demand) -> PlanReport:
    """Return what the pool needs so that every pod gets an address."""
    states, unplaced = _placed(_nodes(facts, demand), demand.pods)
    elastic = _is_elastic(facts.pool)
    own = _own(facts)
    budget = pool_budget(facts.pool.spec.limits, len(own), sum(map(held_by, own)))
    outcome = _Outcome()
    for state in by_need(states):
        _settle(state, sizing_policy(facts.pool, elastic=elastic), budget, outcome)
        outcome.limits |= {f"spec.limits.{name}" for name in budget.waits_for(state)}
    ports = sum(outcome.ports.values())
    subnets = _subnets(facts.pool.status.subnets, outcome.addresses + ports)
    measured = _seconds_per_eni(facts.enis)
    return PlanReport(
        pool=facts.pool.name,
        nodes=len(states),
        new_nodes=demand.nodes,
        pods=demand.pods,
        unplaced_pods=unplaced,
        unserved_pods=outcome.unserved,
        ports=ports,
        ports_left=demand.ports_left,
        addresses=outcome.addresses,
        most_nics=_most_nics(facts, outcome.ports),
        subnets=subnets,
        limits=tuple(sorted(outcome.limits)),
        seconds_per_eni=measured or ASSUMED_SECONDS,
        measured=measured is not None,
        seconds=_seconds(outcome, facts.rates, measured or ASSUMED_SECONDS),
        fits=not unplaced
        and not outcome.unserved
        and all(s.free is None or s.needed <= s.free for s in subnets)
        and (demand.ports_left is None or ports <= demand.ports_left),
    )


def _own(facts: PlanFacts) -> tuple[ENI, ...]:
    return tuple(eni for eni in facts.enis if eni.spec.pool_name == facts.pool.name)


def _is_elastic(pool: ENIPool) -> bool:
    return (pool.status.growth or pool.spec.capacity.growth) is Growth.ELASTIC


def _nodes(facts: PlanFacts, demand: Demand) -> list[NodeState]:
    """Return the nodes that pods can come to: those of the pool, and the new ones."""
    pool_facts = PoolFacts(
        facts.pool, facts.nodes, _own(facts), {}, {}, {}, facts.now, elastic=_is_elastic(facts.pool)
    )
    there = [
        node_state(pool_facts, node.name, SubnetFacts(served=frozenset(facts.nodes)))
        for node in pool_facts.selected_nodes
        if node.supports(facts.pool.spec.datapath.mode) is not False and not node.cordoned
    ]
    usual = int(median(node.max_pods for node in there)) if there else NodeState("").max_pods
    new = [NodeState(f"new node {i + 1}", max_pods=usual) for i in range(demand.nodes)]
    return [*(replace(n, enis=tuple(map(_finished, n.enis))) for n in there), *new]


def _finished(eni: ENIState) -> ENIState:
    """Return the ENI as it will be: what is on its way arrives."""
    return eni if eni.no_slot else replace(eni, ready=True)


def _placed(nodes: list[NodeState], pods: int) -> tuple[list[NodeState], int]:
    """Spread the pods as the scheduler does, the emptiest node first; return how many are left."""
    used = {n.name: sum(e.granted for e in n.enis) for n in nodes}
    waiting = dict.fromkeys(used, 0)
    most = {n.name: n.max_pods for n in nodes}
    free = [(count, name) for name, count in used.items() if count < most[name]]
    heapq.heapify(free)
    left = pods
    while left and free:
        count, name = heapq.heappop(free)
        waiting[name] += 1
        left -= 1
        if count + 1 < most[name]:
            heapq.heappush(free, (count + 1, name))
    return [replace(n, waiting=waiting[n.name]) for n in nodes], left


def _settle(node: NodeState, policy: SizingPolicy, budget: PoolBudget, outcome: _Outcome) -> None:
    """Let the operator's planning run until the node gets nothing more."""
    for _ in range(MOST_ROUNDS):
        planned = plan(node, policy)
        grown = node
        for action in planned.actions:
            allowed = budget.allow(action, grown)
            if isinstance(allowed, CreateENI | GrowENI | UnretireENI):
                grown = _after(grown, allowed, outcome)
        if grown == node:
            if planned.limit_reached:
                outcome.limits.add(_limit(node, policy))
            break
        node = grown
    have = sum(e.capacity for e in node.enis)
    outcome.unserved += max(0, min(node.waiting, needed_addresses(node) - have))


def _after(
    node: NodeState, action: CreateENI | GrowENI | UnretireENI, outcome: _Outcome
) -> NodeState:
    match action:
        case CreateENI(name, count):
            outcome.ports[name] = outcome.ports.get(name, 0) + 1
            outcome.addresses += count
            made = ENIState(f"new-{len(node.enis)}", count, ready=True, wanted=count)
            return replace(node, enis=(*node.enis, made))
        case GrowENI(name, count):
            before = next(e for e in node.enis if e.name == name)
            outcome.addresses += max(0, count - before.held)
            changed = replace(before, addresses=count, wanted=count, refused=False)
        case UnretireENI(name):
            before = next(e for e in node.enis if e.name == name)
            changed = replace(before, retiring=False, all_asked=False, all_retired=False)
    return replace(node, enis=tuple(changed if e.name == name else e for e in node.enis))


def _limit(node: NodeState, policy: SizingPolicy) -> str:
    if any(e.no_slot for e in node.enis):
        return f"NIC slots of {node.name}"
    if len(node.enis) >= policy.max_enis:
        return "spec.capacity.maxENIsPerNode"
    return "spec.capacity.maxAddressesPerNode"


def _subnets(subnets: Iterable[ResolvedSubnet], needed: int) -> tuple[SubnetNeed, ...]:
    """Return the need of each IP family: an ENI takes addresses of each that the pool has."""
    free: dict[str, int] = {}
    for subnet in subnets:
        family = "IPv6" if ":" in subnet.cidr else "IPv4"
        free[family] = free.get(family, 0) + subnet.free_count
    if not free:
        return (SubnetNeed("IPv4", needed, None),)
    return tuple(SubnetNeed(family, needed, free[family]) for family in sorted(free))


def _most_nics(facts: PlanFacts, ports: Mapping[str, int]) -> int:
    """Return the most NICs of openeni's that one server will have, those of all pools."""
    found = dict(ports)
    for eni in facts.enis:
        found[eni.spec.node_name] = found.get(eni.spec.node_name, 0) + 1
    return max(found.values(), default=0)


def _seconds_per_eni(enis: Iterable[ENI]) -> float | None:
    """Return how long ENIs took from their creation until their link was ready, by the median."""
    found: list[float] = []
    for eni in enis:
        link = find(eni.status.conditions, Type.LINK_READY)
        made = parse(eni.metadata.creation_timestamp)
        done = parse(link.last_transition_time) if link else None
        if link is None or link.status != Status.TRUE or made is None or done is None:
            continue
        seconds = (done - made).total_seconds()
        if 0 < seconds <= LONGEST_SECONDS:
            found.append(seconds)
    return median(found) if found else None


def _seconds(outcome: _Outcome, rates: Rates, per_eni: float) -> float:
    """Return how long all takes: the operator's rates bound it, or one ENI at a time on a node."""
    ports = sum(outcome.ports.values())
    if not ports:
        return 0.0
    by_rate = max(ports / rates.attaches, ports * WRITES / rates.writes) + per_eni
    return max(by_rate, max(outcome.ports.values()) * per_eni)
