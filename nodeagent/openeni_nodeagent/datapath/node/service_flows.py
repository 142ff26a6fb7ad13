"""Forget flows to services that would go wrong after what a look has changed."""

from collections.abc import Iterable
from typing import Final

from openeni_nodeagent.datapath.filters.chains import given_marks
from openeni_nodeagent.datapath.linux.conntrack import flush_marked, flush_untranslated
from openeni_nodeagent.datapath.model import Address, Chain, Element, Item, Operation, State, Verb

_CHAIN: Final = "service"  # filters/node.py
_SETS: Final = ("sources", "pods", "hairpins")  # in which that chain looks senders up


def forget_flows(restored: Iterable[Operation], before: State, now: State) -> None:
    """Delete the conntrack entries of flows that began while something was not as it is `now`.

    Where what translates senders was restored, the members of sets say whose. What leads to the
    node's own addresses never passes there. And of those that were answered by an ENI's former
    mark, since agent.markMask is another one: with one more bit the value stays.
    """
    marks = {table: given.mark.value for table, given in given_marks(now).items()}
    former = {table: given.mark for table, given in given_marks(before).items()}
    if stale := {m for table, m in former.items() if marks.get(table, m.value) != m.value}:
        flush_marked(stale)
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
