"""Delete the conntrack entries of addresses that pods have given back, and to new host ports.

The next pod with the address would inherit them: replies would be translated back for connections
that it never had, and its own could be refused or sent to where the last pod's went.

The kernel could select entries by address in a dump (CTA_FILTER), but does it wrongly for IPv6 (it
returns the others: ctnetlink_filter_match_tuple() compares with `!ipv6_addr_cmp`), needs four dumps
for each address, and older kernels find none by the reply's addresses. So one dump for each family
serves any number of addresses, and only entries in which the bytes of one of them occur are
decoded: 120,000 entries take a quarter of a second, where decoding them all takes 6.
"""

import logging
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from socket import AF_INET, AF_INET6, IPPROTO_UDP, inet_ntop, inet_pton
from struct import pack
from typing import Any, Final

from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute
from openeni_nodeagent.datapath.linux.dumps import addresses as addresses_of_links
from openeni_nodeagent.datapath.linux.dumps import dump
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.pyroute2_classes import ConntrackMessage
from openeni_nodeagent.datapath.model import State
from openeni_nodeagent.datapath.options.host_ports import mappings_in
from openeni_nodeagent.datapath_api import KernelRefusedError
from openeni_nodeagent.pod_options import PortMapping, Transport

LOG: Final = logging.getLogger(__name__)
_SUBSYSTEM: Final = uapi.NFNL_SUBSYS_CTNETLINK << 8
_ENDS: Final = (("CTA_IP_V4_SRC", "CTA_IP_V6_SRC"), ("CTA_IP_V4_DST", "CTA_IP_V6_DST"))


def flush(addresses: Iterable[str]) -> int:
    """Delete the entries with one of the addresses in either direction; return how many.

    In the network namespace of the calling thread. Raises KernelRefusedError.
    """
    packed: dict[int, set[bytes]] = {AF_INET: set(), AF_INET6: set()}
    for address in addresses:
        family = AF_INET6 if family_of(address) == IPV6 else AF_INET
        packed[family].add(inet_pton(family, address))
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        return sum(_flush(netfilter, family, found) for family, found in packed.items() if found)


def flush_to_host_ports(added: State) -> None:
    """Delete the entries of UDP flows that lead elsewhere than host ports which were just added.

    An entry lives as long as its flow: a client that repeats its datagrams keeps it, and would
    never reach the pod. (A TCP client begins anew.) A failure is logged.
    """
    try:
        _flush_to_host_ports(added)
    except KernelRefusedError as error:
        LOG.warning("UDP flows to new host ports are left to expire: %s", error)


def _flush_to_host_ports(added: State) -> None:
    wanted = [
        (mapping, address)
        for address, mappings in mappings_in(added).items()
        for mapping in mappings
        if mapping.transport is Transport.UDP
    ]
    if not wanted:
        return
    with Netlink() as netlink:
        local = {one.address for one in addresses_of_links(netlink)}
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        for family, version in ((AF_INET, IPV4), (AF_INET6, IPV6)):
            ours = [(m, a) for m, a in wanted if family_of(a) == version]
            ports = {attribute(uapi.CTA_PROTO_DST_PORT, pack("!H", m.host_port)) for m, _ in ours}
            stale = partial(_is_stale, wanted=ours, local=local)
            if ours:
                _delete(netfilter, family, ports, stale)


def _is_stale(entry: Any, wanted: Iterable[tuple[PortMapping, str]], local: set[str]) -> bool:
    """Return True for a UDP flow to a host port that does not lead to the port's pod."""
    ends, (_, destination) = entry.get_attr("CTA_TUPLE_ORIG"), _ends(entry, "CTA_TUPLE_ORIG")
    protocol = ends.get_attr("CTA_TUPLE_PROTO")
    if protocol.get_attr("CTA_PROTO_NUM") != IPPROTO_UDP:
        return False
    port, (answering, _) = protocol.get_attr("CTA_PROTO_DST_PORT"), _ends(entry, "CTA_TUPLE_REPLY")
    return any(
        port == mapping.host_port
        and destination in local
        and (mapping.is_of_every_address or destination == mapping.host_ip)
        and answering != address
        for mapping, address in wanted
    )


def _flush(netfilter: Netlink, family: int, packed: Collection[bytes]) -> int:
    addresses = {inet_ntop(family, one) for one in packed}
    return _delete(
        netfilter,
        family,
        packed,
        lambda entry: not addresses.isdisjoint(_addresses_of(entry)),
    )


def _delete(
    netfilter: Netlink, family: int, bytes_: Collection[bytes], doomed: Callable[[Any], bool]
) -> int:
    """Delete the entries that are doomed, of those in which one of these bytes occurs."""
    request = ConntrackMessage()
    request["nfgen_family"] = family
    occurs = re.compile(b"|".join(map(re.escape, bytes_))).search
    entries = dump(netfilter, _SUBSYSTEM | uapi.IPCTNL_MSG_CT_GET, request, occurs)
    chosen = [entry for entry in entries if doomed(entry)]
    refusals = netfilter.execute([_deletion(bytes(entry.data)) for entry in chosen])
    if unexpected := [refusal for refusal in refusals if refusal.name != "ENOENT"]:
        raise KernelRefusedError(f"delete a conntrack entry: {unexpected[0]}")
    return len(chosen) - len(refusals)  # those that have timed out meanwhile


def _addresses_of(entry: Any) -> Iterator[str]:
    for direction in ("CTA_TUPLE_ORIG", "CTA_TUPLE_REPLY"):
        yield from _ends(entry, direction)


def _ends(entry: Any, direction: str) -> tuple[str, str]:
    """Return source and destination of an entry in one direction."""
    ends = entry.get_attr(direction).get_attr("CTA_TUPLE_IP")
    source, destination = (
        next(address for name in names if (address := ends.get_attr(name))) for names in _ENDS
    )
    return source, destination


def _deletion(entry: bytes) -> bytes:
    """Return the request that deletes a dumped entry, which names itself: tuple, zone and id."""
    kind, flags = _SUBSYSTEM | uapi.IPCTNL_MSG_CT_DELETE, uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    return HEADER.pack(len(entry), kind, flags, 0, 0) + entry[HEADER.size :]


class ConntrackFlusher:
    """Collects freed addresses until the entries of all of them are flushed at once.

    `add` may be called by any thread, and takes no time; `flush` by one at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._freed: set[str] = set()
        self._fails = False

    def add(self, addresses: Iterable[str]) -> None:
        """Have the entries of these addresses flushed by the next `flush`."""
        with self._lock:
            self._freed.update(addresses)

    def flush(self) -> None:
        """Flush what has been added. A failure is logged once, until one succeeds.

        What fails is not tried again: the entries time out by themselves.
        """
        with self._lock:
            freed, self._freed = self._freed, set()
        if not freed:
            return
        try:
            count = flush(freed)
        except KernelRefusedError as error:
            if not self._fails:
                LOG.warning("conntrack entries of freed addresses are left to expire: %s", error)
            self._fails = True
        else:
            LOG.debug("deleted %d conntrack entries of %d freed addresses", count, len(freed))
            self._fails = False
