"""Plan the ENIs of one pool on one node: the addresses it should hold against those it has.

A static ENI gets its addresses at its creation, and whole ENIs come and go; `elastic` plans single
addresses. A retirement is withdrawn if its reason goes, until the ENI is deleted. A node gets one
new ENI at a time: until it is ready, the next one might fail in the same way. One that is stuck is
passed over, since the fault may be its own; a second stuck ENI suggests that the cause is
elsewhere.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from openeni_operator.sizing import elastic
from openeni_operator.sizing.demand import (
    full_addresses,
    needed_addresses,
    target_addresses,
)
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    DeleteENI,
    ENIState,
    GrowENI,
    NodeState,
    Plan,
    RetireAddresses,
    RetireENI,
    SizingPolicy,
    UnretireENI,
)

# An ENI without a slot, or stuck, is kept this long though unneeded: it predicts how the next one
# would fare, and serves once the obstacle is gone.
FAILURE_MEMORY_SECONDS: Final = 3600.0


def plan(node: NodeState, policy: SizingPolicy) -> Plan:
    """Return the actions to take now; none if the node has what it should."""
    if node.missing:
        return Plan(tuple(DeleteENI(e.name) for e in node.enis if e.orphaned and not e.deleting))
    target, have = target_addresses(node, policy), sum(e.capacity for e in node.enis)
    short = node.selected and target > have
    never = policy.reclaim_after is None and policy.max_available is None
    kept = _kept(node, short=short, never=never)
    removals = tuple(
        action
        for eni in node.enis
        if eni not in kept and (action := _remove(eni, selected=node.selected)) is not None
    )
    if kept:
        return Plan((*removals, *(UnretireENI(eni.name) for eni in kept)))
    if not node.selected:
        return Plan(removals)
    if short:
        planned = _grow(node, policy, target - have)
    elif node.waiting and needed_addresses(node) > have:
        planned = Plan(limit_reached=True)  # of maxAddressesPerNode
    elif any(e.misasked and e.resizable for e in node.enis):
        planned = Plan()  # once that is corrected: it may have fewer addresses for pods then
    else:
        planned = Plan(_shrink(node, policy, target))
    if not policy.elastic:
        settled = _settle(node, planned.actions)
        return replace(planned, actions=(*removals, *settled, *planned.actions))
    corrected = elastic.corrections(node, policy, planned.actions)
    actions = (*corrected, *planned.actions)
    room = elastic.make_room(node, policy, actions)
    lacks_room = not (room or planned.actions) and elastic.lacking_room(node, policy) > 0
    return Plan((*removals, *room, *actions), planned.limit_reached or lacks_room)


def _kept(node: NodeState, *, short: bool, never: bool) -> tuple[ENIState, ...]:
    """Return the retiring ENIs whose retirement is withdrawn.

    They are those that pods got addresses of while the request was on its way, and one at a time of
    those that would serve pods, if the node is `short` of addresses, or if it `never` gives back
    any: then the ENI was retired until its port was attached anew.
    """
    retiring = [eni for eni in node.enis if eni.may_return]
    used = tuple(eni for eni in retiring if node.selected and eni.granted)
    useful = tuple(eni for eni in retiring if not eni.stuck)
    return used or useful[: int(short or (never and node.selected))]


def _remove(eni: ENIState, *, selected: bool) -> Action | None:
    """Return the next action to remove an ENI that must go: first retire it, then delete it.

    One whose port stays inactive is retired, too, but until its port has been attached anew.
    """
    if eni.deleting:
        return None
    if eni.orphaned or eni.exhausted:
        return DeleteENI(eni.name)
    if selected and not (eni.retiring or eni.broken):
        return _clear_inactive(eni) if eni.inactive and not eni.all_asked else None
    return _retire_then_delete(eni)


def _clear_inactive(eni: ENIState) -> Action | None:
    """Ask for all addresses once no pod of the node needs one; before, for what leaves the ENI."""
    if eni.all_leave or not eni.granted:
        return RetireENI(eni.name)
    return RetireAddresses(eni.name, eni.count) if eni.misasked else None


def _retire_then_delete(eni: ENIState) -> Action | None:
    """Retire the ENI, or delete it once all its addresses are retired."""
    if eni.all_retired:
        return DeleteENI(eni.name)
    return None if eni.all_asked else RetireENI(eni.name)


def _grow(node: NodeState, policy: SizingPolicy, lacking: int) -> Plan:
    """Return the plan of a node that lacks addresses: those of its ENIs first, then another ENI."""
    grown: tuple[GrowENI, ...] = ()
    size, left = policy.addresses_per_eni, elastic.unheld(node, policy)
    if policy.elastic:
        have = sum(e.capacity for e in node.enis)
        wanted = full_addresses(node, policy) - have
        grown = elastic.grow(node, policy, wanted, left)
        by_name = {eni.name: eni for eni in node.enis}
        served = sum(a.addresses - by_name[a.eni].count for a in grown)
        lacking -= served
        left -= elastic.added(node, grown)
        size = min(size, wanted - served)
    left -= elastic.asked_in_vain(node)
    if lacking <= 0 or any(e.usable and elastic.holds_others(e, node) for e in node.enis):
        return Plan(grown)
    size = min(size, left)
    no_slot = node.no_slot or any(e.no_slot and e.usable for e in node.enis)
    if len(node.enis) >= policy.max_enis or size < 1 or no_slot:
        return Plan(grown, limit_reached=node.waiting > 0)
    unready = [e for e in node.enis if e.usable and not e.ready]
    passed_over = len(unready) == 1 and unready[0].stuck
    if (unready and not passed_over) or not node.can_create:
        return Plan(grown)
    return Plan((*grown, CreateENI(node.name, size)))


def _settle(node: NodeState, planned: Collection[Action]) -> tuple[RetireAddresses, ...]:
    """Return the ENIs that stop to ask for what they lack since the pool is not elastic any more.

    It would count against limits for ever, and come at once, whatever they are by then, if the
    pool turned elastic again.
    """
    return tuple(
        RetireAddresses(eni.name, eni.settled)
        for eni in node.enis
        if eni.resizable and eni.settled is not None and RetireENI(eni.name) not in planned
    )


def _shrink(node: NodeState, policy: SizingPolicy, target: int) -> tuple[Action, ...]:
    """Retire at most one idle ENI, the newest first, if the others serve enough pods.

    ENIs that are not Ready do not count: they may never be.
    """
    have = sum(e.serving for e in node.enis)
    for eni in sorted(node.enis, key=lambda e: e.name, reverse=True):
        if not eni.usable or eni.claimed or have - eni.serving < target:
            continue
        action: Action | None = None
        if _has_failed_long_ago(eni):
            # an unattached one that was asked to retire counts as parked
            action = _retire_then_delete(eni)
        elif eni.resizable and _is_surplus(eni, node, policy, have):
            action = RetireENI(eni.name)
        if action is not None:
            return (action,)
    return elastic.shrink(node, policy, have) if policy.elastic else ()


def _has_failed_long_ago(eni: ENIState) -> bool:
    failed = eni.no_slot or (eni.stuck and not eni.granted)
    return failed and eni.stalled_seconds >= FAILURE_MEMORY_SECONDS


def _is_surplus(eni: ENIState, node: NodeState, policy: SizingPolicy, have: int) -> bool:
    if eni.idle_seconds is None or eni.no_slot:
        return False
    used = sum(e.granted + e.cooling for e in node.enis if e.usable)
    too_many = policy.max_available is not None and have - used > policy.max_available
    after = policy.reclaim_after
    return too_many or (after is not None and eni.idle_seconds >= after)
