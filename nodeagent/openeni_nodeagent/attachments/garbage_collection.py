"""Decide which grants a runtime's GC ends. Pure."""

from collections.abc import Callable, Iterable
from typing import Final

from openeni_nodeagent.cni.protocol import GCAttachment
from openeni_nodeagent.grants.grant import Grant

# Longer than any ADD: the runtime's list may not have a younger grant's container yet.
GC_AGE_SECONDS: Final = 120.0


def stale_grants(
    grants: Iterable[Grant],
    listed: Iterable[GCAttachment],
    pod_exists: Callable[[Grant], bool],
    now: float,
) -> tuple[Grant, ...]:
    """Return grants whose container the runtime does not list and whose pod is gone.

    A pod also counts as gone if the runtime lists a newer sandbox of it, and this one under no
    interface. A node may have several runtimes, each of which lists its own containers
    (containernetworking/cni#1086): the one that lists the newer sandbox would list this one too if
    it still existed. And the list is that of one network (ocicni asks for GC network by network):
    an interface of a listed container may be of another one.
    """
    attachments = tuple(listed)
    alive = {(attachment.container_id, attachment.interface) for attachment in attachments}
    containers = {attachment.container_id for attachment in attachments}
    known = tuple(grants)
    newest: dict[str, float] = {}  # pod -> when its newest listed sandbox got its grant
    for grant in known:
        if grant.key in alive:
            uid = grant.attachment.pod_uid
            newest[uid] = max(newest.get(uid, grant.at), grant.at)
    return tuple(
        grant
        for grant in known
        if grant.key not in alive
        and now - max(grant.at, grant.asked_at) >= GC_AGE_SECONDS
        and (
            not pod_exists(grant)
            or (
                grant.attachment.container_id not in containers
                and newest.get(grant.attachment.pod_uid, grant.at) > grant.at
            )
        )
    )
