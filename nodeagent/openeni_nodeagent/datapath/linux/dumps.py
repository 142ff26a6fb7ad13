"""Dump the kernel's tables: pyroute2's messages on our sockets.

What the kernel can filter (NETLINK_GET_STRICT_CHK), it does: routes by protocol or device, links
without statistics. `readers` makes items of the rest.
"""

import errno
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

from openeni_crds import names
from openeni_nodeagent.addresses import address_bits, family_of
from openeni_nodeagent.datapath.linux import items, readers, uapi
from openeni_nodeagent.datapath.linux.attributes import (
    HEADER,
    attribute,
    big_endian,
    number,
    string,
    with_attributes,
)
from openeni_nodeagent.datapath.linux.netlink import DumpRefusedError, Netlink
from openeni_nodeagent.datapath.linux.nfnetlink import NF_FAMILIES
from openeni_nodeagent.datapath.linux.pyroute2_classes import (
    AddressMessage,
    FilterChainMessage,
    FilterRuleMessage,
    FilterTableMessage,
    FlowtableMessage,
    LinkMessage,
    NeighbourMessage,
    QdiscMessage,
    RouteMessage,
    RuleMessage,
    SetElementsMessage,
)
from openeni_nodeagent.datapath.linux.readers import Reader
from openeni_nodeagent.datapath.linux.rtnetlink_encode import (
    IFADDRMSG,
    IFINFOMSG,
    RTMSG,
    SOCKET_FAMILIES,
    packed,
)
from openeni_nodeagent.datapath.model import (
    Address,
    Chain,
    Element,
    FlowtableLink,
    Link,
    Neighbour,
    Qdisc,
    Route,
    Rule,
)

_Read = TypeVar("_Read")
_Wanted: TypeAlias = Callable[[bytes], object]
_OURS: Final = attribute(uapi.NDA_PROTOCOL, bytes([names.PROTOCOL]))
_OPERATIONAL: Final = attribute(uapi.IFLA_OPERSTATE, bytes([uapi.IF_OPER_UP]))
_OUR_CHAIN: Final = string(uapi.NFTA_CHAIN_TABLE, names.NFT_TABLE)
_ACCEPTS: Final = big_endian(uapi.NFTA_CHAIN_POLICY, uapi.NF_ACCEPT)
_OF_ADDRESS: Final = frozenset({uapi.IFA_ADDRESS, uapi.IFA_LOCAL})
_OF_ROUTE: Final = frozenset(
    {uapi.RTA_DST, uapi.RTA_SRC, uapi.RTA_PRIORITY, uapi.RTA_PREFSRC, uapi.RTA_TABLE}
)
_NEXTHOP: Final = frozenset({uapi.RTA_OIF, uapi.RTA_GATEWAY, uapi.RTA_VIA})
_TOKEN_BUCKETS: Final = re.compile(re.escape(string(uapi.TCA_KIND, "tbf")))


def links(netlink: Netlink, kind: str = "", wanted: _Wanted = bool) -> Iterator[Link]:
    """Yield every link of the namespace that is `wanted`, or of a kind that the kernel has."""
    request = LinkMessage()
    of_kind = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", kind)]})] if kind else []
    request["attrs"] = [("IFLA_EXT_MASK", uapi.RTEXT_FILTER_SKIP_STATS), *of_kind]
    return _items(netlink, uapi.RTM_GETLINK, request, readers.LINK, wanted)


def link_named(netlink: Netlink, name: str) -> Link | None:
    """Return one link, None if there is none of this name; no other is read."""
    raw = _link_named(netlink, name)
    return readers.LINK(raw) if raw else None


def is_operational(netlink: Netlink, name: str) -> bool:
    """Return True if the kernel sends by the link of this name; False if there is none."""
    return _OPERATIONAL in _link_named(netlink, name)


def is_local(netlink: Netlink, address: str) -> bool:
    """Return True if the kernel takes what is for an address."""
    return route_type(netlink, address) == uapi.RTN_LOCAL


def route_type(netlink: Netlink, address: str) -> int:
    """Return the type of the route to an address (RTN_*), or the negative errno of a refusal."""
    family = family_of(address)
    asked = RTMSG.pack(SOCKET_FAMILIES[family], address_bits(family), 0, 0, 0, 0, 0, 0, 0)
    asked += attribute(uapi.RTA_DST, packed(address))
    try:
        found = _one(netlink, uapi.RTM_GETROUTE, asked, ())
    except DumpRefusedError as refusal:
        return -refusal.errno
    return int(RTMSG.unpack_from(found, HEADER.size)[7])


def _link_named(netlink: Netlink, name: str) -> bytes:
    """Return the message of one link, empty if there is none of this name."""
    asked = IFINFOMSG.pack(0, 0, 0, 0, 0) + string(uapi.IFLA_IFNAME, name)
    asked += number(uapi.IFLA_EXT_MASK, uapi.RTEXT_FILTER_SKIP_STATS)
    return _one(netlink, uapi.RTM_GETLINK, asked, {errno.ENODEV})


def _one(netlink: Netlink, kind: int, body: bytes, missing: Container[int]) -> bytes:
    """Return the answer to a request for one thing, empty for an error of those that are `missing`.

    It is encoded by hand: an ADD asks, and pyroute2's messages would take eight times as long.
    """
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
    try:
        (found,) = netlink.dump(HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body)
    except DumpRefusedError as refusal:
        if refusal.errno in missing:
            return b""
        raise
    return found


def addresses(netlink: Netlink, *, index: int = 0) -> Iterator[Address]:
    """Yield every address of the namespace, or with `index` of that link."""
    request = AddressMessage()
    request["index"] = index
    for raw in answers(netlink, uapi.RTM_GETADDR, request):
        if address := readers.ADDRESS(raw):
            yield replace(address, message=with_attributes(raw, IFADDRMSG.size, _OF_ADDRESS))


def routes(netlink: Netlink, family: int) -> Iterator[Route]:
    """Yield our routes of a family."""
    request = RouteMessage()
    request["family"], request["proto"] = SOCKET_FAMILIES[family], names.PROTOCOL
    return _items(netlink, uapi.RTM_GETROUTE, request, readers.ROUTE)


def everybodys_routes(
    netlink: Netlink, family: int, *, index: int = 0, kind: int = 0, wanted: _Wanted = bool
) -> Iterator[Route]:
    """Yield everybody's routes of a family, of one link or type (RTN_*), that are `wanted`."""
    request = RouteMessage()
    request["family"], request["type"] = SOCKET_FAMILIES[family], kind
    request["attrs"] = [("RTA_OIF", index)] if index else []
    for raw in answers(netlink, uapi.RTM_GETROUTE, request, wanted):
        if route := readers.ROUTE(raw):
            yield replace(route, message=_identifying(raw))


def _identifying(raw: bytes) -> bytes:
    """Return the message of a route with what tells it from others: a nexthop or its ID."""
    by_id = with_attributes(raw, RTMSG.size, _OF_ROUTE | {uapi.RTA_NH_ID})
    without = with_attributes(raw, RTMSG.size, _OF_ROUTE)
    return by_id if by_id != without else with_attributes(raw, RTMSG.size, _OF_ROUTE | _NEXTHOP)


def rules(netlink: Netlink) -> Iterator[Rule]:
    """Yield the rules of both families, everybody's."""
    return _items(netlink, uapi.RTM_GETRULE, RuleMessage(), readers.RULE)


def neighbours(netlink: Netlink) -> Iterator[Neighbour]:
    """Yield our permanent neighbours and proxies; the kernel lists proxies in a dump of their own.

    Learned and multicast neighbours may be several for each pod, and the kernel cannot leave them
    out: they are not decoded.
    """
    proxies = NeighbourMessage()
    proxies["flags"] = uapi.NTF_PROXY
    for request in (NeighbourMessage(), proxies):
        yield from _items(
            netlink, uapi.RTM_GETNEIGH, request, readers.OUR_NEIGHBOUR, names_protocol
        )


def names_protocol(raw: bytes) -> bool:
    """Return True for the message of each of our neighbours, and of hardly any other."""
    return _OURS in raw


def qdiscs(netlink: Netlink) -> Iterator[Qdisc]:
    """Yield the token buckets of all links; none on a kernel without qdiscs."""
    try:
        found = list(dump(netlink, uapi.RTM_GETQDISC, QdiscMessage(), _TOKEN_BUCKETS.search))
    except DumpRefusedError as refusal:
        if refusal.errno != errno.EOPNOTSUPP:
            raise
        return
    yield from filter(None, map(items.qdisc, found))


def elements(netfilter: Netlink, name: str) -> Iterator[Element]:
    """Yield the members of one of our nftables sets."""
    request = SetElementsMessage()
    request["nfgen_family"] = uapi.NFPROTO_INET
    request["attrs"] = [
        ("NFTA_SET_ELEM_LIST_TABLE", names.NFT_TABLE),
        ("NFTA_SET_ELEM_LIST_SET", name),
    ]
    kind = uapi.NFNL_SUBSYS_NFTABLES << 8 | uapi.NFT_MSG_GETSETELEM
    for members in _items(netfilter, kind, request, readers.ELEMENTS):
        yield from members


def flowtable_links(netfilter: Netlink) -> Iterator[FlowtableLink]:
    """Yield the links in our flowtable.

    The kernel lists all in one message of 32 KiB at most, and none while it has no memory for that.
    """
    request = FlowtableMessage()
    request["nfgen_family"] = uapi.NFPROTO_INET
    request["attrs"] = [("NFTA_FLOWTABLE_TABLE", names.NFT_TABLE)]
    kind = uapi.NFNL_SUBSYS_NFTABLES << 8 | uapi.NFT_MSG_GETFLOWTABLE
    for links in _items(netfilter, kind, request, readers.FLOWTABLE_LINKS):
        yield from links


def tables(netfilter: Netlink) -> dict[str, bool]:
    """Return the families in which our table is, and whether the kernel skips it (dormant)."""
    request = FilterTableMessage()  # of all families
    kind = uapi.NFNL_SUBSYS_NFTABLES << 8 | uapi.NFT_MSG_GETTABLE
    found = {
        message["nfgen_family"]: bool(
            message.get_attr("NFTA_TABLE_FLAGS") & uapi.NFT_TABLE_F_DORMANT
        )
        for message in dump(netfilter, kind, request)
        if message.get_attr("NFTA_TABLE_NAME") == names.NFT_TABLE
    }
    return {family: found[number] for family, number in NF_FAMILIES.items() if number in found}


def chains(netfilter: Netlink, family: str, *, dormant: bool) -> Iterator[Chain]:
    """Yield the chains of our table in a family that do anything.

    Those of a dormant table, and those with another policy than to accept, have no mark: applying
    them puts that right.
    """
    request = FilterRuleMessage()
    request["nfgen_family"] = NF_FAMILIES[family]
    request["attrs"] = [("NFTA_RULE_TABLE", names.NFT_TABLE)]
    kind = uapi.NFNL_SUBSYS_NFTABLES << 8 | uapi.NFT_MSG_GETRULE
    found = items.chains(family, _items(netfilter, kind, request, readers.OUR_FILTER_RULE))
    changed = _with_another_policy(netfilter, family)
    for chain in found:
        yield replace(chain, mark="") if dormant or chain.name in changed else chain
        changed.discard(chain.name)
    yield from (Chain(family, name, "") for name in changed)


def _with_another_policy(netfilter: Netlink, family: str) -> set[str]:
    """Return the names of the chains of our table that do not accept what no rule drops."""
    request = FilterChainMessage()
    request["nfgen_family"] = NF_FAMILIES[family]
    kind = uapi.NFNL_SUBSYS_NFTABLES << 8 | uapi.NFT_MSG_GETCHAIN
    found = dump(netfilter, kind, request, lambda raw: _OUR_CHAIN in raw and _ACCEPTS not in raw)
    return {message.get_attr("NFTA_CHAIN_NAME") for message in found}


def dump(netlink: Netlink, kind: int, request: Any, wanted: _Wanted = bool) -> Iterator[Any]:
    """Yield the answers to a dump request of type `kind` that are `wanted`, decoded."""
    for raw in answers(netlink, kind, request, wanted):
        yield readers.decoded(type(request)(raw))


def _items(
    netlink: Netlink,
    kind: int,
    request: Any,
    reader: Reader[_Read],
    wanted: _Wanted = bool,
) -> Iterator[_Read]:
    """Yield what is read in the answers to a dump request of type `kind` that are `wanted`."""
    for raw in answers(netlink, kind, request, wanted):
        if item := reader(raw):
            yield item


def answers(
    netlink: Netlink,
    kind: int,
    request: Any,
    wanted: _Wanted = bool,
) -> list[bytes]:
    """Return the answers to a dump request that are `wanted`.

    Raises DumpRefusedError and KernelRefusedError.
    """
    request["header"]["type"] = kind
    request["header"]["flags"] = uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP
    request.encode()
    return netlink.dump(bytes(request.data), wanted)
