"""Decide who may have an interface of a namespace: one container, as it is with an address."""

from collections.abc import Iterable

from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.grants.ledger import Attachment, Grant
from openeni_nodeagent.grants.netns_identity import leads_to_pod


def require_free_interface(
    attachment: Attachment, netns_id: tuple[int, int] | None, grants: Iterable[Grant]
) -> None:
    """Raise CNIError if another container has the interface: its DEL has to come first.

    The caller has the ledger's lock, so that of two containers one gets it. The number of a
    namespace that has ended is given again: only where one has the same is its path looked at.
    """
    if netns_id is None:
        return
    for grant in [g for g in grants if g.netns_id == netns_id]:  # the quickest way through all
        its = grant.attachment
        others = its.container_id != attachment.container_id
        if others and its.interface == attachment.interface and leads_to_pod(grant.netns, grant):
            raise CNIError(
                Code.TRY_AGAIN,
                f"the namespace has the {its.interface} of another container already",
                f"it is of container {its.container_id}, which no DEL has ended so far",
            )
