"""Read from a port's name and tags which ENI it belongs to. Pure."""

from collections.abc import Iterator

from openeni_crds.names import TAG_CLUSTER, TAG_ENI, port_name, port_prefix, port_tags
from openeni_operator.cloud.api import Port


def named_enis(port: Port, cluster_id: str) -> frozenset[str]:
    """Return the UID of every ENI that the port's name or one of its tags names."""
    return frozenset(_named_enis(port, cluster_id))


def is_proven(port: Port, cluster_id: str) -> bool:
    """Return True if name and both tags say that the port was made for one ENI of this cluster."""
    uid = port.name.removeprefix(port_prefix(cluster_id))
    own = {tag for tag in port.tags if tag.startswith((TAG_CLUSTER, TAG_ENI))}
    return bool(uid) and (port.name, own) == (
        port_name(cluster_id, uid),
        set(port_tags(cluster_id, uid)),
    )


def _named_enis(port: Port, cluster_id: str) -> Iterator[str]:
    prefix = port_prefix(cluster_id)
    if port.name.startswith(prefix):
        yield port.name.removeprefix(prefix)
    yield from (tag.removeprefix(TAG_ENI) for tag in port.tags if tag.startswith(TAG_ENI))
