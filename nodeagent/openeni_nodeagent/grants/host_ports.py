"""Decide who may have a port of the node: one pod, as an address has. Pure.

The journal's grants are the record of host ports, as of addresses. A port is its pod's until the
DEL has removed it from the kernel.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.pod_options import PortMapping


@dataclass(frozen=True)
class Taken:
    """A port that another container has."""

    port: PortMapping
    owner: Grant


def find_taken(
    wanted: Iterable[PortMapping],
    attachment: Attachment,
    grants: Iterable[Grant],
    is_at_work: Callable[[str], bool],
) -> Taken | None:
    """Return the first of the wanted ports that another pod has; None if they are free.

    What an earlier sandbox of the same pod has is free (see `released`), but not while a call of
    that container is at work: it would give the port to the old sandbox, or remove the new one's.
    """
    others = [
        grant
        for grant in grants
        if grant.attachment.pod_uid != attachment.pod_uid
        or (
            grant.attachment.container_id != attachment.container_id
            and is_at_work(grant.attachment.container_id)
        )
    ]
    return next(
        (
            Taken(port, grant)
            for port in wanted
            for grant in others
            if any(port.overlaps(theirs) for theirs in grant.host_ports)
        ),
        None,
    )


def released(
    wanted: Iterable[PortMapping], attachment: Attachment, grants: Iterable[Grant]
) -> tuple[Grant, ...]:
    """Return the grants of the pod's earlier sandboxes, without the ports that are wanted now.

    Their DEL may still be to come, and would remove the new sandbox's ports.
    """
    ports = tuple(wanted)
    found: list[Grant] = []
    for grant in grants:
        earlier = grant.attachment.pod_uid == attachment.pod_uid and grant.attachment != attachment
        left = tuple(p for p in grant.host_ports if not any(p.overlaps(one) for one in ports))
        if earlier and left != grant.host_ports:
            found.append(replace(grant, host_ports=left))
    return tuple(found)
