"""The chain at an ENI's egress, which keeps pods from the metadata service behind all others."""

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from openeni_crds import names
from openeni_nodeagent.datapath.filters.chains import ENI_CHAIN, chain
from openeni_nodeagent.datapath.model import Chain
from openeni_nodeagent.datapath_api import LinkFacts

# Of a frame: its type, and the receiver's address in the header that follows. `ip daddr` is read
# where that is said to begin (skb->network_header), which may be 4 bytes on: see `egress_chain`.
_TYPE: Final = "@ll,96,16"
_RECEIVER, _RECEIVER_6 = "@ll,240,32", "@ll,304,128"
_SERVICE, _SERVICE_6 = int(IPv4Address(names.METADATA_V4)), int(IPv6Address(names.METADATA_V6))
# What is left of the metadata service's address wherever two bytes of it next to each other differ.
_LEFT_OF_THE_SERVICE: Final = (
    "::ff:ffff:ffff:ffff",  # before the ninth byte
    "ffff:ffff:ffff:ff00::ffff:ffff",  # from the ninth on, the last four are as they were
    "ffff:ffff:ffff:ffff:ffff:ff00:0:ffff",  # in the twelfth to the fourteenth
    "ffff:ffff:ffff:ffff:ffff:ffff:ff00:0",  # in the last three
)
_ALMOST_THE_SERVICE: Final = tuple(
    f"{_RECEIVER_6} & {mask:#x} == {_SERVICE_6 & mask:#x}"
    for mask in map(int, map(IPv6Address, _LEFT_OF_THE_SERVICE))
)


def egress_chain(eni: LinkFacts) -> Chain:
    """Return the chain that keeps pods of this ENI from the metadata service (Linux 5.16).

    It comes last. A pod with CAP_NET_RAW that sends fragments can say that their checksum is still
    to be filled in, and where: over the address of their receiver (packet(7), PACKET_VNET_HDR). The
    kernel does so when it cuts what it had joined into fragments again (ip_do_fragment,
    skb_checksum_help), behind all other filters. The chain is bound to the link's name. What it
    cannot read does not leave: frames with a VLAN tag, since a switch may take one of VLAN 0 off,
    and those whose type is not the one that the kernel believes, which is whatever their sender has
    told its packet socket (sll_protocol). Nor does it believe where the header begins: in what tc
    leads from a VLAN's link of the pod to its slave (mirred), behind a tag that is not there.

    A NIC without checksums in hardware, here or beyond the node, fills them in behind this chain as
    well (validate_xmit_skb). That is 16 bits next to each other, so nothing leaves by IPv6 that has
    all others of the service's address. IPv4 has a checksum over its header, which has to be right
    on every hop.
    """
    hook = f'type filter hook egress device "{eni.device}" priority filter; policy accept;'
    rules = [
        f"{_TYPE} 0x0800 meta protocol ip {_RECEIVER} != {_SERVICE:#x} accept",
        f"{_TYPE} 0x0806 meta protocol arp accept",
        *(f"meta protocol ip6 {match} drop" for match in _ALMOST_THE_SERVICE),
        f"{_TYPE} 0x86dd meta protocol ip6 accept",
        "drop",
    ]
    return chain("netdev", f"{ENI_CHAIN}{eni.ifindex}", hook, rules, protects=True)
