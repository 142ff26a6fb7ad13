"""Feed a pool's history with what a reconcile sees, and the plan with what follows. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import parse_time
from openeni_operator.eni.report import capacity_of
from openeni_operator.enipool.facts import PoolFacts
from openeni_operator.sizing.demand import full_addresses
from openeni_operator.sizing.elastic import REFUSAL_SECONDS
from openeni_operator.sizing.history import MAX_REFILL, PoolHistory
from openeni_operator.sizing.plan import FAILURE_MEMORY_SECONDS
from openeni_operator.sizing.stalls import STUCK_SECONDS
from openeni_operator.sizing.state import NodeState, SizingPolicy


def note_look(history: PoolHistory, facts: PoolFacts, nodes: Iterable[str], now: float) -> None:
    """Note the waiting pods of these nodes, and their ENIs that wait for addresses."""
    selected = {node.name for node in facts.selected_nodes}
    for name in nodes:
        if name in selected or name in facts.enis_by_node:
            history.note_waiting(name, facts.waiting.get(name, frozenset()), now)
        else:
            history.forget_node(name)
    for eni in facts.enis:
        history.creations.note(eni.name, now, lacking=_is_new(eni, facts.now))
        lacking = facts.elastic and _lacks_addresses(eni)
        history.additions.note(eni.name, now, lacking=lacking)


def measured(node: NodeState, history: PoolHistory, policy: SizingPolicy, now: float) -> NodeState:
    """Return the node with the pods that it has to expect, and the peak of its demand.

    An ENI that nobody uses may be retired at any time, and is no room to grow: if it counted, its
    retirement would change what is expected, and with it be withdrawn at once, again and again.
    """
    known = history.nodes.get(node.name)
    if known is None:
        return node
    grows = policy.elastic and any(
        e.usable and e.granted + e.cooling and e.count < policy.addresses_per_eni for e in node.enis
    )
    refill = (history.additions if grows else history.creations).average
    node = replace(node, expected=known.expected(refill, now))
    if policy.reclaim_after is None:
        return node
    known.note_level(full_addresses(node, policy), now, policy.reclaim_after)
    return replace(node, peak=known.peak(now, policy.reclaim_after))


def seconds_until_change(
    node: NodeState, history: PoolHistory, policy: SizingPolicy, now: float
) -> list[float]:
    """Return the seconds until time alone may change the node's plan."""
    lacking = [e.lacking_seconds for e in node.enis if e.refused]
    known = history.nodes.get(node.name)
    quiet = known.seconds_until_quiet(now) if known is not None else None
    stalled = [e.stalled_seconds for e in node.enis if e.usable and not e.ready]
    ends = (STUCK_SECONDS, FAILURE_MEMORY_SECONDS)
    return [
        *([quiet] if quiet is not None else ()),
        *(end - seconds for end in ends for seconds in stalled if seconds < end),
        *seconds_until_reclaim(node, history, policy, now),
        *(REFUSAL_SECONDS - s for s in lacking if s < REFUSAL_SECONDS),
    ]


def seconds_until_reclaim(
    node: NodeState, history: PoolHistory, policy: SizingPolicy, now: float
) -> list[float]:
    """Return the seconds until idle ENIs, and addresses to spare, may be taken back."""
    after = policy.reclaim_after
    if after is None or not node.selected:
        return []
    idle = (e.idle_seconds for e in node.enis if e.usable)
    due = [after - seconds for seconds in idle if seconds is not None and seconds < after]
    known, have = history.nodes.get(node.name), sum(e.serving for e in node.enis)
    if policy.elastic and known is not None and have > full_addresses(node, policy):
        due.append(known.seconds_until_peak_below(have, now, after))
    return due


def _is_new(eni: ENI, now: str) -> bool:
    """Return True if the ENI has not been Ready yet, as far as its age tells."""
    if is_true(eni.status.conditions, Type.READY):
        return False
    try:
        age = (parse_time(now) - parse_time(eni.metadata.creation_timestamp)).total_seconds()
    except ValueError:
        return False
    return age <= MAX_REFILL


def _lacks_addresses(eni: ENI) -> bool:
    return is_true(eni.status.conditions, Type.READY) and capacity_of(eni) < eni.spec.address_count
