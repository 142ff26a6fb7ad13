"""The nftables chains that all ENIs of a node share. `nft_sets` has the sets."""

from typing import Final

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, family_of
from openeni_nodeagent.datapath.filters.chains import (
    BEFORE_DEFRAGMENTATION,
    FAMILIES,
    FORGED_MTU_ERRORS,
    FORGED_MTU_ERRORS_TO_PODS,
    FRAGMENTS,
    HIDDEN_FRAGMENT,
    LOOPBACK,
    METADATA_SERVICES,
    NEIGHBOUR_DISCOVERY,
    UNTRANSLATED,
    chain,
)
from openeni_nodeagent.datapath.filters.host_ports import host_port_chains
from openeni_nodeagent.datapath.filters.replies import REPLIES, by_no_eni, marked_as_connection
from openeni_nodeagent.datapath.marks import Mark
from openeni_nodeagent.datapath.model import Chain
from openeni_nodeagent.datapath_api import NodeFacts

_PODS: Final = f'iifname "{names.LINK_PREFIX}*"'  # veth pods, and slaves on the node
_SLAVES: Final = f"{names.LINK_PREFIX}-*"
# The metadata service begins no flow: a pod would answer it by the node's own NIC, as the node.
# (Here the answer is still for the node if kube-proxy has masqueraded the question.)
_TO_THE_SERVICE: Final = tuple(
    f"{REPLIES} ct original {word} saddr {service} drop" for (word, _), service in METADATA_SERVICES
)

# The kernel reads IPv6 options for each hop ahead of all filters (ip6_rcv_core), and tells of one
# that it does not know whomever the packet names as its sender: as the node, by its own NIC.
_ANSWER_BEFORE_FILTERS: Final = "icmpv6 type parameter-problem counter drop"


def node_chains(reply: Mark, node: NodeFacts) -> frozenset[Chain]:
    """Return the chains that all ENIs share. `nft_sets` has the sets.

    `guard` comes before everything else. `reply_in` matches veth pods and slaves by device, and l2
    pods, whose packets enter on the ENI, by address; the ENI's chain has marked them before.
    `reply_out` matches l3s and l3 pods, whose packets pass the node's output hook, and programs of
    the node. `service` runs before kube-proxy's postrouting chain. A flow of an l2 or l3 pod to a
    service leaves with the ENI's address, because replies to the pod's own would bypass the node's
    conntrack; so does an l3s pod's flow to a backend behind the same ENI, and a flow of a veth pod
    to itself by its host port. What the node sends from 127.0.0.1 to a host port leaves with the
    node's address.
    """
    others = by_no_eni(reply.mask)
    replies = [
        *_TO_THE_SERVICE,
        *marked_as_connection(reply.mask),
        *(f"{others} {word} saddr @pods{number} {reply.statement}" for word, number in FAMILIES),
    ]
    return frozenset(
        {
            _guard(),
            chain(
                "inet",
                "reply_in",
                # Before chains of others at the same priority, which may set marks as well.
                "type filter hook prerouting priority mangle - 4; policy accept;",
                [
                    *_early(reply.mask),
                    *replies,
                    f"{others} {_PODS} {reply.statement}",
                    *_late_guard(reply.mask),
                ],
            ),
            chain(
                "inet",
                "reply_out",
                "type route hook output priority mangle; policy accept;",
                [_ANSWER_BEFORE_FILTERS, f"{UNTRANSLATED} accept", *replies],
            ),
            chain(
                "inet",
                "service",
                "type nat hook postrouting priority srcnat - 5; policy accept;",
                _source_nat(node.addresses),
            ),
            _translated(reply),
            *host_port_chains(node.local_dns),
        }
    )


def _early(mask: int) -> list[str]:
    """Return the rules of `reply_in` for most packets, none of which the others would treat.

    Conntrack knows the connection, which nobody has translated, and the ENI's chain has marked the
    packet, or it is no pod's.
    """
    known = "ct state new,established,related"
    return [
        f"meta mark and {mask:#x} != 0 {UNTRANSLATED} {known} accept",
        f'{UNTRANSLATED} iifname != "{names.LINK_PREFIX}*" accept',
    ]


def _late_guard(mask: int) -> list[str]:
    """Return the rules against what `guard`, before conntrack and marks, cannot know of.

    What a veth pod sends has no mark until a look has given its link the group of a NIC that was
    plugged again, or once somebody has deleted the ENI's chain: it would leave by the node's own
    NIC. Until then the pod reaches nothing, its node included.

    An error about a path's MTU that conntrack knows nothing of reaches no other pod of the node,
    either: between two veth pods is no security group. Nor does a fragment within a fragment, which
    a receiver would join behind all filters: conntrack joins the outer ones alone.
    """
    return [
        f'iifname != "{names.LINK_PREFIX}*" accept',
        f'meta mark and {mask:#x} == 0 iifname != "{_SLAVES}" counter drop',
        f"{NEIGHBOUR_DISCOVERY} counter drop",
        "ct state new,established,related accept",
        "exthdr frag exists counter drop",
        *(f"{error} counter drop" for error in FORGED_MTU_ERRORS + FORGED_MTU_ERRORS_TO_PODS),
    ]


def _translated(reply: Mark) -> Chain:
    """Return the chain for what veth pods send to a service or a host port of an ipvlan pod here.

    It goes to that pod directly, as the pod's replies do, and has the node's address or the ENI's
    where these would bypass conntrack (`service`): not by the network, like the rest of what a veth
    pod sends there. While there is no way to the pod, since its NIC or the node's slave is gone, it
    does go by the ENI: with this mark it would leave by the node's own NIC.
    """
    translated = f"ct status dnat ct direction original {_PODS}"
    return chain(
        "inet",
        "translated",
        "type filter hook prerouting priority -90; policy accept;",  # after `host_ports_in`
        [
            f"{UNTRANSLATED} accept",
            *(
                f'{translated} {word} daddr @pods{number} fib daddr oifname "{_SLAVES}" '
                f"{reply.statement}"
                for word, number in FAMILIES
            ),
        ],
    )


def _source_nat(addresses: tuple[str, ...]) -> list[str]:
    """Return the rules of `service`, all for what has been translated."""
    rules = [f"{UNTRANSLATED} accept"]
    rules += [
        rule
        for word, number in FAMILIES
        for rule in (
            f"ct status dnat snat {word} to {word} saddr map @sources{number}",
            f'ct status dnat oifname "{_SLAVES}" {word} saddr @pods{number} masquerade',
            f"ct status dnat snat {word} to {word} saddr . {word} daddr map @hairpins{number}",
        )
    ]
    rules += [
        f'ct status dnat oifname "{names.LINK_PREFIX}*" ip saddr {LOOPBACK} snat ip to {address}'
        for address in [a for a in addresses if family_of(a) == IPV4][:1]
    ]
    return rules


def _guard() -> Chain:
    """Return the chain that treats what a pod sends to the node as what an enemy sends.

    Both ends of a veth pair know each other by permanent neighbours. So every message of neighbour
    discovery (133 to 137: solicitations, advertisements and redirects of routers and neighbours)
    is an attack on the node's routes or neighbour table, or superfluous. And a pod has only the
    addresses whose routes lead to its link; Neutron would let the others of its ENI pass. Nothing
    is sent to 127.0.0.1 over a link, though a pod's host ports may have set `route_localnet` there.
    Of 0.0.0.0, which asks for an address, `fib` says nothing where the receiver is a group, nor of
    :: where it sends ICMP (nft_fib_v6_skip_icmpv6).

    Each fragment is looked at, for one with a forged sender would become a part of what an honest
    sender sends. A frame to a group, which ipvlan copies to the node's slave, has any MAC as its
    sender, so that the chains of an l2 ENI would not know what it was joined into (`eni_chains`).
    """
    (_, cut_4, _), (_, cut_6, _) = FRAGMENTS
    return chain(
        "inet",
        "guard",
        f"type filter hook prerouting {BEFORE_DEFRAGMENTATION}",
        [
            f'iifname != "{names.LINK_PREFIX}*" accept',
            f"meta pkttype != host {cut_4} counter drop",
            "icmp type redirect counter drop",
            f"ip daddr {LOOPBACK} counter drop",
            "ip saddr 0.0.0.0 counter drop",
            # The others are about IPv6.
            "meta nfproto ipv4 fib saddr . iif oif exists accept",
            f"meta pkttype != host {cut_6} counter drop",
            f"{HIDDEN_FRAGMENT} counter drop",
            f"{NEIGHBOUR_DISCOVERY} counter drop",
            "ip6 saddr :: counter drop",
            "fib saddr . iif oif missing counter drop",
        ],
    )
