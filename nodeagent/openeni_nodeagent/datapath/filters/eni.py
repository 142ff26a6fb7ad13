"""The nftables chains of one ENI: they mark what its pods send, and drop what they may not send."""

from collections.abc import Iterator
from typing import Final

from openeni_crds import names
from openeni_crds.enipool import MetadataService
from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.datapath.filters.chains import (
    BEFORE_REPLIES,
    FAMILIES,
    MTU_ERRORS,
    UNTRANSLATED,
    eni_chain,
)
from openeni_nodeagent.datapath.filters.egress import egress_chain
from openeni_nodeagent.datapath.filters.layer_2 import layer_2_chains
from openeni_nodeagent.datapath.filters.layer_3 import layer_3_chains
from openeni_nodeagent.datapath.filters.replies import by_no_eni
from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import Chain
from openeni_nodeagent.datapath.nft_sets import FLOW_CHAIN, FLOWTABLE, FLOWTABLE_PRIORITY

# Of names of chains, after the ENI's interface index:
_LOST: Final = "_lost"
_NODE: Final = "_node"
_INPUT: Final = "_input"
_FORWARD: Final = "_forward"
_AFTER_OTHERS: Final = "priority mangle + 1; policy accept;"
_AT_FILTERS: Final = "priority filter; policy accept;"
_BEGUN: Final = "ct direction original"  # by whoever sends it
_BEFORE_SERVICES: Final = "priority dstnat - 5; policy accept;"  # and host ports


def eni_chains(eni: NodeENI) -> frozenset[Chain]:
    """Return the chains of one ENI: they mark what its pods send, and block the metadata service.

    They match links by index or group, which stay when a link is renamed. A packet to the metadata
    service that the node routes hits the `prohibit` route in the ENI's table, and its sender gets
    an ICMP error at once. Some packets bypass that route: an l2 pod may add a route of its own to
    the wire. For an l3s or l3 pod the kernel treats any destination as on-link when the look-up
    fails (ip_route_output_key_hash_rcu: with `oif` given, "routing tables are wrong"). IPv6 looks
    up a link-local address such as the service's on the packet's own link only. And `egress_chain`
    has what somebody with CAP_NET_RAW does behind all of these.
    """
    blocks = eni.facts.datapath.metadata_service is MetadataService.BLOCK
    if not eni.ipvlan:
        chains = _of_veth(eni, blocks=blocks)
    else:
        chains = layer_2_chains(eni) if eni.layer_2 else layer_3_chains(eni, blocks=blocks)
    chains |= {_node_chain(eni), _input_chain(eni), _forward_chain(eni)}
    return chains | {egress_chain(eni.link)} if blocks and eni.has_egress_hook else chains


def _of_veth(eni: NodeENI, *, blocks: bool) -> frozenset[Chain]:
    pods = f"iifgroup {eni.group}"
    # With `accept_local`, which ARP needs, the kernel takes these from the network.
    own = f"iif {eni.link.ifindex} fib saddr type local drop"
    hook = f"type filter hook prerouting {BEFORE_REPLIES}"
    block = [f"{pods} ip6 daddr {names.METADATA_V6} drop"] if blocks else []
    chains = {
        eni_chain(eni, "", hook, [own, f"{pods} {eni.mark.statement}", *block]),
        _lost_chain(eni),
    }
    return frozenset(chains | ({_offloading_chain(eni)} if eni.offloads else set()))


def _lost_chain(eni: NodeENI) -> Chain:
    """Return the chain that sets marks again that others have taken away.

    At `mangle` wg-quick gives datagrams the mark of their connection, 0: they would leave by its
    tunnel or the node's own NIC. Kube-proxy sets a bit later. A mark that others set stays.
    """
    pods = f"iifgroup {eni.group}"
    mask = eni.mark.mask
    rules = [
        "meta mark != 0 accept",
        f"{pods} {by_no_eni(mask)} {Marks(mask).reply.statement} accept",
        f"{pods} {eni.mark.statement}",
    ]
    return eni_chain(eni, _LOST, f"type filter hook prerouting {_AFTER_OTHERS}", rules)


def _node_chain(eni: NodeENI) -> Chain:
    """Return the chain that lets nobody begin a flow with the node by the ENI's NIC.

    The node's addresses belong to its own port, whose security groups say who reaches them; by the
    ENI's MAC anybody of the pods' network would get past these. And a pod answers by the node's own
    NIC what has come to it by a port of the node: to a machine that may send as the metadata
    service, or as another node, it would speak as the node does.

    A chain of NAT comes before services are translated, and sees only the first packet of a flow.
    `_input_chain` has what belongs to none. Groups and anycast addresses are the node's, too, and
    so is the primary address of another ENI.

    Other flows get the ENI's mark: if a service or a node port has them translated, their replies
    leave by the ENI, too (`replies`).
    """
    from_network = _from_network(eni)
    rules = [
        f"{from_network} {match} fib daddr type != unicast counter drop"
        for match in _for_another(eni)
    ]
    rules += [f"{from_network} {eni.mark.of_connection}"]
    hook = f"type nat hook prerouting {_BEFORE_SERVICES}"
    return eni_chain(eni, _NODE, hook, rules, protects=True)


def _for_another(eni: NodeENI, asked: str = "") -> Iterator[str]:
    """Yield what matches the packets of a family that are not for the ENI's primary address.

    Before services are translated; afterwards it is the flow that was `asked`.
    """
    for word, number in FAMILIES:
        address = eni.primary(number)
        yield f"{asked}{word} daddr != {address}" if address else f"meta nfproto ipv{number}"


def _to_services(eni: NodeENI) -> list[str]:
    """Return the rules that drop what was for a service, and not for the ENI's primary address.

    A service leads to any port of a pod or the node, while security groups let its own port pass.
    """
    asked = f"ct status dnat {_BEGUN}"
    return [f"{asked} {match} counter drop" for match in _for_another(eni, "ct original ")]


def _from_network(eni: NodeENI) -> str:
    """Return what matches the packets of the network. An l2 pod's come by the NIC, with its MAC."""
    iif = f"iif {eni.link.ifindex}"
    return f"{iif} ether saddr != {eni.facts.mac}" if eni.layer_2 else iif


def _input_chain(eni: NodeENI) -> Chain:
    """Return the chain for what comes to the node by the ENI's NIC past `_node_chain`.

    A datagram over IPv6 that says it has no length, an error about an unknown connection, what
    somebody's `notrack` is for: conntrack calls it invalid or untracked, and no chain of NAT has
    seen it. Nor has one seen a flow that began while somebody had deleted it. And what was for a
    service when that chain saw it, and is for the node since. Node ports at a primary address may
    lead to the node.

    Nobody has asked for an error about a path's MTU that conntrack does not know (`MTU_ERRORS`), or
    that is about what the node has answered somebody who may have given another's address: TCP
    alone asks for sequence numbers. The kernel keeps what it believes of the primary address's path
    with the route's next hop (update_or_create_fnhe), which is that of all veth pods of the ENI.

    Nor does the node send to itself by the wire, which `accept_local` and IPv6 would let it.

    l3s pods have their packets here, too (drivers/net/ipvlan/ipvlan_l3s.c).
    """
    index, has_flow = eni.link.ifindex, "ct state new,established,related accept"
    rules = [
        f"iif != {index} accept",
        f"{UNTRANSLATED} ct direction reply {has_flow}",
        *([f"ether saddr {eni.facts.mac} accept"] if eni.layer_2 else []),
        *_to_services(eni),
        *([f"{word} daddr . iif @podlinks{n} accept" for word, n in FAMILIES if eni.layer_3]),
        *(f"{UNTRANSLATED} {_BEGUN} {match} counter drop" for match in _for_another(eni)),
        *(f"{error} {_BEGUN} ct original protocol != tcp counter drop" for error in MTU_ERRORS),
        "fib saddr type local counter drop",
        has_flow,
        *(f"{error} counter drop" for error in MTU_ERRORS),
        "icmpv6 type 130-137 accept",  # groups and neighbour discovery, which conntrack leaves out
        *(f"{word} daddr {a} accept" for word, n in FAMILIES if (a := eni.primary(n))),
        "counter drop",
    ]
    hook = f"type filter hook input {_AT_FILTERS}"
    return eni_chain(eni, _INPUT, hook, rules, protects=True)


def _forward_chain(eni: NodeENI) -> Chain:
    """Return the chain that lets nothing through from the ENI's NIC but to the ENI's own pods.

    By its MAC anybody of the pods' network would reach the pods of other ENIs past their security
    groups, and what else the node routes to: its bridges, other plugins' pods.

    What an l2 pod sends through its node may go elsewhere, but not to its own subnet, which it
    reaches by the wire, unless it was for a service.
    """
    own = f"oif {eni.host_slave_index}" if eni.ipvlan else f"oifgroup {eni.group}"
    own_frame = f"ether saddr {eni.facts.mac}"
    rules = [
        f"iif != {eni.link.ifindex} accept",
        f"{UNTRANSLATED} {own} accept",  # nearly all; what has no flow has no status at all
        *([f"{own_frame} ct status dnat accept"] if eni.layer_2 else []),
        *_to_services(eni),
        f"{own} accept",
    ]
    if eni.layer_2:
        rules += [
            f"{word} daddr {subnet.cidr} counter drop"
            for word, number in FAMILIES
            for subnet in eni.facts.subnets
            if family_of(subnet.cidr) == number
        ]
        rules += [f"{own_frame} accept"]
    hook = f"type filter hook forward {_AT_FILTERS}"
    return eni_chain(eni, _FORWARD, hook, [*rules, "counter drop"], protects=True)


def _offloading_chain(eni: NodeENI) -> Chain:
    """Return the chain that puts flows of the ENI's pods into the flowtable (`FlowtableLink`).

    Only packets that a pod sends add a flow: the kernel takes the route out from such a packet, and
    looks up the route back by its incoming link (nft_flow_route). For what comes in by the ENI it
    would look up the route out with neither mark nor sender, find none, and take any destination to
    be on the ENI's link.

    Only IPv4: a flow of IPv6 survives changes of routes in other tables than its own (ip6_dst_check
    asks the node of its route alone), and so would lead past a new pod of this node with the
    address that it is for. Only what is assured: UDP after two seconds. The flow of a question and
    its answer would keep their conntrack entry four times as long.

    Datagrams between two links of the node go through the stack. The kernel counts them against
    their sender's socket until they are received, and would do so while a limit or a queue of the
    receiver holds them: a pod would silence a server that answers it. ip_rcv() ends that
    (skb_orphan), and in TCP such a socket has one peer.

    Filters of the forward hook have let packets of both directions pass, those in postrouting not.
    """
    hook = f"type filter hook forward priority {FLOWTABLE_PRIORITY}; policy accept;"
    lasting = "meta nfproto ipv4 ct state established ct status assured"
    rules = [
        f"iifgroup {eni.group} oif != {eni.link.ifindex} meta l4proto != tcp accept",
        f"iifgroup {eni.group} {lasting} flow add @{FLOWTABLE}",
    ]
    return eni_chain(eni, FLOW_CHAIN, hook, rules)
