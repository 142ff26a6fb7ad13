"""The links that a DEL leaves for later, and where they are.

A runtime removes its path to the pod's namespace right after the DEL. With ipvlan the pod's link
and address live as long as that namespace, which a process in it may keep: so it is held open until
the link has been removed. Of a veth pair the node has the other end.
"""

from dataclasses import dataclass
from typing import Self

from openeni_crds.enipool import Mode
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.netns_identity import HeldNamespace, hold, leads_to_pod


@dataclass(frozen=True)
class Unfinished:
    """Links of one grant. Whoever takes it out of the table has to `close` it."""

    grant: Grant
    facts: ENIFacts
    netns: str  # the runtime's path
    held: HeldNamespace | None = None

    @classmethod
    def of(cls, grant: Grant, facts: ENIFacts, netns: str) -> Self:
        """Return the links of a grant whose path, or the runtime's, may be about to go.

        Raises OSError if their namespace cannot be held.
        """
        path = namespace_of(grant, netns) if facts.datapath.mode is Mode.IPVLAN else ""
        return cls(grant, facts, netns, hold(path, grant) if path else None)

    @property
    def path(self) -> str:
        """The path of the namespace that they are in, "" if there is none."""
        return self.held.path if self.held else namespace_of(self.grant, self.netns)

    def is_beside(self, grant: Grant) -> bool:
        """Return True if they are in the namespace of another grant, as far as can be known.

        The number of a namespace that has ended may be given to a new one, but no path of the old
        one leads there; one that is held has not ended.
        """
        if grant.netns_id is None:
            return False
        if self.held:
            return self.held.identity == grant.netns_id
        may_be_there = self.grant.netns_id in {None, grant.netns_id}
        return may_be_there and leads_to_pod(self.path, grant)

    def shares_address(self, grant: Grant) -> bool:
        """Return True if they may have an address of another grant: two slaves cannot."""
        return not set(self.grant.addresses).isdisjoint(grant.addresses)

    def close(self) -> None:
        """Hold the namespace no longer."""
        if self.held:
            self.held.close()


def namespace_of(grant: Grant, netns: str) -> str:
    """Return the path of the pod's namespace, the runtime's `netns` or the grant's; "" if neither.

    Where it is not known which namespace is the pod's, the runtime is believed.
    """
    if grant.netns_id is None:
        return netns
    return next((path for path in (netns, grant.netns) if leads_to_pod(path, grant)), "")
