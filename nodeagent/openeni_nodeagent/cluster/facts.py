"""Convert the API's objects into facts for the ledger and the datapath. Pure."""

from collections.abc import Iterable

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.selection import NodeTraits, server_of
from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.cluster.objects import Node, ServiceCIDR
from openeni_nodeagent.datapath_api import ENIFacts, NodeFacts
from openeni_nodeagent.grants.eni_view import ENIView
from openeni_nodeagent.settings import Settings


def eni_facts(eni: ENI) -> ENIFacts | None:
    """Return the ENI's facts; None as long as its status has no port."""
    port = eni.status.port
    if port is None:
        return None
    return ENIFacts(
        eni.name,
        port.mac_address,
        port.mtu,
        eni.spec.datapath,
        port.primary,
        port.subnets,
        port.id,
    )


def is_attached(eni: ENI) -> bool:
    """Return True if, by its conditions, the ENI's port exists and is attached to this node."""
    conditions = eni.status.conditions
    return is_true(conditions, Type.PORT_READY) and is_true(conditions, Type.ATTACHED)


def eni_view(eni: ENI, *, link_ready: bool) -> ENIView:
    """Return the ENI as the ledger sees it."""
    port, node = eni.status.port, eni.status.node
    return ENIView(
        eni.name,
        eni.spec.pool_name,
        eni.metadata.generation,
        frozenset(family_of(subnet.cidr) for subnet in port.subnets) if port else frozenset(),
        port.addresses if port else (),
        frozenset(eni.spec.retiring),
        frozenset(answer.address for answer in node.retired) if node else frozenset(),
        deleting=eni.metadata.deleting,
        broken=eni.is_broken,
        datapath_mode=eni.spec.datapath.word,
        mtu=eni.spec.mtu,
        usable=link_ready and is_attached(eni),
        port=port.id if port else "",
    )


def node_traits(node: Node) -> NodeTraits:
    """Return what decides which pools serve the node."""
    return NodeTraits(node.metadata.labels, server_of(node.spec.provider_id))


def node_facts(node: Node, cidrs: Iterable[ServiceCIDR], settings: Settings) -> NodeFacts:
    """Return the node's facts, sorted, so that they are equal for an equal node."""
    return NodeFacts(
        tuple(sorted({a.address for a in node.status.addresses if a.type == "InternalIP"})),
        settings.service_cidrs
        or tuple(sorted({cidr for given in cidrs for cidr in given.spec.cidrs})),
        settings.local_dns,
        settings.flow_offload,
    )
