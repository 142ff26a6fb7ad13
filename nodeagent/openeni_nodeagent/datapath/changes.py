"""Decide which of the kernel's notifications concern openeni: what others have changed of ours.

What this process changes itself is not looked at again, but for sysctls. The kernel says who asked
for a change of routes, rules, neighbours and IPv4 addresses, and `subscription` leaves these out.
It does not say so of links, IPv6 addresses and sysctls. Of links and IPv6 addresses, only what
differs from the plan, or goes, concerns us; every change of a sysctl does, so a look that restores
one is followed by another.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address

from openeni_crds import names
from openeni_nodeagent.addresses import host_cidr
from openeni_nodeagent.datapath.links import is_chosen
from openeni_nodeagent.datapath.model import (
    NIC,
    TABLE_LOCAL,
    Address,
    Item,
    Link,
    Neighbour,
    Route,
    Rule,
    State,
    Verb,
)
from openeni_nodeagent.datapath.ownership import as_nic, is_foreign, is_on_node, may_be_nic


class Kind(StrEnum):
    """Says what has changed."""

    LINK = "link"
    ADDRESS = "address"
    ROUTE = "route"
    RULE = "rule"
    NEIGHBOUR = "neighbour"
    FILTER = "filter"  # something in our nftables tables
    SYSCTL = "sysctl"  # forwarding, rp_filter, proxy_arp, proxy_ndp: the kernel tells of no others
    UNKNOWN = "unknown"  # notifications may have been lost


@dataclass(frozen=True, slots=True)
class Change:
    """One notification: the item that is (ADD) or is no longer (REMOVE) in the kernel."""

    kind: Kind
    verb: Verb
    item: Item | None = None  # None: of FILTER, SYSCTL and UNKNOWN


@dataclass(frozen=True, slots=True)
class Watched:
    """Holds what is known of planned links and addresses, to compare notifications with."""

    links: Mapping[int, Link]  # by index: NICs, the host's slaves, and what pods have on the host
    addresses: frozenset[Address]
    macs: frozenset[str]  # of the ENIs, also of those whose NIC is not there yet
    disconnected: Container[str] = ()  # names of pods' links that may go: their DEL has run
    present: frozenset[str] = frozenset()  # addresses of the node that its links had
    absent: frozenset[str] = frozenset()  # and those that none of them had


def watched(
    planned: State,
    seen: State,
    macs: frozenset[str],
    disconnected: Container[str] = (),
    node: Iterable[str] = (),
) -> Watched:
    """Return what to watch, of the node's plan, its ENIs' MACs and the pods that had a DEL.

    What is planned depends on which of the addresses of the `node` its other links have.

    What the last look has `seen` of a link is nothing new, although it could not make it as
    planned: each attempt has the kernel tell of it. Links of pods without a plan, as while their
    ENI has no NIC, are watched, too.
    """
    links = {item.index: item for item in planned if isinstance(item, Link)}
    for link in seen:
        if isinstance(link, Link):
            as_planned = links.get(link.index)
            if as_planned and as_planned.kind == NIC:
                links[link.index] = as_nic(link)
            elif as_planned or is_on_node(link):
                links[link.index] = link
    addresses = frozenset(item for item in planned if isinstance(item, Address))
    confirmed = (i for i in seen if isinstance(i, Address) and i.confirmed)
    others = {address.address for address in confirmed if address.index not in links}
    own = frozenset(str(ip_address(address)) for address in node)
    return Watched(links, addresses, macs, disconnected, own & others, own - others)


@lru_cache(maxsize=1)
def our_tables(links: frozenset[int]) -> frozenset[int]:
    """Return the tables of pods, and of ENIs if these are their links.

    What somebody adds there may have replaced a route of ours: the kernel tells of no deletion.
    """
    return frozenset({*names.TABLES_OF_PODS, *map(names.eni_table, links)})


def concerns_us(change: Change, watched: Watched) -> bool:
    """Return True if the node must be looked at after this change."""
    match change.item:
        case Link() as link:
            return _link_concerns_us(change.verb, link, watched)
        case Address() as address:
            return _address_concerns_us(change.verb, address, watched)
        case Route() as route if route.protocol != names.PROTOCOL:
            return _route_concerns_us(change.verb, route, watched)
        case Rule() as rule:  # all of ours stand behind that for the table `local`
            return rule.protocol == names.PROTOCOL or rule.table == TABLE_LOCAL
        case Route() | Neighbour() as item:
            return item.protocol == names.PROTOCOL
        case _:
            return True


def _route_concerns_us(verb: Verb, route: Route, watched: Watched) -> bool:
    """Decide for a route that is not ours; the kernel's own to an address may go without it."""
    if route.table == TABLE_LOCAL:
        hosts = ((a.index, host_cidr(a.address)) for a in watched.addresses)
        return verb is Verb.REMOVE and (route.index, route.destination) in hosts
    is_ours = route.table in our_tables(frozenset(watched.links))
    is_near = route.index in watched.links and is_foreign(route)
    return verb is Verb.ADD and (is_ours or is_near)


def _link_concerns_us(verb: Verb, link: Link, watched: Watched) -> bool:
    if link.name in watched.disconnected:
        return False
    if planned := watched.links.get(link.index):
        seen = as_nic(link) if planned.kind == NIC else link
        # Proxies go with the carrier (neigh_carrier_down), of which the kernel tells nothing.
        is_or_was_dead = planned.kind == NIC and not (link.carrier and planned.carrier)
        return verb is Verb.REMOVE or seen != planned or is_or_was_dead
    if may_be_nic(link) and not watched.macs.isdisjoint({link.mac, link.permanent_mac}):
        return verb is Verb.ADD  # plugged in, perhaps again
    if link.alias != names.LINK_ALIAS:
        return False
    # A pod's; its ADD sets the alias together with `up`.
    return verb is Verb.REMOVE or not link.up or not link.name.startswith(names.LINK_PREFIX)


def may_be_ours(index: int, watched: Watched) -> bool:
    """Return True for a link that is watched, or may be of a pod that no look has seen yet."""
    return index in watched.links or is_chosen(index)


def _address_concerns_us(verb: Verb, address: Address, watched: Watched) -> bool:
    if address in watched.addresses:
        return verb is Verb.REMOVE
    if not may_be_ours(address.index, watched):
        is_away = verb is Verb.REMOVE or not address.confirmed
        return address.address in (watched.present if is_away else watched.absent)
    if verb is Verb.REMOVE:  # with the last one go our routes and neighbours (`compare`)
        return all(planned.index != address.index for planned in watched.addresses)
    return not address.address.startswith("fe80:")
