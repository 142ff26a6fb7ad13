"""Delete the conntrack entries of addresses that pods have given back, and of flows that go wrong.

The next pod with the address would inherit them: replies would be translated back for connections
that it never had, and its own could be refused or sent to where the last pod's went.

The kernel could select entries by address in a dump (CTA_FILTER), but does it wrongly for IPv6 (it
returns the others: ctnetlink_filter_match_tuple() compares with `!ipv6_addr_cmp`), needs four dumps
for each address, and older kernels find none by the reply's addresses. So one dump for each family
serves any number of addresses, and only entries in which the bytes of one of them occur are looked
into: 120,000 entries take a quarter of a second. An ADD with host ports waits for its dumps: there
the kernel selects by port, in a tenth of that.

How many entries name an address is up to its pod, which opens flows: pyroute2 takes 0.3 ms and
8 KiB to decode one, so these few attributes are read here, and no more than _AT_ONCE are kept.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from socket import IPPROTO_UDP
from struct import pack, unpack
from typing import Final, NamedTuple, TypeAlias

from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import (
    HEADER,
    attribute,
    payloads,
    with_attributes,
)
from openeni_nodeagent.datapath.linux.dumps import addresses as addresses_of_links
from openeni_nodeagent.datapath.linux.dumps import answers
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.pyroute2_classes import ConntrackMessage
from openeni_nodeagent.datapath.linux.rtnetlink_encode import SOCKET_FAMILIES, packed
from openeni_nodeagent.datapath.marks import Mark
from openeni_nodeagent.datapath.model import Element, State
from openeni_nodeagent.datapath.nft_sets import split
from openeni_nodeagent.datapath.options.host_ports import mappings_in
from openeni_nodeagent.datapath_api import KernelRefusedError
from openeni_nodeagent.pod_options import PortMapping, Transport

LOG: Final = logging.getLogger(__name__)
_SUBSYSTEM: Final = uapi.NFNL_SUBSYS_CTNETLINK << 8
_GENERIC: Final = 4  # bytes of struct nfgenmsg, which follows the header
_NAMES_IT: Final = frozenset({uapi.CTA_TUPLE_ORIG, uapi.CTA_ZONE, uapi.CTA_ID})
_AT_ONCE: Final = 1 << 15  # entries, 200 bytes each
_DUMPS: Final = 32  # so many for one flush, while new flows come as fast as they are deleted
_PORTS_ALONE: Final = 8  # a dump for each: of 200,000 entries they take as long as one of all
_BY_PROTOCOL, _BY_PORT = 1 << 3, 1 << 5  # CTA_FILTER_F_*, of net/netfilter/nf_internals.h
_ENDS: Final = {
    IPV4: (uapi.CTA_IP_V4_SRC, uapi.CTA_IP_V4_DST),
    IPV6: (uapi.CTA_IP_V6_SRC, uapi.CTA_IP_V6_DST),
}


class _Direction(NamedTuple):
    """What an entry says of the packets of one direction."""

    source: bytes  # as in a packet
    destination: bytes
    protocol: int
    port: bytes  # of the destination, as in a packet; b"" for a protocol without ports


_Packed: TypeAlias = frozenset[bytes]  # addresses
_Attributes: TypeAlias = Sequence[tuple[str, object]]  # of a message of pyroute2


class _Entry(NamedTuple):
    original: _Direction
    reply: _Direction
    status: int  # IPS_*


def flush(addresses: Iterable[str]) -> int:
    """Delete the entries with one of the addresses in either direction; return how many.

    In the network namespace of the calling thread. Raises KernelRefusedError.
    """
    freed: dict[int, set[bytes]] = {IPV4: set(), IPV6: set()}
    for address in addresses:
        freed[family_of(address)].add(packed(address))
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        return sum(_flush(netfilter, family, found) for family, found in freed.items() if found)


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
        for family in (IPV4, IPV6):
            ours = [(m, a) for m, a in wanted if family_of(a) == family]
            own = {packed(a) for a in local if family_of(a) == family}
            if not own:
                continue  # nothing leads to the node by this family
            ports = {m.host_port for m, _ in ours}
            bytes_ = own, {attribute(uapi.CTA_PROTO_DST_PORT, _port(m)) for m, _ in ours}
            stale = partial(_is_stale, wanted=ours, local=own)
            for port in ports if len(ports) <= _PORTS_ALONE else {None}:
                _delete(netfilter, family, bytes_, stale, _udp_to(port))


def _udp_to(port: int | None) -> _Attributes:
    """Return attributes by which the kernel selects UDP entries to a port, or all of UDP.

    It does so since Linux 5.8; older kernels ignore CTA_FILTER.
    """
    protocol, flags = [("CTA_PROTO_NUM", IPPROTO_UDP)], _BY_PROTOCOL
    if port is not None:
        protocol.append(("CTA_PROTO_DST_PORT", port))
        flags |= _BY_PORT
    return [
        ("CTA_TUPLE_ORIG", {"attrs": [("CTA_TUPLE_PROTO", {"attrs": protocol})]}),
        ("CTA_FILTER", {"attrs": [("CTA_FILTER_ORIG_FLAGS", flags)]}),
    ]


def _is_stale(
    entry: _Entry, wanted: Iterable[tuple[PortMapping, str]], local: Collection[bytes]
) -> bool:
    """Return True for a UDP flow to a host port that does not lead to the port's pod."""
    there = entry.original
    return there.protocol == IPPROTO_UDP and any(
        there.port == _port(mapping)
        and there.destination in local
        and (mapping.is_of_every_address or there.destination == packed(mapping.host_ip))
        and entry.reply.source != packed(address)
        for mapping, address in wanted
    )


def flush_untranslated(members: State, own: Collection[str]) -> None:
    """Delete the entries of flows that were led to a backend, but kept their sender.

    Backends at the node's `own` addresses see the sender itself. The rules of the chain `service`
    look the senders up among these members of sets. They are asked for a flow's first packet alone:
    answers to a flow that began without them pass the node's conntrack by as long as the client
    sends. A failure is logged.
    """
    try:
        with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
            for family in (IPV4, IPV6):
                sources = _addresses(members, f"sources{family}")
                pods = _addresses(members, f"pods{family}")
                itself = _addresses(members, f"hairpins{family}")
                if senders := sources | pods | itself:
                    node = frozenset(packed(a) for a in own if family_of(a) == family)
                    lacks = partial(_lacks_translation, sources, pods, itself, node)
                    _delete(netfilter, family, (senders,), lacks)
    except KernelRefusedError as error:
        LOG.warning("flows to services whose sender is wrong are left to expire: %s", error)


def flush_marked(marks: Iterable[Mark]) -> None:
    """Delete the entries of translated flows with marks that are no longer their ENIs'.

    Their replies would leave by another ENI, or by the node's own NIC. A failure is logged.
    """
    try:
        with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
            for mark in marks:
                selected = [("CTA_MARK", mark.value), ("CTA_MARK_MASK", mark.mask)]
                for family in (IPV4, IPV6):
                    _delete(netfilter, family, (), _is_translated, selected)
    except KernelRefusedError as error:
        LOG.warning("flows to services with a former mark are left to expire: %s", error)


def _is_translated(entry: _Entry) -> bool:
    return bool(entry.status & uapi.IPS_DST_NAT)


def _addresses(members: State, name: str) -> frozenset[bytes]:
    """Return the addresses with which the keys of the members of a set begin."""
    found = (i for i in members if isinstance(i, Element) and i.name == name)
    return frozenset(packed(split(member.key)[0]) for member in found)


def _lacks_translation(
    sources: _Packed, pods: _Packed, itself: _Packed, node: _Packed, entry: _Entry
) -> bool:
    """Return True for a flow whose sender `service` would translate, and which has its own."""
    if entry.status & (uapi.IPS_SRC_NAT | uapi.IPS_DST_NAT) != uapi.IPS_DST_NAT:
        return False
    sender, backend = entry.original.source, entry.reply.source
    if backend in node:
        return False
    of_pods = sender in pods and backend in pods
    return sender in sources or of_pods or (sender == backend and sender in itself)


def _flush(netfilter: Netlink, family: int, freed: Collection[bytes]) -> int:
    def has_one(entry: _Entry) -> bool:
        directions = entry.original, entry.reply
        return any(d.source in freed or d.destination in freed for d in directions)

    return _delete(netfilter, family, (freed,), has_one)


def _delete(
    netfilter: Netlink,
    family: int,
    bytes_: Iterable[Collection[bytes]],
    doomed: Callable[[_Entry], bool],
    selected: _Attributes = (),
) -> int:
    """Delete the entries that are doomed, of those in which one of each of these bytes occurs.

    The kernel lists only those that are `selected`.
    """
    request = ConntrackMessage()
    request["nfgen_family"] = SOCKET_FAMILIES[family]
    request["attrs"] = list(selected)
    occur = [re.compile(b"|".join(map(re.escape, one_of))).search for one_of in bytes_]
    chosen = list[bytes]()
    deleted = 0

    def choose(message: bytes) -> bool:
        """Keep the request that deletes it: the answers to a dump, which is repeated, are not."""
        if len(chosen) < _AT_ONCE and all(occurs(message) for occurs in occur):
            entry = _read(message, family)
            if entry and doomed(entry):
                chosen.append(_deletion(message))
        return False

    for _ in range(_DUMPS):
        chosen.clear()
        answers(netfilter, _SUBSYSTEM | uapi.IPCTNL_MSG_CT_GET, request, choose)
        refusals = netfilter.execute(chosen)
        if unexpected := [refusal for refusal in refusals if refusal.name != "ENOENT"]:
            raise KernelRefusedError(f"delete a conntrack entry: {unexpected[0]}")
        deleted += len(chosen) - len(refusals)  # those that have timed out meanwhile
        if len(chosen) < _AT_ONCE:
            break
    return deleted


def _read(message: bytes, family: int) -> _Entry | None:
    """Return a dumped entry of this family; None for what is none."""
    found = payloads(message, HEADER.size + _GENERIC)
    try:
        there, back = (
            _direction(found[kind], family) for kind in (uapi.CTA_TUPLE_ORIG, uapi.CTA_TUPLE_REPLY)
        )
        (status,) = unpack("!I", found[uapi.CTA_STATUS])
    except KeyError:
        return None
    return _Entry(there, back, status)


def _direction(data: bytes, family: int) -> _Direction:
    """Raises KeyError for one without addresses or protocol."""
    found = payloads(data)
    ends, protocol = payloads(found[uapi.CTA_TUPLE_IP]), payloads(found[uapi.CTA_TUPLE_PROTO])
    source, destination = (ends[kind] for kind in _ENDS[family])
    port = protocol.get(uapi.CTA_PROTO_DST_PORT, b"")[:2]
    return _Direction(source, destination, protocol[uapi.CTA_PROTO_NUM][0], port)


def _deletion(entry: bytes) -> bytes:
    """Return the request that deletes a dumped entry, which names itself: tuple, zone and id."""
    kind, flags = _SUBSYSTEM | uapi.IPCTNL_MSG_CT_DELETE, uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    named = with_attributes(entry, _GENERIC, _NAMES_IT)
    return HEADER.pack(len(named), kind, flags, 0, 0) + named[HEADER.size :]


def _port(mapping: PortMapping) -> bytes:
    return pack("!H", mapping.host_port)
