"""The veth datapath: one pair a pod, routed by the node, ARP answered by proxy on the ENI.

The pod sees 169.254.1.1 (fe80::1) as its gateway, with the MAC of the node's end as a permanent
neighbour. That MAC is the same everywhere and set at creation: systemd's MACAddressPolicy rewrites
random ones afterwards, which leaves a pod with a stale neighbour.
"""

from openeni_crds import names
from openeni_nodeagent.datapath.model import (
    TABLE_MAIN,
    VETH,
    Address,
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
from openeni_nodeagent.datapath.place import PodPlace, gateway


def pod_sides(pod: PodPlace) -> Sides:
    """Both ends of the pair, and what leads to them."""
    facts = pod.facts
    node: set[Item] = {
        Link(
            pod.node_link,
            pod.node_index,
            VETH,
            names.VETH_MAC,
            facts.mtu,
            alias=names.LINK_ALIAS,
        )
    }
    inside: set[Item] = {Link(facts.interface, pod.pod_index, VETH, pod.mac, facts.mtu)}
    for address in facts.addresses:
        node |= _towards(pod, address)
        inside |= _away(pod, address)
    return Sides(frozenset(node), frozenset(inside))


def _towards(pod: PodPlace, address: str) -> set[Item]:
    return {
        Route(
            alone(address),
            names.TABLE_PODS,
            pod.node_index,
            source=pod.node_address(family_of(address)),
        ),
        Rule(family_of(address), names.RULE_FROM_POD, pod.eni.table, source=alone(address)),
        Neighbour(pod.node_index, address, pod.mac),
        Neighbour(pod.eni.link.ifindex, address),
    }


def _away(pod: PodPlace, address: str) -> set[Item]:
    family = family_of(address)
    way_out = gateway(family)
    return {
        Address(pod.pod_index, address, full(family)),
        Neighbour(pod.pod_index, way_out, names.VETH_MAC),
        Route(alone(way_out), TABLE_MAIN, pod.pod_index),
        Route(anywhere(family), TABLE_MAIN, pod.pod_index, way_out),
    }
