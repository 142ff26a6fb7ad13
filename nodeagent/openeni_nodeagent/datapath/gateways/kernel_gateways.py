"""Ask gateways as the kernel does for a packet of a pod: by its table of neighbours."""

import errno
from typing import Final

from openeni_nodeagent.addresses import IPV4, family_of
from openeni_nodeagent.datapath.gateways.arp_listener import ARPListener
from openeni_nodeagent.datapath.linux import dumps, items, readers, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute
from openeni_nodeagent.datapath.linux.netlink import DumpRefusedError, Netlink
from openeni_nodeagent.datapath.linux.pyroute2_classes import NeighbourMessage
from openeni_nodeagent.datapath.linux.rtnetlink_encode import NDMSG, SOCKET_FAMILIES, packed
from openeni_nodeagent.datapath_api import KernelRefusedError, LinkFacts
from openeni_nodeagent.gateway_api import Answer

_FIXED: Final = uapi.NUD_NOARP | uapi.NUD_PERMANENT
_OLD: Final = uapi.NUD_STALE | uapi.NUD_DELAY | uapi.NUD_PROBE


class KernelGateways:
    """Implements GatewayProbe."""

    def ask(self, link: LinkFacts, gateway: str) -> Answer:
        with Netlink() as netlink:
            state, _ = _neighbour(netlink, link.ifindex, gateway)
            if state & uapi.NUD_REACHABLE:
                return Answer.FRESH
            if state & _FIXED:
                return Answer.FIXED
            if state & uapi.NUD_INCOMPLETE:
                return Answer.NONE  # it is asked just now: another use changes nothing
            if family_of(gateway) == IPV4 and not _has_ipv4(netlink, link.ifindex):
                raise KernelRefusedError(f"{link.device} has no IPv4 address to ask {gateway} from")
            # With NTF_USE the kernel does what it does before it sends a packet (neigh_event_send).
            flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK | uapi.NLM_F_CREATE
            use = _request(uapi.RTM_NEWNEIGH, flags, link.ifindex, gateway, uapi.NTF_USE)
            if refused := netlink.execute([use]):
                raise KernelRefusedError(f"{gateway} on {link.device}: {refused[0]}")
        return Answer.OLD if state & _OLD else Answer.NONE

    def listen(self, link: LinkFacts, mac: str, gateway: str, spare: str) -> ARPListener:
        with Netlink() as netlink:
            _, to_mac = _neighbour(netlink, link.ifindex, gateway)
        if not to_mac:
            raise KernelRefusedError(f"{link.device}: the kernel has forgotten {gateway}")
        return ARPListener(link.device, (mac, to_mac), gateway, spare)


def _has_ipv4(netlink: Netlink, index: int) -> bool:
    """Return True for a link with an address that ARP asks from.

    Without one the kernel takes another link's (inet_select_addr), which Neutron drops as spoofed.
    """
    return any(family_of(a.address) == IPV4 for a in dumps.addresses(netlink, index=index))


def _neighbour(netlink: Netlink, index: int, address: str) -> tuple[int, str]:
    """Return a neighbour's state (NUD_*) and its MAC, 0 and "" if the kernel has none."""
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    try:
        (raw,) = netlink.dump(_request(uapi.RTM_GETNEIGH, flags, index, address))
    except DumpRefusedError as refusal:
        if refusal.errno == errno.ENOENT:
            return 0, ""
        raise
    message = readers.decoded(NeighbourMessage(raw))
    found = items.neighbour(message)
    return message["state"], found.mac if found else ""


def _request(kind: int, flags: int, index: int, address: str, how: int = 0) -> bytes:
    body = NDMSG.pack(SOCKET_FAMILIES[family_of(address)], index, 0, how, 0)
    body += attribute(uapi.NDA_DST, packed(address))
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body
