"""Decide which container may have an interface of a namespace: one, as it is with an address."""

from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.netns_identity import leads_to_pod


class Interfaces:
    """The grants by namespace.

    Not safe for several threads: the caller has the ledger's lock, so that of two containers one
    gets the interface.
    """

    def __init__(self) -> None:
        self._grants: dict[tuple[int, int], dict[Attachment, Grant]] = {}

    def enter(self, grant: Grant) -> None:
        """Enter a grant, if its namespace is known."""
        if grant.netns_id is not None:
            self._grants.setdefault(grant.netns_id, {})[grant.attachment] = grant

    def remove(self, grant: Grant) -> None:
        """Remove a grant that was entered."""
        if grant.netns_id is None:
            return
        left = self._grants[grant.netns_id]
        del left[grant.attachment]
        if not left:
            del self._grants[grant.netns_id]

    def require_free(self, attachment: Attachment, netns_id: tuple[int, int] | None) -> None:
        """Raise CNIError if another container has the interface: its DEL has to come first.

        The number of a namespace that has ended is given again: only where one has the same is its
        path looked at.
        """
        if netns_id is None:
            return
        for grant in self._grants.get(netns_id, {}).values():
            its = grant.attachment
            if its.container_id == attachment.container_id or its.interface != attachment.interface:
                continue
            if leads_to_pod(grant.netns, grant):
                raise CNIError(
                    Code.TRY_AGAIN,
                    f"the namespace has the {its.interface} of another container already",
                    f"it is of container {its.container_id}, which no DEL has ended so far",
                )
