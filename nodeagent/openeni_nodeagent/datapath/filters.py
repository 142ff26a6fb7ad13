"""The datapath's nftables rules as text for nft: what all have in common, and the node's chains.

Every rule's comment contains the digest of its whole chain, so that a change or a missing rule is
found without comparing nft's listings. No rule has an anonymous set: from 1.1.2 on nft stores data
in sets that makes an older nft crash on every listing.

Every packet passes the chains of `prerouting`, so what nearly none of them has is asked first, and
a name of a link, which the kernel copies for each rule that asks for it, as late as possible.
"""

import hashlib
from ipaddress import IPv6Address
from typing import Final

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.datapath.marks import Mark
from openeni_nodeagent.datapath.model import Chain
from openeni_nodeagent.datapath_api import LinkFacts

FAMILIES: Final = (("ip", IPV4), ("ip6", IPV6))
# The kernel believes a path MTU error about an echo reply of its own without looking for a socket:
# for ten minutes it would send to that address, its pods' packets too, what fits into 552 bytes.
# Conntrack calls an error invalid unless it is about a connection that it knows.
_FORGED: Final = "ct state invalid,untracked"
FORGED_MTU_ERRORS: Final = (
    f"{_FORGED} icmp type destination-unreachable icmp code frag-needed fib daddr type local",
    *(
        f"{_FORGED} icmpv6 type packet-too-big fib daddr type {of_the_node}"
        for of_the_node in ("local", "anycast", "multicast")
    ),
)
# Add first: deleting a table that does not exist fails (`destroy` needs nftables 1.0.7).
DELETE_TABLES: Final = "".join(
    f"{verb} table {family} {names.NFT_TABLE}\n"
    for family in ("inet", "netdev")
    for verb in ("add", "delete")
)
ENI_CHAIN: Final = "eni"  # followed by the ENI's interface index
# What is left of the metadata service's address wherever two bytes of it next to each other differ.
_LEFT_OF_THE_SERVICE: Final = (
    "::ff:ffff:ffff:ffff",  # before the ninth byte
    "ffff:ffff:ffff:ff00::ffff:ffff",  # from the ninth on, the last four are as they were
    "ffff:ffff:ffff:ffff:ffff:ff00:0:ffff",  # in the twelfth to the fourteenth
    "ffff:ffff:ffff:ffff:ffff:ffff:ff00:0",  # in the last three
)
_ALMOST_THE_SERVICE: Final = tuple(
    f"ip6 daddr & {mask} == "
    f"{IPv6Address(int(IPv6Address(names.METADATA_V6)) & int(IPv6Address(mask)))}"
    for mask in _LEFT_OF_THE_SERVICE
)
_PODS: Final = f'iifname "{names.LINK_PREFIX}*"'  # veth pods, and slaves on the node
_SLAVES: Final = f"{names.LINK_PREFIX}-*"
_UNTRANSLATED: Final = "ct status and dnat == 0"
LOOPBACK: Final = "127.0.0.0/8"
# Conntrack joins fragments, whichever links they come in by, at NF_IP_PRI_CONNTRACK_DEFRAG, -400.
# What it has joined has the link of the last one, and the Ethernet header of the first.
BEFORE_DEFRAGMENTATION: Final = "priority -450; policy accept;"
FRAGMENTS: Final = (("ip", "ip frag-off & 0x3fff != 0", IPV4), ("ip6", "exthdr frag exists", IPV6))
WHOLE: Final = "ip frag-off & 0x3fff == 0"  # nearly every packet of IPv4
# Later fragments have no type: what was joined is looked at again.
NEIGHBOUR_DISCOVERY: Final = "icmpv6 type 133-137"


def node_chains(reply: Mark, addresses: tuple[str, ...]) -> frozenset[Chain]:
    """Return the chains that all ENIs share; `addresses` are the node's. `nft_sets` has the sets.

    `guard` comes before everything else. `reply_in` matches veth pods and slaves by device, and l2
    pods, whose packets enter on the ENI, by address; the ENI's chain has marked them before.
    `reply_out` matches l3s and l3 pods, whose packets pass the node's output hook. `service` runs
    before kube-proxy's postrouting chain. A flow of an l2 or l3 pod to a service leaves with the
    ENI's address, because replies to the pod's own would bypass the node's conntrack; so does an
    l3s pod's flow to a backend behind the same ENI, and a flow of a veth pod to itself by its host
    port. What the node sends from 127.0.0.1 to a host port leaves with the node's address.
    """
    # A pod's reply to a client that reached it through a NodePort or a service on this node leaves
    # through the NIC that the client came in on, whatever the ENI's rule says.
    replies = "ct status dnat ct direction reply"
    by_address = [
        f"{replies} {word} saddr @pods{number} {reply.statement}" for word, number in FAMILIES
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
                    f"{replies} {_PODS} {reply.statement}",
                    *by_address,
                    *_late_guard(reply.mask),
                ],
            ),
            chain(
                "inet",
                "reply_out",
                "type route hook output priority mangle; policy accept;",
                [f"{_UNTRANSLATED} accept", *by_address],
            ),
            chain(
                "inet",
                "service",
                "type nat hook postrouting priority srcnat - 5; policy accept;",
                _source_nat(addresses),
            ),
            _translated(reply),
            *_host_ports(),
        }
    )


def _early(mask: int) -> list[str]:
    """Return the rules of `reply_in` for most packets, none of which the others would treat.

    Conntrack knows the connection, which nobody has translated, and the ENI's chain has marked the
    packet, or it is no pod's.
    """
    known = "ct state new,established,related"
    return [
        f"meta mark and {mask:#x} != 0 {_UNTRANSLATED} {known} accept",
        f'{_UNTRANSLATED} iifname != "{names.LINK_PREFIX}*" accept',
    ]


def _late_guard(mask: int) -> list[str]:
    """Return the rules against what `guard`, before conntrack and marks, cannot know of.

    What a veth pod sends has no mark until a look has given its link the group of a NIC that was
    plugged again, or once somebody has deleted the ENI's chain: it would leave by the node's own
    NIC. Until then the pod reaches nothing, its node included.
    """
    return [
        f'iifname != "{names.LINK_PREFIX}*" accept',
        f'meta mark and {mask:#x} == 0 iifname != "{_SLAVES}" counter drop',
        f"{NEIGHBOUR_DISCOVERY} counter drop",
        "ct state new,established,related accept",
        *(f"{error} counter drop" for error in FORGED_MTU_ERRORS),
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
            f"{_UNTRANSLATED} accept",
            *(
                f'{translated} {word} daddr @pods{number} fib daddr oifname "{_SLAVES}" '
                f"{reply.statement}"
                for word, number in FAMILIES
            ),
        ],
    )


def _source_nat(addresses: tuple[str, ...]) -> list[str]:
    """Return the rules of `service`, all for what has been translated."""
    rules = [f"{_UNTRANSLATED} accept"]
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


def _host_ports() -> frozenset[Chain]:
    """Return the chains that lead a port of the node to a pod.

    They run after kube-proxy's, to which the addresses of services belong, some of which may be
    local (ipvs). A pod may name any address as its `hostIP`. Only addresses of the node count:
    otherwise one that names the API server's would get what node and pods send there. The primary
    address of an ENI has no host ports: the replies of pods of other ENIs would have to leave by
    that one, with an address that Neutron allows there alone.
    """
    rules = ["fib daddr type != local accept"]
    rules += [f"{word} daddr @primaries{number} accept" for word, number in FAMILIES]
    port = "meta l4proto . th dport"
    for word, number in FAMILIES:
        rules += [
            f"dnat {word} to {word} daddr . {port} map @hostports{number}",
            f"meta nfproto ipv{number} dnat {word} to {port} map @anyports{number}",
        ]
    return frozenset(
        chain("inet", name, f"type nat hook {hook} priority -95; policy accept;", rules)
        for name, hook in (("host_ports_in", "prerouting"), ("host_ports_out", "output"))
    )


def _guard() -> Chain:
    """Return the chain that treats what a pod sends to the node as what an enemy sends.

    Both ends of a veth pair know each other by permanent neighbours. So every message of neighbour
    discovery (133 to 137: solicitations, advertisements and redirects of routers and neighbours)
    is an attack on the node's routes or neighbour table, or superfluous. And a pod has only the
    addresses whose routes lead to its link; Neutron would let the others of its ENI pass. Nothing
    is sent to 127.0.0.1 over a link, though a pod's host ports may have set `route_localnet` there.
    Of 0.0.0.0, which asks for an address, `fib` says nothing where the receiver is a group.

    Each fragment is looked at, for one with a forged sender would become a part of what an honest
    sender sends. A frame to a group, which ipvlan copies to the node's slave, has any MAC as its
    sender, so that the chains of an l2 ENI would not know what it was joined into (`eni_chains`).
    """
    return chain(
        "inet",
        "guard",
        f"type filter hook prerouting {BEFORE_DEFRAGMENTATION}",
        [
            f'iifname != "{names.LINK_PREFIX}*" accept',
            *(f"meta pkttype != host {cut} counter drop" for _, cut, _ in FRAGMENTS),
            f"{NEIGHBOUR_DISCOVERY} counter drop",
            "icmp type redirect counter drop",
            f"ip daddr {LOOPBACK} counter drop",
            "ip saddr 0.0.0.0 counter drop",
            "fib saddr . iif oif missing counter drop",
        ],
    )


def egress_chain(eni: LinkFacts) -> Chain:
    """Return the chain that keeps pods of this ENI from the metadata service (Linux 5.16).

    It comes last. A pod with CAP_NET_RAW that sends fragments can say that their checksum is still
    to be filled in, and where: over the address of their receiver (packet(7), PACKET_VNET_HDR). The
    kernel does so when it cuts what it had joined into fragments again (ip_do_fragment,
    skb_checksum_help), behind all other filters. The chain is bound to the link's name. What it
    cannot read does not leave: frames with a VLAN tag, since a switch may take one of VLAN 0 off,
    and those whose type is not the one that the kernel believes, which is whatever their sender has
    told its packet socket (sll_protocol).

    A NIC without checksums in hardware, here or beyond the node, fills them in behind this chain as
    well (validate_xmit_skb). That is 16 bits next to each other, so nothing leaves by IPv6 that has
    all others of the service's address. IPv4 has a checksum over its header, which has to be right
    on every hop.
    """
    hook = f'type filter hook egress device "{eni.device}" priority filter; policy accept;'
    frame_type = "@ll,96,16"
    rules = [
        f"{frame_type} 0x0800 meta protocol ip ip daddr != {names.METADATA_V4} accept",
        f"{frame_type} 0x0806 meta protocol arp accept",
        *(f"meta protocol ip6 {match} drop" for match in _ALMOST_THE_SERVICE),
        f"{frame_type} 0x86dd meta protocol ip6 accept",
        "drop",
    ]
    return chain("netdev", f"{ENI_CHAIN}{eni.ifindex}", hook, rules)


def empty_chain(family: str, name: str) -> str:
    """Return the nft commands after which there is this chain, without a rule."""
    table = f"{family} {names.NFT_TABLE}"
    return f"add table {table}\nadd chain {table} {name}\nflush chain {table} {name}\n"


def delete_chain(family: str, name: str) -> str:
    """Return the nft commands that delete a chain, to which no other one jumps (any more)."""
    chain = f"chain {family} {names.NFT_TABLE} {name}"
    return f"flush {chain}\ndelete {chain}\n"


def chain(
    family: str, name: str, definition: str, rules: list[str], links: tuple[str, ...] = ()
) -> Chain:
    """Return a chain of our table in this family, with its hook, priority and policy.

    `links` are the names of those whose indexes stand in the rules: they count for the digest.
    """
    mark = hashlib.sha256("\n".join([definition, *rules, *links]).encode()).hexdigest()[:12]
    table = f"{family} {names.NFT_TABLE}"
    # A base chain's hook cannot be changed: it is replaced, in the same transaction.
    lines = [
        *empty_chain(family, name).splitlines(),
        f"delete chain {table} {name}",
        f"add chain {table} {name} {{ {definition} }}",
    ]
    lines += [
        f'add rule {table} {name} {rule} comment "{mark} {place} of {len(rules)}"'
        for place, rule in enumerate(rules, start=1)
    ]
    return Chain(family, name, mark, "\n".join(lines) + "\n")
