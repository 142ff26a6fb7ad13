"""The nftables chains of an ENI whose pods are ipvlan slaves in mode l2."""

from typing import Final

from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.datapath.filters.chains import (
    BEFORE_DEFRAGMENTATION,
    BEFORE_REPLIES,
    CUT,
    FAMILIES,
    FORGED_MTU_ERRORS,
    HIDDEN_FRAGMENT,
    LOOPBACK,
    NEIGHBOUR_DISCOVERY,
    chain,
    eni_chain,
    eni_chain_name,
    marks,
)
from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.model import Chain

# Of names of chains, after the ENI's interface index:
_NAT: Final = "_nat"
_IN: Final = "_in"
_ARP: Final = "_arp"
_GROUP_BIT: Final = "ether saddr & 01:00:00:00:00:00"
_OF_A_GROUP: Final = f"{_GROUP_BIT} == 01:00:00:00:00:00"


def layer_2_chains(eni: NodeENI) -> frozenset[Chain]:
    """Return the chains that mark what its pods send to the node, and drop what they may not."""
    index = eni.link.ifindex
    hook = f"type filter hook prerouting {BEFORE_REPLIES}"
    # The kernel itself drops the node's own addresses as senders for IPv4 only (accept_local).
    own = f"iif {index} meta nfproto ipv6 fib saddr type local drop"
    loopback = f"iif {index} ip daddr {LOOPBACK} drop"  # `host_ports`, route_localnet
    # Pods know the node by permanent neighbours: neighbour discovery is an attack (see `guard`).
    sent = _sent_to_node(eni)
    of_pods = [f"{sent} {match} drop" for match in (*FORGED_MTU_ERRORS, NEIGHBOUR_DISCOVERY)]
    # What comes to an l2 pod from beyond its subnet does not pass the node, but the pod's answers
    # do. Conntrack calls them invalid; kube-proxy's mode iptables, and other firewalls, drop those.
    one_way = [
        f"iif {index} ct state invalid {word} saddr @pods{number} notrack"
        for word, number in FAMILIES
    ]
    marked = [f"iif {index} {rule}" for rule in marks(eni)]
    into_node = eni_chain(eni, "", hook, [own, loopback, *of_pods, *one_way, *marked])
    of_layer_2 = {_senders_of_layer_2(eni), _ingress_chain(eni), _arp_chain(eni)}
    return frozenset({into_node, _nat_of_neighbours(eni), *of_layer_2})


def _sent_to_node(eni: NodeENI) -> str:
    """Return the match for what l2 pods send to the node, which `_ingress_chain` lets pass."""
    return f"iif {eni.link.ifindex} ether saddr {eni.facts.mac}"


def _senders_of_layer_2(eni: NodeENI) -> Chain:
    """Return the chain that drops what l2 pods send to the node under others' addresses.

    One that poses as somebody outside to a port of the node that leads to itself would get to that
    outside as the node, since its replies leave by the node's own NIC. Each fragment has to have
    the address of a pod of this ENI (see `guard`). A frame of a group has got past
    `_ingress_chain`: tc had redirected it in the pod (tc_skip_classify).
    """
    sent = _sent_to_node(eni)
    iif = f"iif {eni.link.ifindex}"
    rules = [
        f"{iif} {_OF_A_GROUP} drop",
        f"{iif} {HIDDEN_FRAGMENT} drop",
        *(f"{sent} {word} saddr . iif != @podlinks{number} drop" for word, number in FAMILIES),
    ]
    return eni_chain(eni, CUT, f"type filter hook prerouting {BEFORE_DEFRAGMENTATION}", rules)


def _ingress_chain(eni: NodeENI) -> Chain:
    """Return the chain that lets l2 pods send nothing but IP to the node, no ARP in particular.

    ipvlan passes a slave's frame to the node if its sender's MAC is the receiver's
    (drivers/net/ipvlan/ipvlan_core.c, ipvlan_xmit_mode_l2): the ENI's own, or a group's, which
    nobody has. Each is for the node alone. One with the ENI's MAC as its sender that comes from the
    network, as a group's or as one for another, is forged. (One that is for the ENI's MAC as well
    has nothing that tells it from a pod's, but no switch that learns MACs delivers it here.)
    """
    hook = f'type filter hook ingress device "{eni.link.device}" priority filter; policy accept;'
    rules = [
        f"{_GROUP_BIT} == 0 ether saddr != {eni.facts.mac} accept",
        f"{_OF_A_GROUP} drop",
        "meta pkttype != host drop",
        "meta protocol ip accept",
        "meta protocol ip6 accept",
        "drop",
    ]
    return chain("netdev", eni_chain_name(eni) + _IN, hook, rules, protects=True)


def _arp_chain(eni: NodeENI) -> Chain:
    """Return the chain that drops l2 pods' ARP, which could move the ENI's gateway elsewhere.

    A pod with CAP_NET_ADMIN leads frames past `_ingress_chain` by an ifb (tc_skip_classify).
    """
    sent = _sent_to_node(eni)
    rules = [f"{sent} drop", f"iif {eni.link.ifindex} {_OF_A_GROUP} drop"]
    hook, links = "type filter hook input priority filter; policy accept;", (eni.link.device,)
    return chain("arp", eni_chain_name(eni) + _ARP, hook, rules, links, protects=True)


def _nat_of_neighbours(eni: NodeENI) -> Chain:
    """Return the chain for clients in an l2 pod's own subnet that reach it by a port of the node.

    The pod would answer its subnet directly, past the node's conntrack, from an address that the
    client has not asked. So they come with the ENI's primary address, to which the pod answers
    through the node.
    """
    rules = [
        f"oif {eni.host_slave_index} {word} saddr {subnet.cidr} ct status dnat "
        f"snat {word} to {eni.primary(number)}"
        for word, number in FAMILIES
        for subnet in eni.facts.subnets
        if family_of(subnet.cidr) == number
    ]
    hook = "type nat hook postrouting priority srcnat - 5; policy accept;"
    return eni_chain(eni, _NAT, hook, rules)
