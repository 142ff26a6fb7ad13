"""Tell which addresses an ENI's slave on the host lacks. Pure.

A pod of the ENI may have given itself one of the node's that the slave is to get.
"""

from collections.abc import Callable, Collection
from typing import TypeAlias

from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.model import Address, Operation, Verb
from openeni_nodeagent.datapath.node.plan import Differences, eni_part
from openeni_nodeagent.datapath_api import ENIFacts

FreeAddresses: TypeAlias = Callable[[ENIFacts, Collection[str]], None]


def missing_addresses(eni: NodeENI, found: Differences) -> frozenset[str]:
    """Return the addresses that the host's slave is still to get."""
    return frozenset(
        o.item.address
        for o in found.get(eni_part(eni.facts.mac), ())
        if isinstance(o.item, Address) and _is_missing(eni, o)
    )


def lacks_addresses_alone(eni: NodeENI, found: Differences) -> bool:
    """Return True if the ENI is as planned but for addresses that its host's slave is to get.

    Its pods work but for what they send there, and so do new ones.
    """
    operations = found.get(eni_part(eni.facts.mac), ())
    return bool(operations) and all(_is_missing(eni, o) for o in operations)


def _is_missing(eni: NodeENI, operation: Operation) -> bool:
    item = operation.item
    comes = operation.verb is not Verb.REMOVE
    return comes and isinstance(item, Address) and item.index == eni.host_slave_index
