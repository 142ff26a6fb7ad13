"""Tell which addresses an ENI's slaves on the host lack. Pure.

A pod of the ENI may have given itself one of the node's, or of the ENI's, that a slave is to get.
"""

from collections.abc import Callable, Collection
from typing import TypeAlias

from openeni_nodeagent.datapath.links import NodeENI, chosen_index
from openeni_nodeagent.datapath.model import Address, Verb
from openeni_nodeagent.datapath.node.plan import Differences, eni_part
from openeni_nodeagent.datapath_api import ENIFacts

FreeAddresses: TypeAlias = Callable[[ENIFacts, Collection[str]], None]


def missing_addresses(eni: NodeENI, found: Differences) -> frozenset[str]:
    """Return the addresses that the host's slaves are still to get."""
    slaves = frozenset(map(chosen_index, eni.host_slaves))
    return frozenset(
        o.item.address
        for o in found.get(eni_part(eni.facts.mac), ())
        if isinstance(o.item, Address) and o.item.index in slaves and o.verb is not Verb.REMOVE
    )
