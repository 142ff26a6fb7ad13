"""The nftables rules of the datapath, as text for nft: three chains a node, one an ipvlan ENI.

Every rule's comment carries the digest of its whole chain, which is how a change or a loss is seen
without comparing nft's listings.
"""

import hashlib
from typing import Final

from openeni_crds import names
from openeni_nodeagent.datapath.model import Chain
from openeni_nodeagent.datapath_api import LinkFacts

FAMILIES: Final = (("ip", 4, "ipv4_addr"), ("ip6", 6, "ipv6_addr"))
# Adding comes first because deleting what is not there fails (`destroy` takes nftables 1.0.7).
DELETE_TABLES: Final = "".join(
    f"{verb} table {family} {names.NFT_TABLE}\n"
    for family in ("inet", "netdev")
    for verb in ("add", "delete")
)
ENI_CHAIN: Final = "eni"  # and the ENI's interface index
_OTHER_MARKS: Final = ~names.MARK_MASK & 0xFFFFFFFF
# The reply of a pod that a NodePort's or service's client reached through this node: it leaves by
# the NIC it came in on, whatever the rule of the pod says.
_MARK_REPLY: Final = (
    f"ct status dnat ct direction reply meta mark set meta mark and {_OTHER_MARKS:#x} "
    f"or {names.MARK_REPLY:#x}"
)


def node_chains() -> frozenset[Chain]:
    """What all ENIs share. Sets and maps are made with the chains and survive their change.

    `reply_in`: veth pods and slaves by their device, l2 pods by their address: their packets enter
    on the ENI. `reply_out`: l3s and l3 pods, whose packets pass the node's output.
    `service`, before kube-proxy's own: a flow of an l2 or l3 pod to a service leaves with the ENI's
    address, since replies would reach the pod past the node's conntrack; so does an l3s pod's
    flow to a backend behind the same ENI.
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
    """Keep the pods behind this ENI off the metadata service.

    At the ENI's egress, which l2 needs, it takes Linux 5.16; l3s and l3 pass the node's output.
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
    """The nft commands that take a chain away; what used it are only its own rules."""
    chain = f"chain {family} {names.NFT_TABLE} {name}"
    return f"flush {chain}\ndelete {chain}\n"


def _chain(family: str, name: str, definition: str, rules: list[str]) -> Chain:
    mark = hashlib.sha256("\n".join([definition, *rules]).encode()).hexdigest()[:12]
    table = f"{family} {names.NFT_TABLE}"
    lines = [f"add table {table}"]
    if family == "inet":
        lines += [
            line
            for _, number, kind in FAMILIES
            for line in (
                f"add set {table} pods{number} {{ type {kind}; }}",
                f"add map {table} sources{number} {{ type {kind} : {kind}; }}",
            )
        ]
    lines += [f"add chain {table} {name} {{ {definition} }}", f"flush chain {table} {name}"]
    lines += [
        f'add rule {table} {name} {rule} comment "{mark} {place} of {len(rules)}"'
        for place, rule in enumerate(rules, start=1)
    ]
    return Chain(family, name, mark, "\n".join(lines) + "\n")
