"""What is known of ENIs by their ports, also of former ones, and of ENIs whose object is gone.

An ENI gets another port when the operator has lost the first one. That may still be plugged in
here, and pods have its addresses: it is an ENI of its own, which has no object. Pure.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import msgspec

from openeni_nodeagent.datapath_api import ENIFacts
from openeni_nodeagent.grants.grant import Grant


@dataclass
class KnownENIs:
    """Facts of ENIs. Not safe for several threads."""

    _by_port: dict[str, ENIFacts] = field(default_factory=dict[str, ENIFacts])

    @classmethod
    def of_facts(cls, enis: Iterable[ENIFacts]) -> Self:
        return cls({_key(facts): facts for facts in enis})

    def see(self, facts: ENIFacts) -> None:
        """Enter what the API shows of an ENI; a port that it had before gets a name of its own."""
        for key, before in tuple(self._by_port.items()):
            if before.name != facts.name or key == _key(facts):
                continue
            if before.mac == facts.mac:  # an older agent did not record the port's ID
                del self._by_port[key]
            else:
                self._by_port[key] = replace(before, name=f"{before.name} (port {before.port})")
        self._by_port[_key(facts)] = facts

    def forget(self, name: str) -> None:
        self._by_port = {k: facts for k, facts in self._by_port.items() if facts.name != name}

    def named(self, name: str) -> ENIFacts | None:
        return next((facts for facts in self._by_port.values() if facts.name == name), None)

    def of(self, grant: Grant) -> ENIFacts | None:
        """Return the facts of the port that the grant's addresses are of, never another port's."""
        found = self._by_port.get(grant.port) or self.named(grant.eni)
        return found if found and is_of(grant, found.name, found.port) else None

    def all(self) -> tuple[ENIFacts, ...]:
        return tuple(self._by_port.values())


def followers(grants: Iterable[Grant], facts: ENIFacts, addresses: Collection[str]) -> list[Grant]:
    """Return the ENI's grants of a former port whose addresses its present one has, as of that.

    Neutron has an address on one port of a network: its pod goes by the one that has it now, such
    as one that was made anew after somebody had deleted the former.
    """
    of_eni = (g for g in grants if g.eni == facts.name and g.port not in {"", facts.port})
    moved = (g for g in of_eni if facts.port and set(g.addresses) <= set(addresses))
    return [msgspec.structs.replace(grant, port=facts.port) for grant in moved]


def is_of(grant: Grant, name: str, port: str) -> bool:
    """Return True if the grant's addresses are of an ENI's port; older ones have no port's ID."""
    return grant.port == port if grant.port and port else grant.eni == name


def _key(facts: ENIFacts) -> str:
    return facts.port or facts.name
