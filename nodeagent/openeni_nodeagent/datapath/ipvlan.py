"""The ipvlan datapaths: slaves of the ENI in the pods, and one slave on the node.

l2: a pod reaches its subnet directly and all else through the node: a frame to the ENI's own MAC
for an address that no slave has is passed up to the ENI, so it enters the node's stack there, as
kube-proxy needs it. l3s, l3: a pod's packets go out as if the node had made them.
The slave on the node is how the node reaches the pods; in l3s and l3 it carries what pods must
find on the node, because an address that no slave has is looked for beyond the ENI.
"""

from openeni_crds import names
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    TABLE_MAIN,
    Address,
    Element,
    Item,
    Link,
    Neighbour,
    Route,
    Rule,
    Sides,
    alone,
    anywhere,
    family_of,
    full,
)
from openeni_nodeagent.datapath.place import EniPlace, PodPlace, gateway, kernel_mode


def slave_items(eni: EniPlace) -> set[Item]:
    """The slave on the node, and in l3s and l3 its addresses."""
    items: set[Item] = {
        Link(
            eni.slave,
            eni.slave_index,
            IPVLAN,
            eni.facts.mac,
            eni.facts.mtu,
            parent=eni.link.ifindex,
            mode=kernel_mode(eni.facts.datapath),
            alias=names.LINK_ALIAS,
        )
    }
    if not eni.layer_2:
        on_node = (*eni.node.addresses, *eni.node.local_dns)
        items |= {
            Address(eni.slave_index, address, full(family_of(address)))
            for address in on_node
            if family_of(address) in eni.families
        }
    return items


def pod_sides(pod: PodPlace) -> Sides:
    """The pod's slave, and what leads to it."""
    facts, eni = pod.facts, pod.eni
    node: set[Item] = set()
    inside: set[Item] = {
        Link(
            facts.interface,
            pod.pod_index,
            IPVLAN,
            eni.facts.mac,
            facts.mtu,
            parent=eni.link.ifindex,
            mode=kernel_mode(eni.facts.datapath),
        )
    }
    for address in facts.addresses:
        node |= _towards(pod, address)
        inside |= _away_2(pod, address) if eni.layer_2 else _away_3(pod, address)
    return Sides(frozenset(node), frozenset(inside))


def _towards(pod: PodPlace, address: str) -> set[Item]:
    eni, family = pod.eni, family_of(address)
    return {
        Route(
            alone(address),
            names.TABLE_PODS,
            eni.slave_index,
            source=pod.node_address(family),
        ),
        # l2: what a pod sends to the node arrives on the ENI. l3s, l3: a pod's output counts as
        # the node's own, and only that may match: the reply to a NodePort's client comes back
        # from the slave and must leave by the NIC the client came in on.
        Rule(
            family,
            names.RULE_FROM_POD,
            eni.table,
            source=alone(address),
            iif=eni.link.device if eni.layer_2 else "lo",
        ),
        Element(f"pods{family}", address),
        *_delivery(eni, address),
        *_translation(eni, address),
    }


def _delivery(eni: EniPlace, address: str) -> set[Item]:
    if eni.layer_2:
        return {Neighbour(eni.slave_index, address, eni.facts.mac)}
    if eni.facts.datapath.ipvlan_mode == "L3S":
        return {Neighbour(eni.link.ifindex, address)}
    return set()  # l3 hands ARP requests to the slave, which does not answer: the network must


def _translation(eni: EniPlace, address: str) -> set[Item]:
    """Replies that reach the pod past the node's conntrack need the node's address at the peer."""
    if eni.facts.datapath.ipvlan_mode == "L3S":
        return set()
    family = family_of(address)
    return {Element(f"sources{family}", address, eni.primary(family))}


def _away_2(pod: PodPlace, address: str) -> set[Item]:
    family, eni = family_of(address), pod.eni
    way_out = gateway(family)
    subnets = {s.cidr for s in eni.facts.subnets if family_of(s.cidr) == family}
    return {
        Address(pod.pod_index, address, full(family)),
        Neighbour(pod.pod_index, way_out, eni.facts.mac),
        Route(alone(way_out), TABLE_MAIN, pod.pod_index),
        *(Route(cidr, TABLE_MAIN, pod.pod_index, source=address) for cidr in subnets),
        *(
            Route(destination, TABLE_MAIN, pod.pod_index, way_out, source=address)
            for destination in (anywhere(family), *by_the_node(eni, family))
        ),
    }


def by_the_node(eni: EniPlace, family: int) -> tuple[str, ...]:
    """What an l2 pod must not look for on its subnet, should it lie in there.

    The ENI's primary address too: ipvlan does not bring a slave's ARP request to the parent.
    """
    node = eni.node
    hosts = (*node.addresses, *node.local_dns, *eni.facts.primary)
    destinations = (*node.service_cidrs, *map(alone, hosts))
    return tuple(dict.fromkeys(d for d in destinations if family_of(d) == family))


def _away_3(pod: PodPlace, address: str) -> set[Item]:
    family = family_of(address)
    return {
        Address(pod.pod_index, address, full(family)),
        Route(anywhere(family), TABLE_MAIN, pod.pod_index),
    }
