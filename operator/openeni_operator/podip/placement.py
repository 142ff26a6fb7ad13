"""Decide what becomes of a watched PodIP: how long it is kept, and where its addresses are. Pure.

Its addresses shall be on one ENI of a node: that on which a pod of its name waits, else its own.
They get there in steps, each of which is written before it has an effect, so that the next
reconcile goes on from any of them: the PodIP gives up its ENI; the pool has the address retired and
released there; the PodIP moves to the node; once that node's agent has seen for whom the address
is, the PodIP gets an ENI of the node, whose port gets the address.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.capacity import Growth
from openeni_crds.conditions import Condition, Reason, Status, Type, condition, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.podip import PodIP
from openeni_operator.cause import Cause
from openeni_operator.claims import IN_PROGRESS
from openeni_operator.cloud.unassignable import role_of
from openeni_operator.podip.facts import PlacementFacts
from openeni_operator.podip.plan import is_without_pod
from openeni_operator.podip.target_eni import awaited_room, can_get, choose_eni, may_keep, may_serve

# Others have got the address on its way: a pod that did not ask for it by name gets another one.
LOST: Final = frozenset(
    {
        Reason.ADDRESS_IN_USE,
        Reason.ADDRESS_IS_PRIMARY,
        Reason.ADDRESS_IS_RESERVED,
        Reason.ADDRESS_TAKEN,
    }
)
# Why the cloud refuses an address: another port has it, or no port may. Whoever lacks a right or a
# quota does not lose it.
ABOUT_THE_ADDRESS: Final = frozenset({Reason.CONFLICT, Reason.INVALID_SPEC})
POLL: Final = 2.0  # seconds, while the addresses are on their way
SLOW_POLL: Final = 15.0  # for what only somebody else can change


@dataclass(frozen=True)
class EndPodIP:
    """Delete the PodIP: its addresses are kept no longer."""


@dataclass(frozen=True)
class ClearENI:
    """The addresses are to leave the ENI in the PodIP's spec."""


@dataclass(frozen=True)
class MoveToNode:
    """The addresses are on no ENI any more: they are to go to this node."""

    node: str


@dataclass(frozen=True)
class SetENI:
    """The port of this ENI is to get the addresses."""

    eni: str


PodIPChange: TypeAlias = EndPodIP | ClearENI | MoveToNode | SetENI


@dataclass(frozen=True)
class Decision:
    """The conditions to write, the change to make, and the seconds until the next look."""

    conditions: tuple[Condition, ...] = ()
    change: PodIPChange | None = None
    after: float | None = None


def decide(facts: PlacementFacts) -> Decision:
    """Return what to do about the PodIP now."""
    podip = facts.podip
    if podip.metadata.deleting:
        return Decision()
    retained = _retained(facts)
    left = podip.retention_seconds
    if left is not None and facts.retained_seconds is not None:
        left = max(0.0, left - facts.retained_seconds)
    if _is_over(facts, left):
        return Decision(retained, EndPodIP())
    due = left if retained and is_true(retained, Type.RETAINED) else None
    if not _is_claimed(facts):
        return Decision((*retained, *_settled(facts)), after=due)
    cause, change = _place(facts)
    said = cause
    if facts.waiter is None and cause is not None and cause.reason is Reason.WAITING_FOR_ADDRESS:
        said = Cause(Reason.ADDRESS_NOT_ON_PORT, cause.message)  # nobody waits
    placed = _placed(podip, said)
    lost = cause is not None and cause.reason in LOST and not _is_by_name(facts)
    if lost and podip.is_retained and facts.waiter is not None and facts.released:
        return Decision((*retained, placed), EndPodIP())
    after = None if cause is None else POLL if cause.reason in IN_PROGRESS else SLOW_POLL
    return Decision((*retained, placed), change, after)


def _retained(facts: PlacementFacts) -> tuple[Condition, ...]:
    podip = facts.podip
    if not podip.is_retained:
        return ()
    known = find(podip.status.conditions, Type.RETAINED)
    if not facts.released and known is None:
        return ()
    reason = Reason.RETAINED if facts.released else Reason.IN_USE
    generation = podip.metadata.generation
    return (condition(Type.RETAINED, reason, status=facts.released, generation=generation),)


def _is_over(facts: PlacementFacts, left: float | None) -> bool:
    """Return True if the PodIP is not to be kept any longer; one in use always is."""
    if not (facts.podip.is_retained and facts.released):
        return False
    if facts.pool_gone:
        return True
    waiter = facts.waiter
    if waiter is not None:
        other = not waiter.wishes and waiter.node != facts.podip.spec.node_name
        return other or waiter.pool not in {"", facts.podip.spec.pool_name}
    return left == 0.0 and facts.retained_seconds is not None


def _is_claimed(facts: PlacementFacts) -> bool:
    """Return True if the addresses are to be brought to a node, or back to it."""
    podip = facts.podip
    if facts.waiter is not None:  # another pod's is on its way out if it goes with its pod
        return podip.is_retained or facts.node == podip.spec.node_name
    return podip.is_retained and facts.current is None and facts.node_exists


def _is_by_name(facts: PlacementFacts) -> bool:
    return facts.waiter is not None and facts.waiter.by_name


def _settled(facts: PlacementFacts) -> tuple[Condition, ...]:
    """Return Placed where nobody asks for the address now, if it is not what was said."""
    podip, known, node = facts.podip, facts.podip.placed, facts.podip.spec.node_name
    text, has_eni = ", ".join(podip.spec.addresses), bool(podip.spec.eni_name)
    is_lost = podip.is_retained and facts.released and (has_eni or facts.node_gone)
    if (is_lost or (has_eni and known)) and not all(map(facts.enis.get, podip.spec.addresses)):
        since = f", since node {node} is gone" if facts.node_gone else ""
        message = f"{text} is on no port{since}: another port may get it before the pod is back"
        return (_placed(podip, Cause(Reason.ADDRESS_NOT_ON_PORT, message)),)
    if has_eni:
        is_said = known is None or known.status == Status.TRUE
        return () if is_said else (_placed(podip, None),)
    if podip.is_retained or not is_without_pod(podip):
        return ()
    return (_placed(podip, Cause(Reason.RETAINED, f"no pod waits for {text} on node {node}")),)


def _placed(podip: PodIP, cause: Cause | None) -> Condition:
    """Return the condition, which is False for the cause, if there is one."""
    return condition(
        Type.PLACED,
        cause.reason if cause else Reason.PLACED,
        cause.message if cause else "",
        status=cause is None,
        generation=podip.metadata.generation,
    )


def _place(facts: PlacementFacts) -> tuple[Cause | None, PodIPChange | None]:
    """Return what is still missing, None if nothing is, and the next step."""
    addresses = facts.podip.spec.addresses
    missing = [a for a in addresses if _holder(facts, a) is None]
    elsewhere = facts.podip.spec.node_name != facts.node
    obstacles = (
        *(_other_owner(facts, address) for address in addresses),
        *(_use(facts, address) for address in (addresses if elsewhere else missing)),
        *(_immobility(facts, address) for address in missing),
    )
    cause = next((c for c in obstacles if c is not None), None)
    if cause is not None:
        return cause, None
    if not (missing or elsewhere):
        return None, _stay(facts)
    holders = [eni for address in missing for eni in facts.enis.get(address, ())]
    if holders:
        return _leave(facts, holders[0], missing)
    if elsewhere:
        waiting = f"{', '.join(addresses)} is on its way to node {facts.node}"
        return Cause(Reason.WAITING_FOR_ADDRESS, waiting), MoveToNode(facts.node)
    return _arrive(facts, missing)


def _stay(facts: PlacementFacts) -> PodIPChange | None:
    """Have a PodIP that was to leave its ENI stay there, once no pod waits elsewhere any more."""
    if facts.podip.spec.eni_name or facts.waiter is not None:
        return None
    holder = _holder(facts, facts.podip.spec.addresses[0])
    return SetENI(holder.name) if holder is not None else None


def _holder(facts: PlacementFacts, address: str) -> ENI | None:
    """Return the ENI of the node that has the address for the PodIP's pods.

    One that serves no pods has it for the pod that runs with it, and for no other: its agent grants
    nothing of it, and it may take long to go, or to be mended.
    """
    in_use_on = "" if facts.released else facts.podip.spec.eni_name
    for eni in facts.enis.get(address, ()):
        has = eni.status.port is not None and address in eni.status.port.addresses
        serves = may_serve(eni) or eni.name == in_use_on
        if has and serves and eni in facts.on_node:
            return eni
    return None


def _other_owner(facts: PlacementFacts, address: str) -> Cause | None:
    """Return whose the address is, if it is not the pod's to have."""
    podip, enis = facts.podip, facts.enis.get(address, ())
    ports = (e.status.port for e in (*facts.on_node, *enis))
    role = role_of(address, [subnet for port in ports if port for subnet in port.subnets])
    if role:
        return Cause(Reason.ADDRESS_IS_RESERVED, f"{address} is {role}, which no pod gets")
    primary = next((e for e in enis if e.status.port and address in e.status.port.primary), None)
    if primary is not None:
        message = f"{address} is the primary address of ENI {primary.name}, which no pod gets"
        return Cause(Reason.ADDRESS_IS_PRIMARY, message)
    foreign = next((e for e in enis if e.spec.pool_name != podip.spec.pool_name), None)
    if foreign is not None:
        message = f"{address} is on ENI {foreign.name} of ENIPool {foreign.spec.pool_name}"
        return Cause(Reason.ADDRESS_TAKEN, message)
    rival = (facts.rivals or {}).get(address)
    if rival is not None:
        message = f"{address} is in use by pod {rival}, kept for it, or was asked for by it first"
        return Cause(Reason.ADDRESS_IN_USE, message)
    return None


def _use(facts: PlacementFacts, address: str) -> Cause | None:
    """Return that the pod of before still has the address, or may, by what the agent reports."""
    if facts.released:
        return None
    node = facts.podip.spec.node_name
    message = f"waiting until the agent of node {node} reports that no pod there has {address}"
    return Cause(Reason.WAITING_FOR_RELEASE, message)


def _immobility(facts: PlacementFacts, address: str) -> Cause | None:
    """Return why the address cannot be brought to the node, as things are."""
    pool, podip, enis = facts.pool, facts.podip, facts.enis.get(address, ())
    if pool is not None and pool.spec.paused:
        message = f"spec.paused of ENIPool {pool.name} is true: nothing is changed in the cloud"
        return Cause(Reason.PAUSED, message)
    if pool is None or pool.status.growth is not Growth.ELASTIC:
        message = (
            f"{address} is on {_where(facts, enis)}, and ENIPool {podip.spec.pool_name} moves no "
            "addresses: its growth is not Elastic"
        )
        return Cause(Reason.MOVE_UNSUPPORTED, message)
    return None


def _where(facts: PlacementFacts, enis: tuple[ENI, ...]) -> str:
    if not enis:
        return f"no node, not on node {facts.node}"
    if enis[0] in facts.on_node:
        why = "gives it up" if may_serve(enis[0]) else "has no link"
        ends = "is being deleted or replaced"
        return f"ENI {enis[0].name}, which {why if enis[0].offers_addresses else ends}"
    return f"node {enis[0].spec.node_name}, not on node {facts.node}"


def _leave(
    facts: PlacementFacts, holder: ENI, missing: list[str]
) -> tuple[Cause, PodIPChange | None]:
    """Have the addresses leave an ENI that is on another node, or serves no pods.

    On no port they might be lost: within a node they leave once another ENI can get them.
    """
    cause, chosen = choose_eni(facts.on_node, facts.node, missing)
    if holder in facts.on_node and chosen is None:
        return cause, None
    message = f"waiting until node {holder.spec.node_name} has given up ENI {holder.name}'s address"
    leaves = Cause(Reason.WAITING_FOR_RELEASE, message)
    return leaves, ClearENI() if facts.podip.spec.eni_name else None


def _arrive(facts: PlacementFacts, missing: list[str]) -> tuple[Cause, PodIPChange | None]:
    """Have an ENI of the node get the addresses, which are on none: they might be lost."""
    text, eni = ", ".join(missing), facts.current
    cause, chosen = choose_eni(facts.on_node, facts.node, missing)
    able = can_get if chosen is not None else may_keep
    if facts.podip.spec.eni_name:
        if eni is None or eni not in facts.on_node or not able(eni, missing):
            return Cause(Reason.WAITING_FOR_ADDRESS, f"{text} needs another ENI"), ClearENI()
        refused = [c for a in missing if (c := facts.refused(eni.name, a)) is not None]
        if refused:
            taken = refused[0].reason in ABOUT_THE_ADDRESS
            reason = Reason.ADDRESS_TAKEN if taken else Reason.WAITING_FOR_ADDRESS
            return Cause(reason, f"{text}: {refused[0].message}"), None
        return awaited_room(eni, facts.pool, text), None
    chosen = chosen or next((e for e in facts.on_node if may_keep(e, missing)), None)
    return cause, SetENI(chosen.name) if chosen is not None else None
