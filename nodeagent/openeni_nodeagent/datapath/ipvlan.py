"""Plan the ipvlan datapaths: a slave of the ENI in each pod, and one slave on the host.

l2: a pod reaches its subnet directly and everything else through the node. ipvlan passes a frame
to the ENI's own MAC, for an address that no slave has, up to the ENI; there it enters the node's
stack, where kube-proxy needs it. l3s, l3: a pod's packets leave as if the node had sent them.

The node reaches the pods through the host's slave. In l3s and l3 that slave also has the addresses
that pods must find on the node, because ipvlan sends a packet for an address that no slave has out
of the ENI. A third one is down and keeps the ENI's own addresses from pods.
"""

from collections.abc import Collection
from dataclasses import replace

from openeni_crds import names
from openeni_nodeagent.addresses import address_bits, default_cidr, family_of, host_cidr
from openeni_nodeagent.datapath.links import NodeENI, NodePod, chosen_index, gateway, kernel_mode
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    TABLE_MAIN,
    Address,
    Element,
    Item,
    Link,
    Neighbour,
    PodPlan,
    Route,
)
from openeni_nodeagent.datapath.nft_sets import joined


def slave_items(eni: NodeENI) -> set[Item]:
    """Return the host's slave, and in l3s and l3 its addresses."""
    items: set[Item] = {_host_slave(eni, eni.host_slave)}
    if not eni.layer_2:
        # A node-local DNS answers with its address. It must be the source of nothing else, as when
        # kube-proxy masquerades what it sends to the pods.
        on_host = [(a, False) for a in eni.node.addresses]
        dns = (a for a in eni.node.local_dns if a not in eni.node.addresses)
        on_host += [(a, True) for a in dns]
        items |= {
            Address(eni.host_slave_index, address, address_bits(family_of(address)), no_source)
            for address, no_source in on_host
            if family_of(address) in eni.families
        }
    return items


def reserving_items(eni: NodeENI, own: Collection[Address]) -> set[Item]:
    """Return the slave that reserves the ENI's `own` addresses, and these on it.

    ipvlan lets no other slave have what one has (ipvlan_addr_busy), but passes packets to those
    alone that are up (ipvlan_open): this one stays down. A pod that had taken one of the addresses
    would get what the ENI is sent, such as its gateways' answers to ARP.
    """
    slave = replace(_host_slave(eni, eni.reserving_slave), up=False)
    bits = ((a.address, address_bits(family_of(a.address))) for a in own)
    return {slave, *(Address(slave.index, address, size, no_source=True) for address, size in bits)}


def _host_slave(eni: NodeENI, name: str) -> Link:
    return Link(
        name,
        chosen_index(name),
        IPVLAN,
        eni.facts.mac,
        eni.facts.mtu,
        parent=eni.link.ifindex,
        mode=kernel_mode(eni.facts.datapath),
        alias=names.LINK_ALIAS,
    )


def plan_pod(pod: NodePod) -> PodPlan:
    """Return the pod's slave, and the host's routes and neighbours for it."""
    facts, eni = pod.facts, pod.eni
    host_items: set[Item] = set()
    pod_items: set[Item] = {
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
        host_items |= _host_items(pod, address)
        pod_items |= _l2_pod_items(pod, address) if eni.layer_2 else _l3_pod_items(pod, address)
    return PodPlan(frozenset(host_items), frozenset(pod_items))


def _host_items(pod: NodePod, address: str) -> set[Item]:
    eni, family = pod.eni, family_of(address)
    return {
        Route(
            host_cidr(address),
            eni.pods_table,
            eni.host_slave_index,
            source=pod.node_address(family),
        ),
        Element(f"pods{family}", address),
        Element(f"podlinks{family}", joined(address, eni.link.ifindex)),
        *_neighbours(eni, address),
        *_source_nat(eni, address),
    }


def _neighbours(eni: NodeENI, address: str) -> set[Item]:
    if eni.layer_2:
        return {Neighbour(eni.host_slave_index, address, eni.facts.mac)}
    if eni.facts.datapath.ipvlan_mode == "L3S":
        return {Neighbour(eni.link.ifindex, address)}
    return set()  # l3 passes ARP requests to the slave, which does not answer: the network must


def _source_nat(eni: NodeENI, address: str) -> set[Item]:
    """Return the source NAT of a pod whose peers' replies bypass the node's conntrack."""
    if eni.facts.datapath.ipvlan_mode == "L3S":
        return set()
    family = family_of(address)
    return {Element(f"sources{family}", address, eni.primary(family))}


def _l2_pod_items(pod: NodePod, address: str) -> set[Item]:
    family, eni = family_of(address), pod.eni
    via = gateway(eni, family)
    subnets = {s.cidr for s in eni.facts.subnets if family_of(s.cidr) == family}
    return {
        Address(pod.pod_index, address, address_bits(family)),
        Neighbour(pod.pod_index, via, eni.facts.mac),
        Route(host_cidr(via), TABLE_MAIN, pod.pod_index),
        *(Route(cidr, TABLE_MAIN, pod.pod_index, source=address) for cidr in subnets),
        *(
            Route(destination, TABLE_MAIN, pod.pod_index, via, source=address)
            for destination in (default_cidr(family), *destinations_via_node(eni, family))
        ),
    }


def destinations_via_node(eni: NodeENI, family: int) -> tuple[str, ...]:
    """Return what an l2 pod reaches through the node even if it lies in the pod's subnet.

    This includes the ENI's primary address: ipvlan does not pass a slave's ARP request to the
    parent.
    """
    node = eni.node
    hosts = (*node.addresses, *node.local_dns, *eni.facts.primary)
    destinations = (*node.service_cidrs, *map(host_cidr, hosts))
    return tuple(dict.fromkeys(d for d in destinations if family_of(d) == family))


def _l3_pod_items(pod: NodePod, address: str) -> set[Item]:
    family = family_of(address)
    return {
        Address(pod.pod_index, address, address_bits(family)),
        Route(default_cidr(family), TABLE_MAIN, pod.pod_index),
    }
