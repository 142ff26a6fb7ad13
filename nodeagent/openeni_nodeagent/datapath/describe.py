"""Describe items and differences in words close to iproute2's, for CHECK and for errors."""

from collections.abc import Collection
from functools import singledispatch
from typing import Final

from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.datapath.model import (
    IPVLAN,
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
    Sysctl,
    Verb,
)

_IPVLAN_MODES: Final = {0: "l2", 1: "l3", 2: "l3s"}  # as `ip -details link` names them
_IPVLAN_FLAGS: Final = {0: "bridge", 1: "private", 2: "vepa"}  # likewise
_NAMED: Final = 3  # differences in a message
_DIFFERENCE: Final = {
    Verb.ADD: "is missing",
    Verb.CHANGE: "has other settings",
    Verb.REMOVE: "should not be there",
}


def sentence(operation: Operation) -> str:
    """Describe the difference that makes this operation necessary."""
    return f"{text(operation.item)} {_DIFFERENCE[operation.verb]}"


def summary(operations: Collection[Operation]) -> str:
    """Return sentences for the first operations, and how many more there are."""
    named = [sentence(operation) for operation in operations]
    more = len(named) - _NAMED
    return "; ".join([*named[:_NAMED], *([f"and {more} more"] if more > 0 else [])])


@singledispatch
def text(item: Item) -> str:
    """Describe an item."""
    raise TypeError(item)


@text.register
def _(item: Link) -> str:
    kind = f" {item.kind}" if item.kind else ""
    if item.kind == IPVLAN:
        mode = _IPVLAN_MODES.get(item.mode, item.mode)
        kind += f" mode {mode} {_IPVLAN_FLAGS.get(item.flags, item.flags)}"
    group = f" group {item.group}" if item.group else ""
    arp = "" if item.default_arp else f" arp {'on' if item.mode else 'off'}"
    return f"link {item.name}{kind} mtu {item.mtu}{group} {'up' if item.up else 'down'}{arp}"


@text.register
def _(item: Address) -> str:
    how = {IPV4: " scope link", IPV6: " deprecated"}[family_of(item.address)]
    lost = "" if item.is_routed else " without its local route"
    return f"address {item.address}/{item.prefix}{how * item.no_source} on link {item.index}{lost}"


@text.register
def _(item: Neighbour) -> str:
    return f"neighbour {item.address} {item.mac or 'proxy'} on link {item.index}"


@text.register
def _(item: Route) -> str:
    kind = "" if item.type is RouteType.UNICAST else f"{item.type} "
    via = f" via {item.gateway}" if item.gateway else ""
    link = f" on link {item.index}" if item.index else ""
    metric = f" metric {item.metric}" if item.metric else ""
    return f"route {kind}{item.destination}{via}{link} table {item.table}{metric}"


@text.register
def _(item: Rule) -> str:
    source = f" from {item.source}" if item.source else ""
    iif = f" iif {item.iif}" if item.iif else ""
    oif = f" oif {item.oif}" if item.oif else ""
    mark = f" fwmark {item.mark:#x}/{item.mask:#x}" if item.mask else ""
    to = f" to {item.destination}" if item.destination else ""
    matched = f"{source}{to}{iif}{oif}{mark}"
    return f"IPv{item.family} rule {item.priority}{matched} lookup {item.table}"


@text.register
def _(item: Sysctl) -> str:
    return f"sysctl {item.path}={item.value}"


@text.register
def _(item: Element) -> str:
    leads = f" to {item.value}" if item.value else ""
    return f"nftables element {item.key} of {item.name}{leads}"


@text.register
def _(item: Qdisc) -> str:
    return f"qdisc tbf on link {item.index} rate {item.rate} bytes/s limit {item.limit} bytes"


@text.register
def _(item: FlowtableLink) -> str:
    return f"link {item.device} in the flowtable"


@text.register
def _(item: Chain) -> str:
    return f"nftables chain {item.family} {item.name}"
