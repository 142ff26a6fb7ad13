"""Describe items and differences in words close to iproute2's, for CHECK and for errors."""

from functools import singledispatch
from typing import Final

from openeni_nodeagent.datapath.model import (
    Address,
    Chain,
    Element,
    Item,
    Link,
    Neighbour,
    Operation,
    Route,
    Rule,
    Sysctl,
    Verb,
)

_DIFFERENCE: Final = {
    Verb.ADD: "is missing",
    Verb.CHANGE: "has other settings",
    Verb.REMOVE: "should not be there",
}


def sentence(operation: Operation) -> str:
    """Describe the difference that makes this operation necessary."""
    return f"{text(operation.item)} {_DIFFERENCE[operation.verb]}"


@singledispatch
def text(item: Item) -> str:
    """Describe an item."""
    raise TypeError(item)


@text.register
def _(item: Link) -> str:
    kind = f" {item.kind}" if item.kind else ""
    return f"link {item.name}{kind} mtu {item.mtu} {'up' if item.up else 'down'}"


@text.register
def _(item: Address) -> str:
    return f"address {item.address}/{item.prefix} on link {item.index}"


@text.register
def _(item: Neighbour) -> str:
    return f"neighbour {item.address} {item.mac or 'proxy'} on link {item.index}"


@text.register
def _(item: Route) -> str:
    if item.prohibits:
        return f"route prohibit {item.destination} table {item.table}"
    via = f" via {item.gateway}" if item.gateway else ""
    return f"route {item.destination}{via} on link {item.index} table {item.table}"


@text.register
def _(item: Rule) -> str:
    source = f" from {item.source}" if item.source else ""
    iif = f" iif {item.iif}" if item.iif else ""
    mark = f" fwmark {item.mark:#x}/{item.mask:#x}" if item.mask else ""
    return f"IPv{item.family} rule {item.priority}{source}{iif}{mark} lookup {item.table}"


@text.register
def _(item: Sysctl) -> str:
    return f"sysctl {item.path}={item.value}"


@text.register
def _(item: Element) -> str:
    return f"nftables element {item.key} of {item.name}"


@text.register
def _(item: Chain) -> str:
    return f"nftables chain {item.family} {item.name}"
