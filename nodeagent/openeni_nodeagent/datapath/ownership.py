"""Select the observed items that belong to the node, to one ENI or to one pod.

Ownership is exact: our protocol number on routes, rules and neighbours, our alias on links. On an
ENI, which is ours as a whole, it includes what the image or a DHCP client has added.
"""

from dataclasses import replace
from typing import Final

from openeni_crds import names
from openeni_nodeagent.addresses import host_cidr
from openeni_nodeagent.datapath.filters import ENI_CHAIN
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    NIC,
    VETH,
    Address,
    Chain,
    Element,
    Item,
    Link,
    Neighbour,
    Route,
    Rule,
    State,
)

# Devices that have the MAC of the NIC below or above them.
_NOT_NICS: Final = frozenset({IPVLAN, "macvlan", "vlan", "bond", "bridge"})
_RTPROT_KERNEL: Final = 2  # linux/rtnetlink.h: comes and goes with an address
_TABLE_LOCAL: Final = 255  # RT_TABLE_LOCAL
_SHARED: Final = (names.RULE_TO_POD, names.RULE_REPLY)


def find_nic(links: State, mac: str) -> Link | None:
    """Return the NIC with this MAC; udev may have renamed it."""
    found = (i for i in links if isinstance(i, Link) and i.mac == mac.lower())
    return next((_as_nic(i) for i in found if i.kind not in _NOT_NICS), None)


def of_node(state: State) -> State:
    """Return what all ENIs share."""
    return frozenset(i for i in state if _is_shared(i))


def of_eni(state: State, ifindex: int, primary: tuple[str, ...]) -> State:
    """Return the ENI with this index, its slave and what is on them, without pods' items.

    `ifindex` is 0 if the ENI's NIC is gone.
    """
    table = names.eni_table(ifindex)
    links = {ifindex} | {
        i.index
        for i in state
        if isinstance(i, Link) and i.kind == IPVLAN and i.alias and i.parent == ifindex
    }
    sources = set(map(host_cidr, primary))

    def mine(item: Item) -> bool:
        match item:
            case Link():
                return item.index in links
            case Address():  # the kernel derives the link-local one from the ENI's MAC
                return item.index in links and not item.address.startswith("fe80:")
            case Route():
                return item.table == table or (item.index in links and _is_foreign(item))
            case Rule():
                return item.priority == names.RULE_FROM_ENI and (
                    item.table == table or item.source in sources
                )
            case Chain():
                return item.name == f"{ENI_CHAIN}{ifindex}"
            case _:
                return False

    return frozenset(_settled(i, ifindex) for i in state if mine(i))


def left_of_eni(state: State, ifindex: int, primary: tuple[str, ...]) -> State:
    """Return what `of_eni` does and what pods have left in the ENI's table, to remove the ENI.

    If its NIC is gone, the rule of its primary address shows which index it had.
    """
    own = of_eni(state, ifindex, primary)
    tables = {i.table for i in own if isinstance(i, Rule)} | {names.eni_table(ifindex)}
    chains = {f"{ENI_CHAIN}{table - names.TABLE_ENI_BASE}" for table in tables}
    return own | {
        i
        for i in state
        if (isinstance(i, Rule | Route) and i.table in tables)
        or (isinstance(i, Chain) and i.name in chains)
    }


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

    return frozenset(i for i in state if mine(i))


def of_pod(state: State, addresses: tuple[str, ...], host_link: str) -> State:
    """Return the host's part of the pod with these addresses, connected to `host_link`."""
    sources = set(map(host_cidr, addresses))

    def mine(item: Item) -> bool:
        match item:
            case Link():
                return item.kind == VETH and item.name == host_link
            case Route():
                return item.table == names.TABLE_PODS and item.destination in sources
            case Rule():
                return item.priority == names.RULE_FROM_POD and item.source in sources
            case Neighbour():
                return item.address in addresses
            case Element():
                return item.key in addresses
            case _:
                return False

    return frozenset(i for i in state if mine(i))


def pods(state: State) -> dict[str, str]:
    """Return the addresses that have a route to a pod, with the route's device."""
    links = {i.index: i.name for i in state if isinstance(i, Link)}
    return {
        i.destination.split("/")[0]: links.get(i.index, "")
        for i in state
        if isinstance(i, Route) and i.table == names.TABLE_PODS
    }


def _settled(item: Item, ifindex: int) -> Item:
    return _as_nic(item) if isinstance(item, Link) and item.index == ifindex else item


def _as_nic(link: Link) -> Link:
    """Return the link as a NIC, which is never created or removed, whatever its real kind."""
    return replace(link, kind=NIC, parent=0, mode=0, alias="")


def _is_shared(item: Item) -> bool:
    match item:
        case Rule():
            return item.priority in _SHARED
        case Chain():
            return not item.name.startswith(ENI_CHAIN)
        case _:
            return False


def _is_foreign(route: Route) -> bool:
    return route.protocol not in (names.PROTOCOL, _RTPROT_KERNEL) and route.table != _TABLE_LOCAL
