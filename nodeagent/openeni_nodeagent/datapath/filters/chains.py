"""The datapath's nftables chains as text for nft: what all of them have in common.

Every rule's comment contains the digest of its whole chain, so that a change or a missing rule is
found without comparing nft's listings, and its ENI's MAC and mark, which an agent may find nowhere
else. No rule has an anonymous set: from 1.1.2 on nft stores data in sets that makes an older nft
crash on every listing.

Every packet passes the chains of `prerouting`, so what nearly none of them has is asked first, and
a name of a link, which the kernel copies for each rule that asks for it, as late as possible.
"""

import hashlib
import re
from typing import Final

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6
from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.marks import GivenMark, Mark
from openeni_nodeagent.datapath.model import Chain, State

FAMILIES: Final = (("ip", IPV4), ("ip6", IPV6))
METADATA_SERVICES: Final = tuple(zip(FAMILIES, (names.METADATA_V4, names.METADATA_V6), strict=True))
# The kernel believes a path MTU error about an echo reply of its own without looking for a socket:
# for ten minutes it would send to that address, its pods' packets too, what fits into 552 bytes.
# Conntrack calls an error invalid unless it is about a connection that it knows.
MTU_ERRORS: Final = (
    "icmp type destination-unreachable icmp code frag-needed",
    "icmpv6 type packet-too-big",
)
_MTU_ERROR, _MTU_ERROR_6 = (f"ct state invalid,untracked {error}" for error in MTU_ERRORS)
FORGED_MTU_ERRORS_TO_PODS: Final = tuple(
    f'{error} fib daddr oifname "{names.LINK_PREFIX}*"' for error in (_MTU_ERROR, _MTU_ERROR_6)
)
FORGED_MTU_ERRORS: Final = (
    f"{_MTU_ERROR} fib daddr type local",
    *(f"{_MTU_ERROR_6} fib daddr type {own}" for own in ("local", "anycast", "multicast")),
)
ENI_CHAIN: Final = "eni"  # followed by the ENI's interface index
# An ENI's MAC, and the value and mask of its mark.
_GIVEN: Final = re.compile("-([0-9a-f:]{17})-([0-9a-f]{1,8})-([0-9a-f]{1,8})$")
CUT: Final = "_cut"  # ends the name of an ENI's chain for fragments
LOOPBACK: Final = "127.0.0.0/8"
# Conntrack joins fragments, whichever links they come in by, at NF_IP_PRI_CONNTRACK_DEFRAG, -400.
# What it has joined has the link of the last one, and the Ethernet header of the first.
BEFORE_DEFRAGMENTATION: Final = "priority -450; policy accept;"
BEFORE_REPLIES: Final = "priority mangle - 5; policy accept;"  # their mark replaces the ENI's
FRAGMENTS: Final = (("ip", "ip frag-off & 0x3fff != 0", IPV4), ("ip6", "exthdr frag exists", IPV6))
# A fragment header behind others. Conntrack would join such fragments into a packet that filters
# and the stack read differently (nf_ct_frag6_reasm sets where the next header begins, and leaves
# where its type stands), or write into the sender's address (find_prev_fhdr: `u8 prev_nhoff`).
HIDDEN_FRAGMENT: Final = "ip6 nexthdr != 44 exthdr frag exists"
UNTRANSLATED: Final = "ct status and dnat == 0"
WHOLE: Final = "ip frag-off & 0x3fff == 0"  # nearly every packet of IPv4
# Later fragments have no type: what was joined is looked at again.
NEIGHBOUR_DISCOVERY: Final = "icmpv6 type 133-137"


def delete_table(family: str) -> str:
    """Return the nft commands after which our table is not in this family.

    Add first: deleting one that does not exist fails (`destroy` needs nftables 1.0.7).
    """
    return "".join(f"{verb} table {family} {names.NFT_TABLE}\n" for verb in ("add", "delete"))


def empty_chain(family: str, name: str) -> str:
    """Return the nft commands after which there is this chain, without a rule."""
    table = f"{family} {names.NFT_TABLE}"
    return f"add table {table}\nadd chain {table} {name}\nflush chain {table} {name}\n"


def delete_chain(family: str, name: str) -> str:
    """Return the nft commands that delete a chain, to which no other one jumps (any more)."""
    chain = f"chain {family} {names.NFT_TABLE} {name}"
    return f"flush {chain}\ndelete {chain}\n"


def chain(
    family: str,
    name: str,
    definition: str,
    rules: list[str],
    links: tuple[str, ...] = (),
    *,
    protects: bool = False,
    given: GivenMark | None = None,
) -> Chain:
    """Return a chain of our table in this family, with its hook, priority and policy.

    `links` are the names of those whose indexes stand in the rules: they count for the digest.
    `given` is the mark of the chain's ENI, with its MAC.
    """
    mark = hashlib.sha256("\n".join([definition, *rules, *links]).encode()).hexdigest()[:12]
    mark += f"-{given.mac}-{given.mark.value:x}-{given.mark.mask:x}" if given else ""
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
    return Chain(family, name, mark, "\n".join(lines) + "\n", protects)


def eni_chain_name(eni: NodeENI) -> str:
    """Return the name with which those of all chains of the ENI begin."""
    return f"{ENI_CHAIN}{eni.link.ifindex}"


def eni_chain(
    eni: NodeENI, suffix: str, hook: str, rules: list[str], *, protects: bool = False
) -> Chain:
    """Return a chain whose rules match the ENI's links by index.

    nft lists these by name: who saves the ruleset, and loads it once the names of NICs have changed
    places, has another ENI's chain.
    """
    name = eni_chain_name(eni) + suffix
    links, given = (eni.link.device,), GivenMark(eni.mark, eni.facts.mac)
    return chain("inet", name, hook, rules, links, protects=protects, given=given)


def given_marks(seen: State) -> dict[int, GivenMark]:
    """Return the marks that chains set, by the tables that their ENIs have, or had."""
    found: dict[int, GivenMark] = {}
    for item in seen:
        if isinstance(item, Chain) and (given := _GIVEN.search(item.mark)):
            index = item.name.removeprefix(ENI_CHAIN).partition("_")[0]
            if index.isdigit():
                mark = Mark(int(given[2], 16), int(given[3], 16))
                found[names.eni_table(int(index))] = GivenMark(mark, given[1])
    return found


def marks(eni: NodeENI) -> list[str]:
    """Return the rules that mark what a pod of ipvlan sends."""
    return [f"{word} saddr @pods{number} {eni.mark.statement}" for word, number in FAMILIES]
