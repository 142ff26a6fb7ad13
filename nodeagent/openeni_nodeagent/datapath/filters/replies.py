"""Rules for replies to who reached a port or a service of the node: by which NIC they leave.

It is the one that the client came in on, whatever the rules of the pod's ENI say. A connection that
somebody of the network begins by an ENI has that ENI's mark, from its chain; all others have none
of our bits, and are answered by the main table.
"""

from typing import Final

from openeni_nodeagent.datapath.marks import Mark

REPLIES: Final = "ct status dnat ct direction reply"


def marked_as_connection(mask: int) -> list[str]:
    """Return the rules that give such replies the mark of the ENI that their client came by.

    Most pods' packets have it already, but not what an l3 pod answers to the node's own address,
    nor what a program of the node answers. It is given bit by bit: before Linux 6.13 nftables
    cannot put the bits of two marks together.
    """
    bits = [1 << n for n in range(mask.bit_length()) if mask >> n & 1]
    return [
        f"ct mark and {mask:#x} != 0 {REPLIES} {Mark(0, mask).statement}",
        *(f"ct mark and {bit:#x} != 0 {REPLIES} {Mark(bit, bit).statement}" for bit in bits),
    ]


def by_no_eni(mask: int) -> str:
    """Return what matches such replies if their client came by no ENI."""
    return f"{REPLIES} ct mark and {mask:#x} == 0"
