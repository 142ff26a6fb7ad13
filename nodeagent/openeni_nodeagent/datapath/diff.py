"""Compare observed with wanted state: the one comparison behind ADD, CHECK, DEL and repair."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, family_of
from openeni_nodeagent.datapath.model import (
    NIC,
    Address,
    Chain,
    Element,
    FlowtableLink,
    Item,
    Link,
    Neighbour,
    Operation,
    Qdisc,
    Route,
    RouteType,
    Rule,
    State,
    Sysctl,
    Verb,
)
from openeni_nodeagent.datapath.nft_sets import FLOW_CHAIN

# Each kind needs the ones before it; removals run in reverse order. Links are created, then their
# sysctls written, and only then are they set up: a link with IPv6 sends as soon as it is up. A NIC
# is there, and comes out of somebody's bridge before it gets slaves.
_ORDER: Final[dict[type[Item], int]] = {
    kind: position
    for position, kind in enumerate(
        (Sysctl, Link, Qdisc, Address, Neighbour, Route, Rule, Element, FlowtableLink, Chain)
    )
}

_Place: TypeAlias = tuple[str | int | bool, ...]


def diff(observed: State, wanted: State) -> tuple[Operation, ...]:
    """Return the operations, in order, that turn `observed` into `wanted`; () if they are equal.

    Neither may contain foreign objects: `ownership` filters what was observed.
    """
    kept = {i.identity for i in wanted if isinstance(i, Link)}
    lost = [i for i in observed if isinstance(i, Link) and _goes(i, kept)]
    surplus = observed - wanted
    missing = wanted - frozenset(i for i in observed if not any(_stands_on(i, e) for e in lost))
    there = {i.identity for i in observed if isinstance(i, Link)}
    created = [i for i in missing if isinstance(i, Link) and _is_created(i, there)]
    replaced = _replaced(observed, surplus, missing)
    return in_order(
        (
            *(Operation(Verb.REMOVE, i) for i in _gone(surplus - replaced, missing)),
            *(Operation(Verb.ADD, i) for i in created),
            *(Operation(_verb(i, replaced), i) for i in missing),
        )
    )


def in_order(operations: Collection[Operation]) -> tuple[Operation, ...]:
    """Return operations in the order to apply them in; they may be of several parts of the node.

    Operations of a kind come together: all chains are one run of nft, in which one that goes may
    still be what another was told to jump to. A rule goes last if anything comes: until then,
    chains may give packets the mark that it has, and what ends them in its table stays there. And a
    rule by which pods reach what only a chain keeps them from comes after that. By IPv6 a route's
    gateway needs a route in the same table.

    Chains that set marks need routes and rules. Those that only protect come before all else: no
    refusal holds them back, and they are there once their NIC is up.
    """
    coming = [o for o in operations if o.verb is not Verb.REMOVE]
    created = [o.item for o in operations if o.verb is Verb.ADD and isinstance(o.item, Link)]
    # The kernel may take a route that goes for one that has come with its destination.
    tables = {o.item.table for o in coming if isinstance(o.item, Route)}

    def place(operation: Operation) -> tuple[int, int, bool]:
        kind = _ORDER[type(operation.item)]
        goes, first = operation.verb is Verb.REMOVE, operation.verb is Verb.ADD
        position: tuple[int, int] = (0, -kind) if goes else (2, kind)
        match operation.item:
            case Chain() as chain if coming:
                position = (-1, 0) if chain.protects and not goes else (2, kind)
            case (Rule() | Route()) as item if goes and coming and _goes_last(item, tables):
                position = 3, isinstance(item, Route)
            case Rule(priority=names.RULE_ANSWER_V6) if not goes:
                position = 2, len(_ORDER)
            case Sysctl() as written if not any(_stands_on(written, link) for link in created):
                position = 1, -2
            case Link() as link if link.kind == NIC and not goes:
                position = 1, -1
            case Link() if first:
                position = 1, 0
            case _:
                pass
        by_gateway = isinstance(operation.item, Route) and bool(operation.item.gateway)
        return position[0], position[1], by_gateway

    return tuple(sorted(operations, key=place))


def is_link_creation(operation: Operation) -> bool:
    return isinstance(operation.item, Link) and operation.verb is Verb.ADD


def losing_ipv4(there: Iterable[Item], kept: Iterable[Item]) -> frozenset[int]:
    """Return the links that lose the last of their IPv4 addresses, which is others'."""
    return frozenset(_with_ipv4(there) - _with_ipv4(kept))


def without_flushed(observed: State, losing: Collection[int]) -> State:
    """Return what is left once links have lost the last of their IPv4 addresses.

    With it the kernel takes the link's IPv4 routes and neighbours (fib_disable_ip, arp_ifdown),
    also those of pods behind the host's slave. So they count as missing, and come at once.
    """
    if not losing:
        return observed

    def goes(item: Item) -> bool:
        match item:
            case Route(destination=place, index=index) | Neighbour(address=place, index=index):
                return index in losing and family_of(place) == IPV4
            case _:
                return False

    return frozenset(i for i in observed if not goes(i))


def differing_from(seen: State, operations: Iterable[Operation]) -> Iterator[Operation]:
    """Yield the operations but those that put back what is there, and would go with an address."""
    return (o for o in operations if o.verb is Verb.REMOVE or o.item not in seen)


def with_lower_mtus(planned: State, seen: State) -> State:
    """Return the plan with the MTUs of those links that have a lower one than planned."""
    mtus = {i.index: i.mtu for i in seen if isinstance(i, Link)}
    return frozenset(
        replace(i, mtu=min(i.mtu, mtus.get(i.index, i.mtu))) if isinstance(i, Link) else i
        for i in planned
    )


def changes_links(operations: Iterable[Operation]) -> bool:
    """Return True if a link is to be created or removed: a pod has to be built anew."""
    return any(isinstance(o.item, Link) and o.verb is not Verb.CHANGE for o in operations)


def is_offload(operation: Operation) -> bool:
    """Return True for what only makes packets faster: all else works without it."""
    match operation.item:
        case FlowtableLink():
            return True
        case Chain() as chain:
            return chain.name.endswith(FLOW_CHAIN)
        case _:
            return False


def _with_ipv4(items: Iterable[Item]) -> set[int]:
    return {i.index for i in items if isinstance(i, Address) and family_of(i.address) == IPV4}


def _goes_last(item: Rule | Route, others: Collection[int]) -> bool:
    """Return True for a rule, and for what ends packets in a table that is none of `others`."""
    if isinstance(item, Rule):
        return True
    return item.type is not RouteType.UNICAST and item.table not in others


def _is_created(link: Link, there: set[tuple[str | int, ...]]) -> bool:
    """Return True for a link that has to be created; a NIC that is missing has to be plugged."""
    return link.kind != NIC and link.identity not in there


def _goes(link: Link, kept: set[tuple[str | int, ...]]) -> bool:
    """Return True for a link to be removed; the kernel removes what depends on it."""
    return link.kind != NIC and link.identity not in kept


def _stands_on(item: Item, link: Link) -> bool:
    if isinstance(item, Sysctl):
        return f"/{link.name}/" in item.path
    if not isinstance(item, Link | Address | Route | Neighbour | Qdisc):
        return False
    return item.index == link.index


def _place(item: Item) -> _Place | None:
    """Return what the kernel has one route or neighbour for, which another one can replace.

    None for other items, for routes that reject packets, which by IPv6 stand beside others, and for
    routes of others: with a TOS, say, they have another place.
    """
    match item:
        case Route(type=RouteType.UNICAST, protocol=names.PROTOCOL):
            return item.destination, item.table, item.metric
        case Neighbour():
            return item.index, item.address, bool(item.mac)
        case _:
            return None


def _replaced(observed: State, surplus: State, missing: State) -> State:
    """Return surplus routes and neighbours, and the missing ones that come in the place of each.

    The kernel replaces one at once: no packet finds the place empty. Of several in one place, as
    there may be by IPv6, it would replace any.
    """
    counted = Counter(map(_place, observed))
    places = {place for place in map(_place, surplus) if place and counted[place] == 1}
    places &= set(map(_place, missing))
    return frozenset(i for i in surplus | missing if _place(i) in places)


def _verb(item: Item, replaced: State) -> Verb:
    return Verb.CHANGE if isinstance(item, Link) or item in replaced else Verb.ADD


def _gone(surplus: State, missing: State) -> Iterable[Item]:
    """Yield surplus items that must be removed, as opposed to overwritten by a missing one."""
    links = {i.identity for i in missing if isinstance(i, Link)}
    chains = {(i.family, i.name) for i in missing if isinstance(i, Chain)}
    shaped = {i.index for i in missing if isinstance(i, Qdisc)}
    for item in surplus:
        match item:
            case Sysctl():
                continue
            case Link() if item.kind == NIC or item.identity in links:
                continue
            case Chain() if (item.family, item.name) in chains:
                continue
            case Qdisc() if item.index in shaped:
                continue
            case _:
                yield item
