"""Interfaces of namespaces that containers have: one of them, as it is with an address."""

from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.netns_identity import leads_to_pod


class Interfaces:
    """Not safe for several threads: the caller has the lock of the ledger."""

    def __init__(self) -> None:
        self._grants: dict[tuple[int, int], list[Grant]] = {}  # by namespace

    def take(self, grant: Grant) -> None:
        """Enter a grant, if it is known which namespace its interface is in."""
        if grant.netns_id is not None:
            self._grants.setdefault(grant.netns_id, []).append(grant)

    def give_back(self, grant: Grant) -> None:
        """Remove a grant that has been entered."""
        if grant.netns_id is not None:
            left = [g for g in self._grants[grant.netns_id] if g.attachment != grant.attachment]
            self._grants[grant.netns_id] = left
            if not left:
                del self._grants[grant.netns_id]

    def require_free(self, attachment: Attachment, netns_id: tuple[int, int] | None) -> None:
        """Raise CNIError if another container has the interface: its DEL has to come first.

        The number of a namespace that has ended is given again: only where one has the same is its
        path looked at.
        """
        for grant in self._grants.get(netns_id, ()) if netns_id else ():
            its = grant.attachment
            if its.container_id == attachment.container_id or its.interface != attachment.interface:
                continue
            if leads_to_pod(grant.netns, grant):
                raise CNIError(
                    Code.TRY_AGAIN,
                    f"the namespace has the {its.interface} of another container already",
                    f"it is of container {its.container_id}, which no DEL has ended so far",
                )
