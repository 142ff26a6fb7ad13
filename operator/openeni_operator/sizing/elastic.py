"""Plan single addresses of the ENIs that a node has: which ENI gets more, which one gives back.

One call changes an ENI's port, however many addresses it is about, so as few ENIs as possible are
touched. Between `target_addresses` and `full_addresses` nothing is changed: a node whose demand
stays the same neither grows nor shrinks. Pure.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from openeni_crds.status.eni import MOST_PODS
from openeni_operator.sizing.demand import full_addresses, usage_of
from openeni_operator.sizing.state import (
    UNBOUNDED,
    Action,
    CreateENI,
    ENIState,
    GrowENI,
    NodeState,
    RetireAddresses,
    RetireENI,
    SizingPolicy,
)

# The cloud may refuse a single request: what lasts longer does not end by the next attempt.
REFUSAL_SECONDS: Final = 60.0


def grow(node: NodeState, policy: SizingPolicy, wanted: int, left: int) -> tuple[GrowENI, ...]:
    """Return which ENIs get `wanted` addresses in all; the node may hold `left` more.

    First those whose addresses are still being asked for, which costs no call, then those that pods
    can use at once.
    """
    actions: list[GrowENI] = []
    for eni in sorted(node.enis, key=lambda e: (e.count >= e.addresses, not e.ready, e.name)):
        if not _may_grow(eni, node):
            continue
        unasked = eni.held - eni.count
        room = min(_room(eni, node), max(0, left - asked_in_vain(node, eni)))
        more = min(wanted, policy.addresses_per_eni - eni.count, unasked + room)
        if more > 0:
            actions.append(GrowENI(eni.name, eni.count + more))
            wanted -= more
            left -= max(0, more - unasked)
    return tuple(actions)


def shrink(node: NodeState, policy: SizingPolicy, have: int) -> tuple[Action, ...]:
    """Return what the node gives back, the newest ENIs first.

    An ENI whose port lacks what certain pods claim, perhaps for long, stays as it is: with fewer
    addresses it would have no room for them. So does one that all addresses leave: the last one
    goes when the ENI has another.
    """
    spare = have - _least(node, policy)
    actions: list[Action] = []
    for eni in sorted(node.enis, key=lambda e: e.name, reverse=True):
        free = eni.capacity - eni.granted - eni.cooling
        if not eni.ready or eni.claimed or eni.all_leave or free <= 0 or spare <= 0:
            continue
        if free == eni.capacity <= spare:
            return (RetireENI(eni.name),)
        keep = eni.count - min(spare, free, eni.count - 1)
        if keep < eni.count:
            actions.append(RetireAddresses(eni.name, keep))
            spare -= eni.count - keep
    return tuple(actions)


def corrections(
    node: NodeState, policy: SizingPolicy, planned: Collection[Action]
) -> tuple[GrowENI | RetireAddresses, ...]:
    """Return the ENIs whose requests are not what they should be, but for those in `planned`.

    An ENI gets room for the addresses that certain pods wait for on its node. It stops to ask for
    addresses that its subnets do not have, if others have them, and for those that it is refused
    once other ENIs have what the node may hold, or are asked for it: see `_withdrawn`.
    """
    touched = {a.eni for a in planned if isinstance(a, GrowENI | RetireAddresses | RetireENI)}
    found: list[GrowENI | RetireAddresses] = []
    vain: dict[str, int] = {}  # what refused ENIs ask for before others
    left, taken, lacking = unheld(node, policy), added(node, planned), False
    spare = 0  # more that they ask for: not for pods that may come back
    for eni in sorted(node.enis, key=_precedence):
        if not eni.resizable or eni.name in touched:
            continue
        claims = _with_claims(eni, node)
        room = left - taken - (0 if eni.awaited else spare)
        wanted = min(claims, eni.held + max(0, room))
        lacking |= bool(eni.awaited) and wanted < claims
        if lacking and not eni.awaited:
            wanted = eni.addresses  # what goes makes room for pods that wait
        kept = max(eni.count, min(wanted, eni.asked))
        if wanted > max(eni.addresses, eni.asked):
            found.append(GrowENI(eni.name, wanted))
            taken += max(0, wanted - eni.held)
        elif eni.misasked or (eni.scarce and node.has_elsewhere(eni) and kept < eni.asked):
            found.append(RetireAddresses(eni.name, kept))
        elif eni.refused:  # once it is not any more, it gets all that it asks for at once
            vain[eni.name] = min(max(0, left), _vain(eni, node, all_of_it=_is_refused_lately(eni)))
            left -= vain[eni.name]
            spare += max(0, eni.asked - eni.held - vain[eni.name])
    awaited = {e.name for e in node.enis if e.awaited}
    for_pods = added(node, (a for a in found if a.eni in awaited))
    for_pods += min(node.waiting, added(node, planned))
    return (*found, *_withdrawn(node, vain, left, for_pods))


def _precedence(eni: ENIState) -> tuple[bool, bool, bool, float]:
    """Return the order in which ENIs have what is left: those that pods wait for come first.

    One that asks already does so before one that would ask next, until it is refused for long.
    """
    lately = _is_refused_lately(eni)
    return not eni.awaited, eni.refused and not lately, not lately, eni.lacking_seconds


def _withdrawn(
    node: NodeState, vain: Mapping[str, int], left: int, for_pods: int
) -> tuple[RetireAddresses, ...]:
    """Return the requests of refused ENIs that exceed what is `left`: the oldest give way.

    They give way, too, to growth `for_pods` that wait, which may find no other room in the pool.
    """
    found: list[RetireAddresses] = []
    refused = (e for e in node.enis if e.name in vain)
    for eni in sorted(refused, key=lambda e: e.lacking_seconds):
        room = max(0, left - (0 if _is_refused_lately(eni) else for_pods))
        first = vain[eni.name]
        allowed = min(eni.asked, max(1, eni.held + first + room))
        if allowed < eni.asked:
            found.append(RetireAddresses(eni.name, allowed))
        left -= max(0, allowed - eni.held - first)
    return tuple(found)


def added(node: NodeState, planned: Iterable[Action]) -> int:
    """Return how many addresses more the node holds once this growth is done."""
    held = {eni.name: eni.held for eni in node.enis}
    more = 0
    for action in planned:
        match action:
            case CreateENI(_, addresses):
                more += addresses
            case GrowENI(name, addresses):
                more += max(0, addresses - held[name])
            case _:
                pass
    return more


def make_room(
    node: NodeState, policy: SizingPolicy, planned: Iterable[Action]
) -> tuple[RetireAddresses, ...]:
    """Return which free addresses make room where a node that may hold no more has claims.

    Without them its pods would wait although others of the node can still start.
    """
    touched = {a.eni: a for a in planned if not isinstance(a, CreateENI)}
    given = sum(_given_back(eni, touched.get(eni.name)) for eni in node.enis)
    lacking = lacking_room(node, policy) - given
    actions: list[RetireAddresses] = []
    for eni in sorted(node.enis, key=lambda e: e.name, reverse=True):
        less = min(lacking, _dispensable(eni))
        if less > 0 and eni.name not in touched:
            actions.append(RetireAddresses(eni.name, eni.count - less))
            lacking -= less
    return tuple(actions)


def _given_back(eni: ENIState, planned: Action | None) -> int:
    match planned:
        case RetireAddresses(_, keep):
            return max(0, eni.count - keep)  # it may only ask for less than it does
        case RetireENI():
            return eni.count
        case _:
            return 0


def _dispensable(eni: ENIState) -> int:
    """Return how many addresses the ENI can do without: what nobody waits for, else free ones."""
    if not eni.resizable or (eni.awaited and eni.asked > eni.addresses):
        return 0
    if eni.reserved:
        return eni.reserved
    free = min(eni.capacity - eni.granted - eni.cooling, eni.capacity - 1)
    return free if eni.ready else 0


def lacking_room(node: NodeState, policy: SizingPolicy) -> int:
    """Return how many claims, for which pods wait, exceed what the node may hold.

    What is being given back leaves room for them.
    """
    claims = sum(
        max(0, min(MOST_PODS, e.addresses + e.claimed) - max(e.addresses, e.asked))
        for e in node.enis
        if e.resizable and e.awaited
    )
    going = sum(map(_going, node.enis))
    return max(0, claims - max(0, unheld(node, policy)) - going)


def _going(eni: ENIState) -> int:
    """Return how many addresses leave the ENI soon.

    One that is to go may have pods for long, and goes after the last cool-down.
    """
    if eni.usable:
        return eni.held - eni.count
    return eni.releasing if eni.granted or eni.cooling else eni.held


def _with_claims(eni: ENIState, node: NodeState) -> int:
    """Return how many addresses the ENI is to have for its claims.

    It has one address at least: if its subnets have another, that takes the place of the last one
    that leaves.
    """
    last_leaves = eni.all_leave and eni.addresses == 1 and _room(eni, node) > 0
    return min(MOST_PODS, eni.addresses + eni.claimed + last_leaves)


def unheld(node: NodeState, policy: SizingPolicy) -> int:
    """Return how many addresses more the node may hold; those that go are still there.

    It is negative if the limit was lowered.
    """
    most = UNBOUNDED if policy.max_addresses is None else policy.max_addresses
    return most - sum(e.held for e in node.enis)


def asked_in_vain(node: NodeState, other: ENIState | None = None) -> int:
    """Return how many addresses ENIs are refused that no `other` one is asked for instead.

    Within the node's limit its request would end theirs, or theirs would end it where pods wait for
    what they claim. If it is refused as well, the one that ended comes back: with a call each time,
    and for ever.
    """
    return sum(
        _vain(e, node, all_of_it=holds_others(e, node) and not _is_elsewhere(other, e))
        for e in node.enis
        if e.resizable
    )


def _vain(eni: ENIState, node: NodeState, *, all_of_it: bool) -> int:
    """Return how many addresses it is refused, or only those of them that pods wait for."""
    asked = eni.asked if all_of_it or not eni.awaited else min(eni.asked, _with_claims(eni, node))
    return max(0, asked - eni.held) if all_of_it or eni.awaited else 0


def _is_elsewhere(other: ENIState | None, scarce: ENIState) -> bool:
    """Return True if the other one would find addresses where the scarce one has none."""
    if other is None or not scarce.scarce or other.subnets == scarce.subnets:
        return False
    return other.subnets.isdisjoint(scarce.subnets)


def _is_refused_lately(eni: ENIState) -> bool:
    return eni.refused and eni.lacking_seconds < REFUSAL_SECONDS


def holds_others(eni: ENIState, node: NodeState) -> bool:
    """Return True if no other ENI is created or grows instead of one that the cloud gives nothing.

    It would be refused the same, or it is not known yet that it would not be needed.
    """
    return not node.has_elsewhere(eni) if eni.scarce else _is_refused_lately(eni)


def _may_grow(eni: ENIState, node: NodeState) -> bool:
    cannot_grow = eni.no_slot or eni.stuck or eni.exhausted or eni.refused
    return eni.resizable and not cannot_grow and node.can_create


def _room(eni: ENIState, node: NodeState) -> int:
    """Return how many addresses to ask for: if no subnet has any, the cloud says so."""
    return eni.room if eni.room > 0 or node.has_elsewhere(eni) else UNBOUNDED


def _least(node: NodeState, policy: SizingPolicy) -> int:
    """Return down to how many addresses the node may shrink now."""
    full = full_addresses(node, policy)
    usage = usage_of(node)
    at_once = (
        UNBOUNDED
        if policy.max_available is None
        else max(full, usage.granted + usage.cooling + policy.max_available)
    )
    if policy.reclaim_after is None or node.peak is None:
        return at_once
    return min(at_once, max(full, node.peak))
