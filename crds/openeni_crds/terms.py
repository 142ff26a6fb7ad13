"""Terms: how a pool names subnets, security groups and QoS policies of its cloud.

Each term uses exactly one of `id`, `name` and, where a pool can have several, `tags`. An id or a
name means one thing; tags mean everything that carries all of them.
"""

from collections.abc import Iterable
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from openeni_crds.meta import Id

ResourceName = Annotated[str, Meta(min_length=1, max_length=255)]
Tag = Annotated[str, Meta(min_length=1, max_length=255)]  # neutron.extensions.tagging: MAX_TAG_LEN
Tags = Annotated[tuple[Tag, ...], Meta(min_length=1, max_length=16)]
PortTag = Annotated[str, Meta(min_length=1, max_length=60)]  # in Neutron before Xena
MOST_PORT_TAGS = 16


class SubnetTerm(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Selects subnets of the cloud by exactly one of `id`, `name` and `tags`."""

    id: Annotated[
        Id | None,
        Meta(
            description="Id of one Neutron subnet. If the project cannot see it, the pool is not "
            "Ready (NotFound). Give exactly one of id, name and tags."
        ),
    ] = None
    name: Annotated[
        ResourceName | None,
        Meta(
            description="Name of one Neutron subnet. If the project can see none of this name, or "
            "several, the pool is not Ready (NotFound, AmbiguousName)."
        ),
    ] = None
    tags: Annotated[
        Tags | None,
        Meta(
            description="Every Neutron subnet that carries all of these tags, ordered by name; "
            "looked up again about every five minutes. If none does, the pool is not Ready "
            "(NotFound)."
        ),
    ] = None
    zone: Annotated[
        str,
        Meta(
            max_length=63,
            description="Use these subnets only for nodes whose label topology.kubernetes.io/zone "
            "has this value. Absent: for every node. A node for which no subnet is left gets no "
            "ENI (status.nodeCounts.withoutSubnet).",
        ),
    ] = ""


class SecurityGroupTerm(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Selects security groups of the cloud by exactly one of `id`, `name` and `tags`."""

    id: Annotated[
        Id | None,
        Meta(
            description="Id of one security group. If the project cannot see it, the pool is not "
            "Ready (NotFound). Give exactly one of id, name and tags."
        ),
    ] = None
    name: Annotated[
        ResourceName | None,
        Meta(
            description="Name of one security group. If the project can see none of this name, or "
            "several, the pool is not Ready (NotFound, AmbiguousName)."
        ),
    ] = None
    tags: Annotated[
        Tags | None,
        Meta(
            description="Every security group that carries all of these tags; looked up again "
            "about every five minutes. If none does, the pool is not Ready (NotFound)."
        ),
    ] = None


class QoSPolicyTerm(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Selects a QoS policy of the cloud by exactly one of `id` and `name`."""

    id: Annotated[
        Id | None,
        Meta(
            description="Id of one QoS policy. If the project cannot see it, no port changes its "
            "policy (UpToDate is False, NotFound). Give exactly one of id and name."
        ),
    ] = None
    name: Annotated[
        ResourceName | None,
        Meta(
            description="Name of one QoS policy; looked up again about every five minutes. If the "
            "project can see none of this name, or several, no port changes its policy (UpToDate "
            "is False, NotFound or AmbiguousName)."
        ),
    ] = None


Term: TypeAlias = SubnetTerm | SecurityGroupTerm | QoSPolicyTerm


def tags_of(term: Term) -> tuple[str, ...] | None:
    """Return the tags by which the term selects; None if it selects by something else."""
    return None if isinstance(term, QoSPolicyTerm) else term.tags


def selects(term: Term, id_: str, name: str, tags: Iterable[str]) -> bool:
    """Return whether the term means the resource with this id, name and tags."""
    if term.id is not None:
        return term.id == id_
    if term.name is not None:
        return term.name == name
    wanted = tags_of(term)
    return wanted is not None and set(wanted) <= set(tags)
