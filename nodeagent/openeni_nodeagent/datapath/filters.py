"""The datapath's nftables rules as text for nft: the chains of the node, and those of an ENI.

Every rule's comment contains the digest of its whole chain, so that a change or a missing rule is
found without comparing nft's listings. No rule has an anonymous set: from 1.1.2 on nft stores data
in sets that makes an older nft crash on every listing.
"""

import hashlib
from typing import Final

from openeni_crds import names
from openeni_crds.enipool import MetadataService
from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.marks import Mark
from openeni_nodeagent.datapath.model import Chain
from openeni_nodeagent.datapath_api import LinkFacts

FAMILIES: Final = (("ip", IPV4), ("ip6", IPV6))
# Add first: deleting a table that does not exist fails (`destroy` needs nftables 1.0.7).
DELETE_TABLES: Final = "".join(
    f"{verb} table {family} {names.NFT_TABLE}\n"
    for family in ("inet", "netdev")
    for verb in ("add", "delete")
)
ENI_CHAIN: Final = "eni"  # followed by the ENI's interface index, and perhaps by:
_NAT: Final = "_nat"
_IN: Final = "_in"
_PODS: Final = f'iifname "{names.LINK_PREFIX}*"'  # veth pods, and slaves on the node
_SLAVES: Final = f"{names.LINK_PREFIX}-*"
_LOOPBACK: Final = "127.0.0.0/8"
_BEFORE_REPLIES: Final = "priority mangle - 5; policy accept;"  # their mark replaces the ENI's


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
    replies = f"ct status dnat ct direction reply {reply.statement}"
    by_address = [f"{word} saddr @pods{number} {replies}" for word, number in FAMILIES]
    return frozenset(
        {
            _guard(),
            _chain(
                "inet",
                "reply_in",
                "type filter hook prerouting priority mangle; policy accept;",
                [f"{_PODS} {replies}", *by_address, _unmarked(reply.mask)],
            ),
            _chain(
                "inet",
                "reply_out",
                "type route hook output priority mangle; policy accept;",
                by_address,
            ),
            _chain(
                "inet",
                "service",
                "type nat hook postrouting priority srcnat - 5; policy accept;",
                _source_nat(addresses),
            ),
            *_host_ports(),
        }
    )


def _unmarked(mask: int) -> str:
    """Return the rule against what a veth pod sends while its ENI has no chain for it.

    That is so until a look has given the pod's link the group of a NIC that was plugged again, or
    once somebody has deleted the chain. Without a mark it would leave by the node's own NIC.
    """
    return f'{_PODS} iifname != "{_SLAVES}" meta mark and {mask:#x} == 0 counter drop'


def _source_nat(addresses: tuple[str, ...]) -> list[str]:
    """Return the rules of `service`."""
    rules = [
        rule
        for word, number in FAMILIES
        for rule in (
            f"ct status dnat snat {word} to {word} saddr map @sources{number}",
            f'oifname "{_SLAVES}" {word} saddr @pods{number} ct status dnat masquerade',
            f"ct status dnat snat {word} to {word} saddr . {word} daddr map @hairpins{number}",
        )
    ]
    rules += [
        f'oifname "{names.LINK_PREFIX}*" ip saddr {_LOOPBACK} ct status dnat snat ip to {address}'
        for address in [a for a in addresses if family_of(a) == IPV4][:1]
    ]
    return rules


def _host_ports() -> frozenset[Chain]:
    """Return the chains that lead a port of the node to a pod.

    They run after kube-proxy's, to which the addresses of services belong, some of which may be
    local (ipvs). The primary address of an ENI has no host ports: the replies of pods of other ENIs
    would have to leave by that one, with an address that Neutron allows there alone.
    """
    rules = [f"{word} daddr @primaries{number} accept" for word, number in FAMILIES]
    rules += [
        f"dnat {word} to {word} daddr . meta l4proto . th dport map @hostports{number}"
        for word, number in FAMILIES
    ]
    rules += [
        f"meta nfproto {nfproto} fib daddr type local "
        f"dnat {word} to meta l4proto . th dport map @anyports{number}"
        for (word, number), nfproto in zip(FAMILIES, ("ipv4", "ipv6"), strict=True)
    ]
    return frozenset(
        _chain("inet", name, f"type nat hook {hook} priority -95; policy accept;", rules)
        for name, hook in (("host_ports_in", "prerouting"), ("host_ports_out", "output"))
    )


def _guard() -> Chain:
    """Return the chain that treats what a pod sends to the node as what an enemy sends.

    Both ends of a veth pair know each other by permanent neighbours. So every message of neighbour
    discovery (133 to 137: solicitations, advertisements and redirects of routers and neighbours)
    is an attack on the node's routes or neighbour table, or superfluous. And a pod has only the
    addresses whose routes lead to its link; Neutron would let the others of its ENI pass. Nothing
    is sent to 127.0.0.1 over a link, though a pod's host ports may have set `route_localnet` there.
    """
    return _chain(
        "inet",
        "guard",
        "type filter hook prerouting priority raw; policy accept;",
        [
            f'iifname != "{names.LINK_PREFIX}*" accept',
            "icmpv6 type 133-137 counter drop",
            "icmp type redirect counter drop",
            f"ip daddr {_LOOPBACK} counter drop",
            "fib saddr . iif oif missing counter drop",
        ],
    )


def eni_chains(eni: NodeENI) -> frozenset[Chain]:
    """Return the chains of one ENI: they mark what its pods send, and block the metadata service.

    They match links by index or group, which stay when a link is renamed. A packet to the metadata
    service that the node routes hits the `prohibit` route in the ENI's table, and its sender gets
    an ICMP error at once. Three kinds of packets bypass that route: an l2 pod may add a route of
    its own to the wire. For an l3s or l3 pod the kernel treats any destination as on-link when the
    look-up fails (ip_route_output_key_hash_rcu: with `oif` given, "routing tables are wrong"). And
    IPv6 looks up a link-local address such as the service's on the packet's own link only.
    """
    name, index = f"{ENI_CHAIN}{eni.link.ifindex}", eni.link.ifindex
    blocks = eni.facts.datapath.metadata_service is MetadataService.BLOCK
    marks = [f"{word} saddr @pods{number} {eni.mark.statement}" for word, number in FAMILIES]
    if not eni.ipvlan:
        pods = f"iifgroup {eni.group}"
        hook = f"type filter hook prerouting {_BEFORE_REPLIES}"
        block = [f"{pods} ip6 daddr {names.METADATA_V6} drop"] if blocks else []
        return frozenset({_chain("inet", name, hook, [f"{pods} {eni.mark.statement}", *block])})
    if not eni.layer_2:
        hook = f"type filter hook output {_BEFORE_REPLIES}"
        rules = [f"oif {index} {rule}" for rule in marks]
        refused = [f"ip daddr {names.METADATA_V4}", f"ip6 daddr {names.METADATA_V6}"]
        rules += [f"oif {index} {match} reject" for match in refused if blocks]
        rules += _of_layer_3_pods(index)
        return frozenset({_chain("inet", name, hook, rules)})
    hook = f"type filter hook prerouting {_BEFORE_REPLIES}"
    # The kernel itself drops the node's own addresses as senders for IPv4 only (accept_local).
    own = f"iif {index} meta nfproto ipv6 fib saddr type local drop"
    loopback = f"iif {index} ip daddr {_LOOPBACK} drop"  # `host_ports`, route_localnet
    # What comes to an l2 pod from beyond its subnet does not pass the node, but the pod's answers
    # do. Conntrack calls them invalid; kube-proxy's mode iptables, and other firewalls, drop those.
    one_way = [
        f"iif {index} ct state invalid {word} saddr @pods{number} notrack"
        for word, number in FAMILIES
    ]
    rules = [own, loopback, *_of_pods(eni), *one_way, *(f"iif {index} {rule}" for rule in marks)]
    into_node = _chain("inet", name, hook, rules)
    chains = {into_node, _nat_of_neighbours(eni), _ingress_chain(eni)}
    return frozenset({*chains, egress_chain(eni.link)} if blocks else chains)


def _of_layer_3_pods(index: int) -> list[str]:
    """Return the rules against senders outside (see `_of_pods`) in the node's output hook.

    What the node itself sends has a socket there, which a pod's packet has not: `skuid` knows those
    of the own namespace alone. Some has none: the node asks for neighbours from `::`, and from
    link-local addresses, which `fib` knows with their link alone. IPv6 routes a pod's packet to an
    address of the node to `lo`.
    """
    foreign = {
        "ip": "ip saddr != @pods4 fib saddr type != local",
        "ip6": "ip6 saddr != @pods6 ip6 saddr != fe80::/10 ip6 saddr != :: fib saddr type != local",
    }
    return [
        "meta skuid 0-4294967294 accept",
        *(f"oif {index} {foreign[word]} drop" for word, _ in FAMILIES),
        f"oif lo {foreign['ip6']} drop",
    ]


def _of_pods(eni: NodeENI) -> list[str]:
    """Return the rules for what l2 pods send to the node, which `_ingress_chain` lets pass.

    It has a pod's address: a pod that poses as somebody outside to a port of the node that leads
    to itself would get to that outside as the node, since its replies leave by the node's own NIC.
    And no neighbour discovery (`_guard`): pods know the node by permanent neighbours.
    """
    sent = f"iif {eni.link.ifindex} ether saddr {eni.facts.mac}"
    rules = [f"{sent} {word} saddr != @pods{number} drop" for word, number in FAMILIES]
    return [*rules, f"{sent} icmpv6 type 133-137 drop"]


def _ingress_chain(eni: NodeENI) -> Chain:
    """Return the chain that lets l2 pods send nothing but IP to the node, no ARP in particular.

    ipvlan passes a slave's frame to the node if its sender's MAC is the receiver's
    (drivers/net/ipvlan/ipvlan_core.c, ipvlan_xmit_mode_l2): the ENI's own, or a group's, which
    nobody has. No such frame comes from the network.
    """
    hook = f'type filter hook ingress device "{eni.link.device}" priority filter; policy accept;'
    rules = [
        "ether saddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 drop",
        f"ether saddr {eni.facts.mac} meta protocol ip accept",
        f"ether saddr {eni.facts.mac} meta protocol ip6 accept",
        f"ether saddr {eni.facts.mac} drop",
    ]
    return _chain("netdev", f"{ENI_CHAIN}{eni.link.ifindex}{_IN}", hook, rules)


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
    return _chain("inet", f"{ENI_CHAIN}{eni.link.ifindex}{_NAT}", hook, rules)


def egress_chain(eni: LinkFacts) -> Chain:
    """Return the chain that keeps l2 pods of this ENI from the metadata service (Linux 5.16).

    It is bound to the link's name. What it cannot read does not leave: frames with a VLAN tag,
    since a switch may take one of VLAN 0 off, and those whose type is not the one that the kernel
    believes, which is whatever their sender has told its packet socket (packet(7), sll_protocol).
    """
    hook = f'type filter hook egress device "{eni.device}" priority filter; policy accept;'
    frame_type = "@ll,96,16"
    rules = [
        f"{frame_type} 0x0800 meta protocol ip ip daddr != {names.METADATA_V4} accept",
        f"{frame_type} 0x86dd meta protocol ip6 ip6 daddr != {names.METADATA_V6} accept",
        f"{frame_type} 0x0806 meta protocol arp accept",
        "drop",
    ]
    return _chain("netdev", f"{ENI_CHAIN}{eni.ifindex}", hook, rules)


def delete_chain(family: str, name: str) -> str:
    """Return the nft commands that delete a chain; no other chain jumps to it."""
    chain = f"chain {family} {names.NFT_TABLE} {name}"
    return f"flush {chain}\ndelete {chain}\n"


def _chain(family: str, name: str, definition: str, rules: list[str]) -> Chain:
    mark = hashlib.sha256("\n".join([definition, *rules]).encode()).hexdigest()[:12]
    table = f"{family} {names.NFT_TABLE}"
    # A base chain's hook cannot be changed: it is replaced, in the same transaction.
    lines = [
        f"add table {table}",
        f"add chain {table} {name}",
        *delete_chain(family, name).splitlines(),
        f"add chain {table} {name} {{ {definition} }}",
    ]
    lines += [
        f'add rule {table} {name} {rule} comment "{mark} {place} of {len(rules)}"'
        for place, rule in enumerate(rules, start=1)
    ]
    return Chain(family, name, mark, "\n".join(lines) + "\n")
