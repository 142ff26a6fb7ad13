"""Select the observed items that belong to the node, to one ENI or to one pod.

Ownership is exact: our protocol number on routes, rules and neighbours, our alias on links. On an
ENI, which is ours as a whole, it includes what the image or a DHCP client has added.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from openeni_crds import names
from openeni_nodeagent.addresses import IPV6, family_of, host_cidr
from openeni_nodeagent.datapath.links import chosen_index
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    NIC,
    RTPROT_KERNEL,
    TABLE_LOCAL,
    VETH,
    Address,
    Element,
    Item,
    Link,
    Neighbour,
    Qdisc,
    Route,
    Rule,
    State,
)
from openeni_nodeagent.datapath.nft_sets import CATCH_ALL, PRIMARIES, address_in

# Devices that have the MAC of the NIC below or above them.
_NOT_NICS: Final = frozenset(
    {IPVLAN, "ipvtap", "macvlan", "macvtap", "macsec", "vlan", "bond", "team", "bridge"}
)
_GROUPS: Final = "ff00::/8"  # all of IPv6; before Linux 5.11 its route is a unicast one
_T = TypeVar("_T")
SHARED_RULES: Final = (
    names.RULE_TO_POD,
    names.RULE_TO_L2_POD,
    names.RULE_TO_L3_POD,
    names.RULE_REPLY,
)


def may_be_nic(link: Link) -> bool:
    """Return False for a device that has the MAC of the NIC below or above it."""
    return link.kind not in _NOT_NICS


def of_interface(state: State, name: str, addresses: tuple[str, ...]) -> State:
    """Return, of a pod's namespace, the interface and what openeni has put on it."""
    index = next((i.index for i in state if isinstance(i, Link) and i.name == name), 0)

    def mine(item: Item) -> bool:
        match item:
            case Link() | Route() | Neighbour():
                return item.index == index
            case Address():  # the pod may add others
                return item.index == index and item.address in addresses
            case _:
                return False

    # The pod may put its link into a bridge of its own, or have it ask for no neighbours.
    return frozenset(
        replace(i, master=0, default_arp=True) if isinstance(i, Link) else i
        for i in state
        if mine(i)
    )


def of_pod(state: State, addresses: tuple[str, ...], host_link: str) -> State:
    """Return the host's part of the pod with these addresses, connected to `host_link`.

    With whatever addresses that has from others: it has none of its own.
    """
    sources = set(map(host_cidr, addresses))
    links = {i for i in state if isinstance(i, Link) and i.kind == VETH and i.name == host_link}
    indexes = {link.index for link in links}

    def mine(item: Item) -> bool:
        match item:
            case Link():
                return item in links
            case Address():
                return item.index in indexes
            case Route():
                return item.table in names.TABLES_OF_PODS and item.destination in sources
            case Neighbour():
                return item.address in addresses
            case Element():
                return address_in(item.name, item.key, item.value) in addresses
            case _:
                return False

    return frozenset(i for i in state if mine(i))


def in_place_of(state: State, planned: State) -> State:
    """Return what stands where `planned` has a member of a map, or a token bucket.

    A qdisc that somebody else has put on a link of a pod without a limit is left alone.
    """
    members = {(i.name, i.key) for i in planned if isinstance(i, Element)}
    limited = {i.index for i in planned if isinstance(i, Qdisc)}
    return frozenset(
        i
        for i in state
        if (isinstance(i, Element) and (i.name, i.key) in members)
        or (isinstance(i, Qdisc) and i.index in limited)
    )


def pods(state: State) -> dict[str, str]:
    """Return the addresses that the node has anything of a pod for, with the device of their route.

    Without a route that is "": a DEL may have left the rest. It does not look, knows of no NIC
    while the ENI's part differs from its plan, and of no host port that another sandbox has taken.
    """
    links = {i.index: i.name for i in state if isinstance(i, Link)}
    pairs = {i.index for i in state if isinstance(i, Link) and is_pod_link(i)}
    return dict.fromkeys(_addresses_of_pods(state, pairs), "") | {
        i.destination.split("/")[0]: links.get(i.index, "")
        for i in state
        if isinstance(i, Route) and leads_to_pod(i)
    }


def leads_to_pod(route: Route) -> bool:
    return route.table in names.TABLES_OF_PODS and route.protocol == names.PROTOCOL


def is_pod_link(link: Link) -> bool:
    """Return True for the node's end of a pod's pair."""
    return link.kind == VETH and link.alias == names.LINK_ALIAS


def _addresses_of_pods(state: State, pairs: set[int]) -> Iterator[str]:
    """Yield the addresses in neighbours and sets, but for what goes with a pod's own link."""
    for item in state:
        if isinstance(item, Neighbour) and item.index not in pairs:
            yield item.address
        elif isinstance(item, Element) and not (
            item.name.startswith(PRIMARIES) or item.key == CATCH_ALL
        ):
            yield address_in(item.name, item.key, item.value)


def former_tables(state: State, enis: Mapping[str, _T]) -> dict[int, _T]:
    """Return the tables of ENIs from before their NICs were plugged again, or went, by their rules.

    `enis` has something of each by the CIDR of its primary address. Another link may have the
    former index now; then all of it is that link's.
    """
    present = {i.index for i in state if isinstance(i, Link)}
    return {
        i.table: enis[i.source]
        for i in state
        if isinstance(i, Rule)
        and i.priority == names.RULE_FROM_ENI
        and i.source in enis
        and i.table - names.TABLE_ENI_BASE not in present
    }


def is_host_slave(link: Link) -> bool:
    """Return True for a slave of an ENI that no pod has.

    The kernel sets no alias at a link's creation (rtnl_create_link), so an agent that was killed in
    between leaves one without; its name and its parent tell that it is ours. Its index does so once
    somebody has given it another name and alias.
    """
    if link.kind != IPVLAN:
        return False
    ours = names.host_slave(link.parent), names.reserving_slave(link.parent)
    named = any(link.name == name or link.index == chosen_index(name) for name in ours)
    return named or link.alias == names.LINK_ALIAS


def is_on_node(link: Link) -> bool:
    """Return True for a link that openeni has made in the node's namespace."""
    return is_host_slave(link) or is_pod_link(link)


def as_nic(link: Link) -> Link:
    """Return the link as a NIC, which is never created or removed, whatever its real kind."""
    return replace(link, kind=NIC, parent=0, mode=0, alias="", group=0)


def with_routed_addresses(state: State, nic: Link) -> State:
    """Return the state with the NIC's addresses marked whose routes of the kernel's own are lost.

    They come with an address, and do not come back. Without that to an address itself nobody is
    answered who asks for it. In IPv6 that comes a moment later (addrconf_dad_work), while the one
    to all groups is there as soon as the NIC has any address; who flushes takes both. Without them
    the kernel asks for no neighbour, and takes no answer.
    """
    routes = (i for i in state if isinstance(i, Route) and i.table == TABLE_LOCAL)
    local = {route.destination for route in routes if route.index == nic.index}

    def as_routed(item: Item) -> Item:
        if not isinstance(item, Address) or item.index != nic.index:
            return item
        is_ipv6 = family_of(item.address) == IPV6
        came_with_it = _GROUPS if is_ipv6 else host_cidr(item.address)
        return replace(item, is_routed=came_with_it in local)

    return frozenset(map(as_routed, state))


def is_foreign(route: Route) -> bool:
    """Return True for a route that neither openeni nor the kernel has added."""
    return route.protocol not in (names.PROTOCOL, RTPROT_KERNEL) and route.table != TABLE_LOCAL
