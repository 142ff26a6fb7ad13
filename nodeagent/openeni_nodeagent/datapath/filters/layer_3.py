"""The nftables chains of an ENI whose pods are ipvlan slaves in mode l3s or l3."""

from typing import Final

from openeni_crds.enipool import IPVlanMode
from openeni_nodeagent.addresses import IPV6, family_of
from openeni_nodeagent.datapath.filters.chains import (
    BEFORE_DEFRAGMENTATION,
    BEFORE_REPLIES,
    CUT,
    FAMILIES,
    FORGED_MTU_ERRORS,
    FRAGMENTS,
    HIDDEN_FRAGMENT,
    METADATA_SERVICES,
    WHOLE,
    eni_chain,
    marks,
)
from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.model import Chain

_LO: Final = "_lo"  # ends the name of a chain, after the ENI's interface index
# Sockets of the kernel have a cgroup, too: those of NFS or Ceph, and the control sockets that send
# echo replies, neighbour discovery and most resets. `skuid` knows those of programs alone. Tunnels
# (VXLAN, WireGuard) send for others; none may end at an ENI's primary address or at a pod.
OF_A_SOCKET: Final = "meta cgroup 0-4294967294 accept"


def layer_3_chains(eni: NodeENI, *, blocks: bool) -> frozenset[Chain]:
    """Return the chains that mark what its pods send, and drop what they may not send."""
    index = eni.link.ifindex
    hook = f"type filter hook output {BEFORE_REPLIES}"
    rules = [
        *(f"oif {index} {rule}" for rule in _early_of_layer_3(eni, blocks=blocks)),
        *(f"oif {index} {rule}" for rule in marks(eni)),
    ]
    for (word, number), service in METADATA_SERVICES if blocks else ():
        # An error goes to the sender, who may be anybody: past the ENI and its security groups.
        of_a_pod = f"{word} saddr . oif @podlinks{number}"
        rules += [f"oif {index} {of_a_pod} {word} daddr {service} reject"]
        rules += [f"oif {index} {word} daddr {service} drop"]
    rules += _of_layer_3_pods(index)
    return frozenset({eni_chain(eni, "", hook, rules), _lo_chain(eni), _fragments_of_layer_3(eni)})


def _early_of_layer_3(eni: NodeENI, *, blocks: bool) -> list[str]:
    """Return the rules for nearly all that its pods send: what the others would mark and accept.

    The others look for its sender in three sets.
    """
    return [
        f"meta l4proto != {errors} {f'{word} daddr != {service} ' if blocks else ''}"
        f"{word} saddr . oif @podlinks{number} {eni.mark.statement} accept"
        for errors, ((word, number), service) in zip(
            ("icmp", "ipv6-icmp"), METADATA_SERVICES, strict=True
        )
    ]


def _of_layer_3_pods(index: int) -> list[str]:
    """Return the rules for what pods send where the node itself sends, in its output hook.

    What the node sends has a socket of its own namespace there (`OF_A_SOCKET`), which a pod's
    packet has not, but for what the kernel itself sends for a pod: all namespaces share those
    sockets (Linux 5.18), which are the node's while such a packet waits for a limit of the pod's
    bandwidth, or in a qdisc of its own. So forged errors about a path's MTU come first, and what
    the kernel answers as nobody (`_of_nobody`). Where a pod's packets may go to, nothing else
    passes but what a pod sends as a pod, and what the kernel sends without a socket: reports of
    groups (IGMP), and of TCP resets, those of a firewall (`reject with tcp reset`) with the address
    that it refuses, answers over IPv6, and SYN-ACKs with a cookie. Conntrack calls them established
    or related, or resets invalid where it does not know the connection. A pod that has it call TCP
    of its own established, or forges a reset, would have to know sequence numbers, too, unless it
    begins a connection: so no SYN passes. Nor do fragments that are not joined (IP_NODEFRAG), since
    their flags cannot be read. Of other protocols nothing passes, whatever conntrack says.

    Pods' packets go to the ENI, and to `lo`, by IPv6 if they are for an address of the node, in
    both families if they are for the ENI's primary address; there it does not show of which ENI a
    pod is. What is for 0.0.0.0 goes to `lo` whatever its output device, and its sender
    (ip_route_output_key_hash_rcu); nothing of the node's is, since a socket that asks for it sends
    to another address. By IPv6 what has a primary address as its sender goes to pods as well
    (`RULE_ANSWER_V6`). A limit of a pod's bandwidth has the kernel hand the node what it sends to
    groups (sk_mc_loop). So neighbour discovery (see `guard`) and the messages about groups (MLD)
    are dropped, from pods as well.
    """
    known = "ct state established,related,untracked"
    return [
        *(f"{error} drop" for error in FORGED_MTU_ERRORS),
        *_of_nobody(index),
        OF_A_SOCKET,
        "exthdr frag exists drop",  # of a fragment: conntrack has joined the outer ones
        f'oif != {index} oif != "lo" meta nfproto ipv4 accept',
        f'oif != {index} oif != "lo" ip6 saddr != @primaries6 accept',
        "oif lo ip daddr 0.0.0.0 drop",
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


def _of_nobody(index: int) -> list[str]:
    """Return the rules for answers and errors of the kernel as neither the node nor a pod.

    A pod can give its loopback any address, and ask that as anybody. (Resets and other segments
    that the kernel answers have no socket in the node's namespace: tried with 6.1 and 7.3.)
    """
    kinds = zip(FAMILIES, ("ip protocol icmp", "icmpv6 type 0-129"), strict=True)
    return [
        f"{way} {kind} {word} {of_no_pod} fib saddr type != local drop"
        for (word, number), kind in kinds
        for way, of_no_pod in (
            (f"oif {index}", f"saddr . oif != @podlinks{number}"),
            ("oif lo", f"saddr != @pods{number}"),
        )
    ]


def _lo_chain(eni: NodeENI) -> Chain:
    """Return the chain for what comes to the node by its slave, and for fragments by `lo`.

    ipvlan leads to that slave what is for the node's addresses. A pod may have it read one of these
    where there is none: in a packet of IPv4 that it calls ARP (sll_protocol), and which is for
    anybody. The node would route it, past all chains of what leaves by the ENI.

    Fragments are not joined yet. The node has joined those of an l3s or l3 pod for its output hook,
    and cut them again. Then it completes a partial checksum, behind all rules of that hook (see
    `egress_chain`): the sender, or what makes an error one about a path's MTU. The node itself cuts
    nothing into fragments that goes to `lo`, which takes 64 KiB. What an l3 pod sends to a service
    of the node has the ENI's primary address by then (`service`), or the node's if kube-proxy
    masquerades it, and over `lo` a packet keeps its entry of conntrack.
    """
    hook = f"type filter hook prerouting {BEFORE_DEFRAGMENTATION}"
    cut_4 = "ip frag-off & 0x3fff != 0 ip daddr @primaries4"
    # With `accept_local`, which ARP needs, the kernel takes these from the network. What an l3 pod
    # sends to a service has the primary address of its ENI.
    own = "meta nfproto ipv4 fib saddr type local ip saddr != @primaries4 drop"
    is_l3s = eni.facts.datapath.ipvlan_mode is IPVlanMode.L3S
    rules = [
        *([f"iif {eni.link.ifindex} {own}"] if is_l3s else []),
        f"iif {eni.host_slave_index} fib daddr type != local drop",
        'iif != "lo" accept',
        f"{HIDDEN_FRAGMENT} drop",
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
    return eni_chain(eni, _LO, hook, rules)


def _fragments_of_layer_3(eni: NodeENI) -> Chain:
    """Return the chain for fragments that pods send by the ENI, before they are joined.

    The kernel joins them in one place for the pods of all ENIs (`OF_A_SOCKET`: the node itself
    sends none that way).
    """
    oif = f"oif {eni.link.ifindex}"
    rules = [
        f"{oif} {HIDDEN_FRAGMENT} drop",
        *(f"{oif} {cut} {word} saddr . oif != @podlinks{n} drop" for word, cut, n in FRAGMENTS),
    ]
    hook = f"type filter hook output {BEFORE_DEFRAGMENTATION}"
    return eni_chain(eni, CUT, hook, [f"{WHOLE} accept", OF_A_SOCKET, *rules])
