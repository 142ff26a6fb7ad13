"""Plan the veth datapath: one pair for each pod, routed by the node, with proxy ARP on the ENI.

The pod's gateway is 169.254.1.1 (fe80::1), with the MAC of the host's end as a permanent neighbour.
That MAC is the same for every pair and set at creation: systemd's MACAddressPolicy would replace a
random one later, and leave the pod with a stale neighbour.
"""

from openeni_crds import names
from openeni_nodeagent.addresses import address_bits, default_cidr, family_of, host_cidr
from openeni_nodeagent.datapath.links import NodePod, gateway
from openeni_nodeagent.datapath.model import (
    TABLE_MAIN,
    VETH,
    Address,
    FlowtableLink,
    Item,
    Link,
    Neighbour,
    PodPlan,
    Route,
)


def plan_pod(pod: NodePod) -> PodPlan:
    """Return both ends of the pair, with their addresses, routes and neighbours."""
    facts = pod.facts
    host_items: set[Item] = {
        Link(
            pod.host_link,
            pod.host_index,
            VETH,
            names.VETH_MAC,
            facts.mtu,
            alias=names.LINK_ALIAS,
            group=pod.eni.group,
        )
    }
    pod_items: set[Item] = {Link(facts.interface, pod.pod_index, VETH, pod.mac, facts.mtu)}
    if pod.eni.offloads:
        host_items.add(FlowtableLink(pod.host_link))
    for address in facts.addresses:
        host_items |= _host_items(pod, address)
        pod_items |= _pod_items(pod, address)
    return PodPlan(frozenset(host_items), frozenset(pod_items))


def _host_items(pod: NodePod, address: str) -> set[Item]:
    return {
        Route(
            host_cidr(address),
            pod.eni.pods_table,
            pod.host_index,
            source=pod.node_address(family_of(address)),
        ),
        Neighbour(pod.host_index, address, pod.mac),
        Neighbour(pod.eni.link.ifindex, address),
    }


def _pod_items(pod: NodePod, address: str) -> set[Item]:
    family = family_of(address)
    via = gateway(pod.eni, family)
    return {
        Address(pod.pod_index, address, address_bits(family)),
        Neighbour(pod.pod_index, via, names.VETH_MAC),
        Route(host_cidr(via), TABLE_MAIN, pod.pod_index),
        Route(default_cidr(family), TABLE_MAIN, pod.pod_index, via),
    }
