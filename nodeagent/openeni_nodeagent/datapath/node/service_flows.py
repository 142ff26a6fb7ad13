"""Forget flows to services that began while what translates their senders was missing."""

from collections.abc import Iterable
from typing import Final

from openeni_nodeagent.datapath.linux.conntrack import flush_untranslated
from openeni_nodeagent.datapath.model import Address, Chain, Element, Item, Operation, State, Verb

_CHAIN: Final = "service"  # filters/node.py
_SETS: Final = ("sources", "pods", "hairpins")  # in which that chain looks senders up


def forget_untranslated(restored: Iterable[Operation], now: State) -> None:
    """Delete the conntrack entries of such flows, if what was restored translates senders.

    The members of sets `now` say whose. What leads to the node's own addresses never passes there.
    """
    if any(o.verb is not Verb.REMOVE and _translates(o.item) for o in restored):
        own = {i.address for i in now if isinstance(i, Address)}
        flush_untranslated(now, own)


def _translates(item: Item) -> bool:
    match item:
        case Chain():
            return item.name == _CHAIN
        case Element():
            return item.name[:-1] in _SETS
        case _:
            return False
