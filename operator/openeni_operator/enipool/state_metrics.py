"""Compute the metrics of pools, ENIs, pods and nodes from the cluster state, at each scrape."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from openeni_crds.conditions import Condition, Reason, Status, Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import parse_time, seconds
from openeni_crds.selection import choose_pool
from openeni_crds.status.eni import PortStatus
from openeni_kube.metrics import Metric, Sample
from openeni_operator.cluster_state import ClusterState
from openeni_operator.eni.report import agent_report, capacity_of
from openeni_operator.eni.status import in_use
from openeni_operator.process.metric_catalogue import (
    ENI_DELETING_SECONDS,
    ENI_NOT_READY_SECONDS,
    ENI_STATE,
    NODES_AGENT_NOT_READY,
    NODES_AGENT_NOT_READY_SECONDS,
    PODS_WAITING,
    POOL_ADDRESSES,
    POOL_CONDITION,
    POOL_NODES,
    POOL_SUBNET_FREE,
    POOL_SUBNET_SIZE,
    POOL_SUBNET_USED,
)

NONE: Final = "None"
OTHER: Final = "Other"
_REASONS: Final = frozenset(Reason)


def state_samples(state: ClusterState, now: str) -> Iterator[Sample]:
    """Yield the samples of the whole state. `now` is RFC 3339 in UTC with whole seconds."""
    pools = state.pools()
    enis: dict[str, list[ENI]] = {pool.name: [] for pool in pools}
    for eni in state.enis():
        if eni.spec.pool_name in enis:  # a pool's series end with it
            enis[eni.spec.pool_name].append(eni)
    waiting = _waiting_pods(state, pools)
    for pool in pools:
        yield from _pool_samples(pool)
        yield from _address_samples(pool.name, enis[pool.name], now)
        yield from _subnet_samples(pool, enis[pool.name])
        yield from _eni_samples(pool, enis[pool.name], now)
        yield Sample(PODS_WAITING, (pool.name,), waiting[pool.name])
    tainted = [node.tainted_since for node in state.nodes() if node.agent_taint]
    yield Sample(NODES_AGENT_NOT_READY, (), len(tainted))
    if tainted:
        longest = max(_seconds_between(since, now) for since in tainted)
        yield Sample(NODES_AGENT_NOT_READY_SECONDS, (), longest)


def _pool_samples(pool: ENIPool) -> Iterator[Sample]:
    for type_ in Type:
        condition = find(pool.status.conditions, type_)
        if condition is not None:
            labels = (pool.name, type_.value, condition.status.value, _bounded(condition.reason))
            yield Sample(POOL_CONDITION, labels, 1)
    nodes = pool.status.node_counts
    for state, count in (
        ("served", nodes.served),
        ("without_agent", nodes.without_agent),
        ("without_datapath", nodes.without_datapath),
        ("without_subnet", nodes.without_subnet),
        ("at_limit", nodes.at_limit),
    ):
        yield Sample(POOL_NODES, (pool.name, state), count)


def _address_samples(pool: str, enis: Iterable[ENI], now: str) -> Iterator[Sample]:
    counts = dict.fromkeys(("granted", "available", "cooling", "unavailable"), 0)
    for eni in enis:
        report = agent_report(eni, now)
        known = report.granted + report.available + report.cooling
        counts["granted"] += report.granted
        counts["available"] += report.available
        counts["cooling"] += report.cooling
        if eni.status.port:
            counts["unavailable"] += max(0, capacity_of(eni) - known)
    for state, count in counts.items():
        yield Sample(POOL_ADDRESSES, (pool, state), count)


def _subnet_samples(pool: ENIPool, enis: Iterable[ENI]) -> Iterator[Sample]:
    used: Counter[str] = Counter()
    for eni in enis:
        if eni.status.port:
            used.update(_addresses_by_subnet(eni.status.port))
    for subnet in {s.id: s for s in pool.status.subnets}.values():
        labels = (pool.name, subnet.id)
        yield Sample(POOL_SUBNET_FREE, labels, subnet.free_count)
        yield Sample(POOL_SUBNET_USED, labels, used[subnet.id])
        if subnet.address_count:  # else an earlier release has written it
            yield Sample(POOL_SUBNET_SIZE, labels, subnet.address_count)


def _addresses_by_subnet(port: PortStatus) -> dict[str, int]:
    """Count the port's addresses; it has one subnet of each IP family."""
    addresses = (*port.primary, *port.addresses)
    sixes = sum(":" in address for address in addresses)
    return {s.id: sixes if ":" in s.cidr else len(addresses) - sixes for s in port.subnets}


def _eni_samples(pool: ENIPool, enis: Iterable[ENI], now: str) -> Iterator[Sample]:
    states: Counter[str] = Counter()
    longest: dict[tuple[Metric, str], float] = {}
    for eni in enis:
        ready = find(eni.status.conditions, Type.READY)
        reason = _bounded(ready.reason) if ready else NONE
        states[reason] += 1
        metric, waited = _waited(eni, ready, seconds(pool.spec.cool_down), now)
        if waited is not None:
            longest[metric, reason] = max(longest.get((metric, reason), 0.0), waited)
    for reason, count in states.items():
        yield Sample(ENI_STATE, (pool.name, reason), count)
    for (metric, reason), waited in longest.items():
        yield Sample(metric, (pool.name, reason), waited)


def _waited(
    eni: ENI, ready: Condition | None, cool_down: int, now: str
) -> tuple[Metric, float | None]:
    """Return a metric, and the seconds for which the ENI counts there; None if it does not."""
    if eni.metadata.deleting:
        report, node = agent_report(eni, now), eni.status.node
        if report.granted and in_use(eni, None):  # not where addresses are only kept
            return ENI_DELETING_SECONDS, None
        waited = _seconds_between(eni.metadata.deletion_timestamp, now)
        if node is not None and node.idle_since and not report.error:  # the last one cools down
            waited = min(waited, max(0.0, _seconds_between(node.idle_since, now) - cool_down))
        return ENI_DELETING_SECONDS, waited
    if ready is None:
        return ENI_NOT_READY_SECONDS, _seconds_between(eni.metadata.creation_timestamp, now)
    if ready.status == Status.TRUE:
        return ENI_NOT_READY_SECONDS, None
    return ENI_NOT_READY_SECONDS, _seconds_between(ready.last_transition_time, now)


def _waiting_pods(state: ClusterState, pools: list[ENIPool]) -> Counter[str]:
    """Count the pods that wait for an address by the pool that is to serve them."""
    waiting: Counter[str] = Counter()
    for pod in state.waiting_pods():
        node = state.node(pod.node)
        if node is not None:
            traits = pod.traits(state.namespace_labels(pod.namespace))
            chosen = choose_pool(traits, node.traits, pools)
            if isinstance(chosen, ENIPool):
                waiting[chosen.name] += 1
    return waiting


def _bounded(reason: str) -> str:
    """Return a label's value: an agent's reason, which Ready repeats, may be any word."""
    return reason if reason in _REASONS else OTHER


def _seconds_between(since: str, now: str) -> float:
    """Return 0 where a time is missing or is not one that openeni writes."""
    try:
        return max(0.0, (parse_time(now) - parse_time(since)).total_seconds())
    except ValueError:
        return 0.0
