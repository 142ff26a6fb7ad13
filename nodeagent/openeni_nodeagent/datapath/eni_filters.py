"""The nftables chains of one ENI: they mark what its pods send, and drop what they may not send."""

from typing import Final

from openeni_crds import names
from openeni_crds.enipool import IPVlanMode, MetadataService
from openeni_nodeagent.addresses import IPV6, family_of
from openeni_nodeagent.datapath.filters import (
    BEFORE_DEFRAGMENTATION,
    ENI_CHAIN,
    FAMILIES,
    FORGED_MTU_ERRORS,
    FRAGMENTS,
    LOOPBACK,
    NEIGHBOUR_DISCOVERY,
    WHOLE,
    chain,
    egress_chain,
)
from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.model import Chain
from openeni_nodeagent.datapath.nft_sets import FLOW_CHAIN, FLOWTABLE, FLOWTABLE_PRIORITY

# Of names of chains, after the ENI's interface index:
_NAT: Final = "_nat"
_IN: Final = "_in"
_LO: Final = "_lo"
_CUT: Final = "_cut"
_LOST: Final = "_lost"
# Sockets of the kernel have a cgroup, too: those of NFS or Ceph, and the control sockets that send
# echo replies, neighbour discovery and most resets. `skuid` knows those of programs alone. Tunnels
# (VXLAN, WireGuard) send for others; none may end at an ENI's primary address or at a pod.
OF_A_SOCKET: Final = "meta cgroup 0-4294967294 accept"
_BEFORE_REPLIES: Final = "priority mangle - 5; policy accept;"  # their mark replaces the ENI's
_AFTER_OTHERS: Final = "priority mangle + 1; policy accept;"


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
        chains = _of_layer_2(eni) if eni.layer_2 else _of_layer_3(eni, blocks=blocks)
    return chains | {egress_chain(eni.link)} if blocks and eni.has_egress_hook else chains


def _name(eni: NodeENI) -> str:
    return f"{ENI_CHAIN}{eni.link.ifindex}"


def _chain(eni: NodeENI, suffix: str, hook: str, rules: list[str]) -> Chain:
    """Return a chain whose rules match the ENI's links by index.

    nft lists these by name: who saves the ruleset, and loads it once the names of NICs have changed
    places, has another ENI's chain.
    """
    return chain("inet", _name(eni) + suffix, hook, rules, links=(eni.link.device,))


def _marks(eni: NodeENI) -> list[str]:
    """Return the rules that mark what a pod of ipvlan sends."""
    return [f"{word} saddr @pods{number} {eni.mark.statement}" for word, number in FAMILIES]


def _of_veth(eni: NodeENI, *, blocks: bool) -> frozenset[Chain]:
    pods = f"iifgroup {eni.group}"
    # With `accept_local`, which ARP needs, the kernel takes these from the network.
    own = f"iif {eni.link.ifindex} fib saddr type local drop"
    hook = f"type filter hook prerouting {_BEFORE_REPLIES}"
    block = [f"{pods} ip6 daddr {names.METADATA_V6} drop"] if blocks else []
    chains = {_chain(eni, "", hook, [own, f"{pods} {eni.mark.statement}", *block])}
    # At `mangle` wg-quick gives datagrams the mark of their connection, 0: the ENI's is set again,
    # before kube-proxy sets a bit. Others' stay, and replies by another NIC (`reply_in`) need none.
    matches = "ct status and dnat == 0", "ct direction original"
    lost = [f"{pods} meta mark 0 {which} {eni.mark.statement}" for which in matches]
    chains |= {_chain(eni, _LOST, f"type filter hook prerouting {_AFTER_OTHERS}", lost)}
    return frozenset(chains | ({_offloading_chain(eni)} if eni.offloads else set()))


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

    Filters of the forward hook have let packets of both directions pass, those in postrouting not.
    """
    hook = f"type filter hook forward priority {FLOWTABLE_PRIORITY}; policy accept;"
    lasting = "meta nfproto ipv4 ct state established ct status assured"
    return _chain(eni, FLOW_CHAIN, hook, [f"iifgroup {eni.group} {lasting} flow add @{FLOWTABLE}"])


def _of_layer_3(eni: NodeENI, *, blocks: bool) -> frozenset[Chain]:
    index = eni.link.ifindex
    hook = f"type filter hook output {_BEFORE_REPLIES}"
    rules = [
        *(f"oif {index} {rule}" for rule in _early_of_layer_3(eni, blocks=blocks)),
        *(f"oif {index} {rule}" for rule in _marks(eni)),
    ]
    services = zip(FAMILIES, (names.METADATA_V4, names.METADATA_V6), strict=True)
    for (word, number), service in services if blocks else ():
        # An error goes to the sender, who may be anybody: past the ENI and its security groups.
        of_a_pod = f"{word} saddr . oif @podlinks{number}"
        rules += [f"oif {index} {of_a_pod} {word} daddr {service} reject"]
        rules += [f"oif {index} {word} daddr {service} drop"]
    rules += _of_layer_3_pods(index)
    return frozenset({_chain(eni, "", hook, rules), _lo_chain(eni), _fragments_of_layer_3(eni)})


def _early_of_layer_3(eni: NodeENI, *, blocks: bool) -> list[str]:
    """Return the rules for nearly all that its pods send: what the others would mark and accept.

    The others look for its sender in three sets.
    """
    allowed = (
        ("meta l4proto != icmp", names.METADATA_V4),
        ("meta l4proto != ipv6-icmp", names.METADATA_V6),
    )
    return [
        f"{protocol} {f'{word} daddr != {service} ' if blocks else ''}"
        f"{word} saddr . oif @podlinks{number} {eni.mark.statement} accept"
        for (word, number), (protocol, service) in zip(FAMILIES, allowed, strict=True)
    ]


def _of_layer_2(eni: NodeENI) -> frozenset[Chain]:
    index = eni.link.ifindex
    hook = f"type filter hook prerouting {_BEFORE_REPLIES}"
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
    marks = [f"iif {index} {rule}" for rule in _marks(eni)]
    into_node = _chain(eni, "", hook, [own, loopback, *of_pods, *one_way, *marks])
    return frozenset(
        {into_node, _senders_of_layer_2(eni), _nat_of_neighbours(eni), _ingress_chain(eni)}
    )


def _of_layer_3_pods(index: int) -> list[str]:
    """Return the rules for what pods send where the node itself sends, in its output hook.

    What the node sends has a socket of its own namespace there (`OF_A_SOCKET`), which a pod's
    packet has not. Where a pod's packets may go to, nothing else passes but what a pod sends as a
    pod, and what the kernel sends without a socket: reports of groups (IGMP), and of TCP resets,
    those of a firewall (`reject with tcp reset`) with the address that it refuses, answers over
    IPv6, and SYN-ACKs with a cookie. Conntrack calls them established or related, or resets invalid
    where it does not know the connection. A pod that has it call TCP of its own established, or
    forges a reset, would have to know sequence numbers, too, unless it begins a connection: so no
    SYN passes. Nor do fragments that are not joined (IP_NODEFRAG), since their flags cannot be
    read. Of other protocols nothing passes, whatever conntrack says.

    Pods' packets go to the ENI, and to `lo`, by IPv6 if they are for an address of the node, in
    both families if they are for the ENI's primary address; there it does not show of which ENI a
    pod is. By IPv6 what has a primary address as its sender goes to pods as well
    (`RULE_ANSWER_V6`). A limit of a pod's bandwidth has the kernel hand the node what it sends to
    groups (sk_mc_loop). So neighbour discovery (see `guard`) and the messages about groups (MLD)
    are dropped, from pods as well.
    """
    known = "ct state established,related,untracked"
    return [
        OF_A_SOCKET,
        *(f"{error} drop" for error in FORGED_MTU_ERRORS),
        f'oif != {index} oif != "lo" meta nfproto ipv4 accept',
        f'oif != {index} oif != "lo" ip6 saddr != @primaries6 accept',
        "oif lo ip daddr != @primaries4 accept",
        "icmpv6 type 130-137 drop",
        "icmpv6 type 143 drop",
        *(f"oif {index} {word} saddr . oif @podlinks{number} accept" for word, number in FAMILIES),
        *(f"oif lo {word} saddr @pods{number} accept" for word, number in FAMILIES),
        f"oif {index} ip protocol igmp ip daddr 224.0.0.0/4 fib saddr type local accept",
        "tcp flags & rst == rst ct state established,related accept",
        "tcp flags & rst == rst fib saddr type local accept",
        f"tcp flags & (syn | ack) != syn {known} fib saddr type local accept",
        "drop",
    ]


def _lo_chain(eni: NodeENI) -> Chain:
    """Return the chain for fragments that come to the node by `lo`, before they are joined.

    The node has joined those of an l3s or l3 pod for its output hook, and cut them again. Then it
    completes a partial checksum, behind all rules of that hook (see `egress_chain`): the sender, or
    what makes an error one about a path's MTU. The node itself cuts nothing into fragments that
    goes to `lo`, which takes 64 KiB. What an l3 pod sends to a service of the node has the ENI's
    primary address by then (`service`), or the node's if kube-proxy masquerades it, and over `lo` a
    packet keeps its entry of conntrack.
    """
    hook = f"type filter hook prerouting {BEFORE_DEFRAGMENTATION}"
    cut_4 = "ip frag-off & 0x3fff != 0 ip daddr @primaries4"
    # With `accept_local`, which ARP needs, the kernel takes these from the network. What an l3 pod
    # sends to a service has the primary address of its ENI.
    own = "meta nfproto ipv4 fib saddr type local ip saddr != @primaries4 drop"
    is_l3s = eni.facts.datapath.ipvlan_mode is IPVlanMode.L3S
    rules = [
        *([f"iif {eni.link.ifindex} {own}"] if is_l3s else []),
        'iif != "lo" accept',
        "exthdr frag exists icmpv6 type packet-too-big drop",
        "exthdr frag exists ct status snat ip6 saddr @primaries6 accept",
        *(
            f"exthdr frag exists ct status snat ip6 saddr {address} accept"
            for address in eni.node.addresses
            if family_of(address) == IPV6
        ),
        "exthdr frag exists ip6 saddr != @pods6 drop",
        f"{cut_4} icmp type destination-unreachable drop",
        f"{cut_4} ip saddr != @pods4 drop",
    ]
    return _chain(eni, _LO, hook, rules)


def _fragments_of_layer_3(eni: NodeENI) -> Chain:
    """Return the chain for fragments that pods send by the ENI, before they are joined.

    The kernel joins them in one place for the pods of all ENIs (`OF_A_SOCKET`: the node itself
    sends none that way).
    """
    oif = f"oif {eni.link.ifindex}"
    rules = [f"{oif} {cut} {word} saddr . oif != @podlinks{n} drop" for word, cut, n in FRAGMENTS]
    hook = f"type filter hook output {BEFORE_DEFRAGMENTATION}"
    return _chain(eni, _CUT, hook, [f"{WHOLE} accept", OF_A_SOCKET, *rules])


def _sent_to_node(eni: NodeENI) -> str:
    """Return the match for what l2 pods send to the node, which `_ingress_chain` lets pass."""
    return f"iif {eni.link.ifindex} ether saddr {eni.facts.mac}"


def _senders_of_layer_2(eni: NodeENI) -> Chain:
    """Return the chain that drops what l2 pods send to the node under others' addresses.

    One that poses as somebody outside to a port of the node that leads to itself would get to that
    outside as the node, since its replies leave by the node's own NIC. Each fragment has to have
    the address of a pod of this ENI (see `guard`).
    """
    sent = _sent_to_node(eni)
    rules = [f"{sent} {word} saddr . iif != @podlinks{number} drop" for word, number in FAMILIES]
    return _chain(eni, _CUT, f"type filter hook prerouting {BEFORE_DEFRAGMENTATION}", rules)


def _ingress_chain(eni: NodeENI) -> Chain:
    """Return the chain that lets l2 pods send nothing but IP to the node, no ARP in particular.

    ipvlan passes a slave's frame to the node if its sender's MAC is the receiver's
    (drivers/net/ipvlan/ipvlan_core.c, ipvlan_xmit_mode_l2): the ENI's own, or a group's, which
    nobody has. No such frame comes from the network.
    """
    hook = f'type filter hook ingress device "{eni.link.device}" priority filter; policy accept;'
    group = "ether saddr & 01:00:00:00:00:00"
    rules = [
        f"{group} == 0 ether saddr != {eni.facts.mac} accept",
        f"{group} == 01:00:00:00:00:00 drop",
        "meta protocol ip accept",
        "meta protocol ip6 accept",
        "drop",
    ]
    return chain("netdev", _name(eni) + _IN, hook, rules)


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
    return _chain(eni, _NAT, hook, rules)
