"""The datapath's nftables rules as text for nft: three chains of the node, one of an ipvlan ENI.

Every rule's comment contains the digest of its whole chain, so that a change or a missing rule is
found without comparing nft's listings.
"""

import hashlib
from typing import Final

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6
from openeni_nodeagent.datapath.model import Chain
from openeni_nodeagent.datapath_api import LinkFacts

FAMILIES: Final = (("ip", IPV4, "ipv4_addr"), ("ip6", IPV6, "ipv6_addr"))
# Add first: deleting a table that does not exist fails (`destroy` needs nftables 1.0.7).
DELETE_TABLES: Final = "".join(
    f"{verb} table {family} {names.NFT_TABLE}\n"
    for family in ("inet", "netdev")
    for verb in ("add", "delete")
)
ENI_CHAIN: Final = "eni"  # followed by the ENI's interface index
_OTHER_MARKS: Final = ~names.MARK_MASK & 0xFFFFFFFF
# A pod's reply to a client that reached it through a NodePort or a service on this node leaves
# through the NIC that the client came in on, whatever the pod's rule says.
_MARK_REPLY: Final = (
    f"ct status dnat ct direction reply meta mark set meta mark and {_OTHER_MARKS:#x} "
    f"or {names.MARK_REPLY:#x}"
)


def node_chains() -> frozenset[Chain]:
    """Return the chains that all ENIs share. Their sets and maps are `linux.nfnetlink`'s.

    `reply_in` matches veth pods and slaves by device, and l2 pods, whose packets enter on the ENI,
    by address. `reply_out` matches l3s and l3 pods, whose packets pass the node's output hook.
    `service` runs before kube-proxy's postrouting chain. A flow of an l2 or l3 pod to a service
    leaves with the ENI's address, because replies to the pod's own would bypass the node's
    conntrack; so does an l3s pod's flow to a backend behind the same ENI.
    """
    by_address = [f"{word} saddr @pods{number} {_MARK_REPLY}" for word, number, _ in FAMILIES]
    slaves = f"{names.LINK_PREFIX}ipvl*"
    service = [
        rule
        for word, number, _ in FAMILIES
        for rule in (
            f"ct status dnat snat {word} to {word} saddr map @sources{number}",
            f'oifname "{slaves}" {word} saddr @pods{number} ct status dnat masquerade',
        )
    ]
    return frozenset(
        {
            _chain(
                "inet",
                "reply_in",
                "type filter hook prerouting priority mangle; policy accept;",
                [f'iifname "{names.LINK_PREFIX}*" {_MARK_REPLY}', *by_address],
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
                service,
            ),
        }
    )


def metadata_chain(eni: LinkFacts, *, at_egress: bool) -> Chain:
    """Return the chain that keeps pods of this ENI from the metadata service.

    l2 needs it at the ENI's egress (Linux 5.16); packets of l3s and l3 pods pass the output hook.
    """
    name = f"{ENI_CHAIN}{eni.ifindex}"
    if at_egress:
        hook = f'type filter hook egress device "{eni.device}" priority filter; policy accept;'
        rules = [f"ip daddr {names.METADATA_V4} drop", f"ip6 daddr {names.METADATA_V6} drop"]
        return _chain("netdev", name, hook, rules)
    hook = "type filter hook output priority filter; policy accept;"
    refused = f"oif {eni.ifindex} ip daddr {names.METADATA_V4} reject"
    return _chain("inet", name, hook, [refused])


def delete_chain(family: str, name: str) -> str:
    """Return the nft commands that delete a chain; no other chain jumps to it."""
    chain = f"chain {family} {names.NFT_TABLE} {name}"
    return f"flush {chain}\ndelete {chain}\n"


def _chain(family: str, name: str, definition: str, rules: list[str]) -> Chain:
    mark = hashlib.sha256("\n".join([definition, *rules]).encode()).hexdigest()[:12]
    table = f"{family} {names.NFT_TABLE}"
    lines = [
        f"add table {table}",
        f"add chain {table} {name} {{ {definition} }}",
        f"flush chain {table} {name}",
    ]
    lines += [
        f'add rule {table} {name} {rule} comment "{mark} {place} of {len(rules)}"'
        for place, rule in enumerate(rules, start=1)
    ]
    return Chain(family, name, mark, "\n".join(lines) + "\n")
