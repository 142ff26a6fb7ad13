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
_KNOWN: Final = uapi.NUD_REACHABLE | uapi.NUD_STALE | uapi.NUD_DELAY
_ASKED: Final = uapi.NUD_INCOMPLETE | uapi.NUD_PROBE
_GONE: Final = (errno.ENOENT, errno.EINVAL)  # the neighbour, and its MAC


class KernelGateways:
    """Implements GatewayProbe."""

    def ask(self, link: LinkFacts, gateway: str) -> Answer:
        """Return what is known of the gateway, and have the kernel ask it (again).

        Also while it counts as reachable: any program in a pod may confirm that with what it sends
        (MSG_CONFIRM, sock_confirm_neigh), but not end the asking that NUD_PROBE begins. So what is
        reachable the next time has answered since. Its MAC is used meanwhile.
        """
        with Netlink() as netlink:
            state, _ = _neighbour(netlink, link.ifindex, gateway)
            if state & _FIXED:
                return Answer.FIXED
            if not state & _ASKED:  # another time changes nothing
                _ask(netlink, link, gateway, state)
        if state & uapi.NUD_REACHABLE:
            return Answer.FRESH
        return Answer.OLD if state & (_KNOWN | uapi.NUD_PROBE) else Answer.NONE

    def listen(self, link: LinkFacts, mac: str, gateway: str, spare: str) -> ARPListener:
        with Netlink() as netlink:
            _, to_mac = _neighbour(netlink, link.ifindex, gateway)
        if not to_mac:
            raise KernelRefusedError(f"{link.device}: the kernel has forgotten {gateway}")
        return ARPListener(link.device, (mac, to_mac), gateway, spare)


def _ask(netlink: Netlink, link: LinkFacts, gateway: str, state: int) -> None:
    if family_of(gateway) == IPV4 and not _has_ipv4(netlink, link.ifindex):
        raise KernelRefusedError(f"{link.device} has no IPv4 address to ask {gateway} from")
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    if state & _KNOWN:
        again = _request(uapi.RTM_NEWNEIGH, flags, link.ifindex, gateway, state=uapi.NUD_PROBE)
        refused = tuple(r for r in netlink.execute([again]) if r.errno not in _GONE)
    else:  # with NTF_USE the kernel does as before it sends a packet (neigh_event_send)
        flags |= uapi.NLM_F_CREATE
        use = _request(uapi.RTM_NEWNEIGH, flags, link.ifindex, gateway, how=uapi.NTF_USE)
        refused = netlink.execute([use])
    if refused:
        raise KernelRefusedError(f"{gateway} on {link.device}: {refused[0]}")


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


def _request(
    kind: int, flags: int, index: int, address: str, *, state: int = 0, how: int = 0
) -> bytes:
    body = NDMSG.pack(SOCKET_FAMILIES[family_of(address)], index, state, how, 0)
    body += attribute(uapi.NDA_DST, packed(address))
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body
