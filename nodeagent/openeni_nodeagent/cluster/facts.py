"""From the API's objects to what the ledger and the datapath want to know: pure."""

from collections.abc import Iterable

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.selection import NodeTraits, server_of
from openeni_nodeagent.cluster.objects import Node, ServiceCIDR
from openeni_nodeagent.grants.ledger import EniView, family
from openeni_nodeagent.wiring import EniFacts, NodeFacts


def eni_facts(eni: ENI) -> EniFacts | None:
    """None as long as the port is not known."""
    port = eni.status.port
    if port is None:
        return None
    return EniFacts(
        eni.name, port.mac_address, port.mtu, eni.spec.datapath, port.primary, port.subnets
    )


def attached(eni: ENI) -> bool:
    """Whether the operator says that the port is there and plugged into this node."""
    conditions = eni.status.conditions
    return is_true(conditions, Type.PORT_READY) and is_true(conditions, Type.ATTACHED)


def eni_view(eni: ENI, *, link_ready: bool) -> EniView:
    """The ENI as the ledger sees it."""
    port, node = eni.status.port, eni.status.node
    return EniView(
        eni.name,
        eni.spec.pool_name,
        eni.metadata.generation,
        frozenset(family(subnet.cidr) for subnet in port.subnets) if port else frozenset(),
        port.addresses if port else (),
        frozenset(eni.spec.retiring),
        frozenset(answer.address for answer in node.retired) if node else frozenset(),
        deleting=eni.metadata.deleting,
        mode=eni.spec.datapath.word,
        mtu=eni.spec.mtu,
        usable=link_ready and attached(eni),
    )


def node_traits(node: Node) -> NodeTraits:
    """Return what decides which pools serve the node."""
    return NodeTraits(node.metadata.labels, server_of(node.spec.provider_id))


def node_facts(node: Node, cidrs: Iterable[ServiceCIDR], local_dns: tuple[str, ...]) -> NodeFacts:
    """Sorted, so that the same node gives the same facts."""
    return NodeFacts(
        tuple(sorted({a.address for a in node.status.addresses if a.type == "InternalIP"})),
        tuple(sorted({cidr for given in cidrs for cidr in given.spec.cidrs})),
        local_dns,
    )
