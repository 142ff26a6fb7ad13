"""Convert pyroute2's messages to items of the datapath's model.

The messages are pyroute2's and without types; `readers`, `dumps` and `subscription` decode them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import Any, Final

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.nfnetlink import unpack
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    RTPROT_KERNEL,
    Address,
    Chain,
    Element,
    FlowtableLink,
    Link,
    Neighbour,
    Qdisc,
    Route,
    RouteType,
    Rule,
)
from openeni_nodeagent.datapath.nft_sets import CATCH_ALL, FLOWTABLE, SETS

_FAMILIES: Final = {AF_INET: IPV4, AF_INET6: IPV6}
_ANY: Final = {AF_INET: "0.0.0.0", AF_INET6: "::"}  # noqa: S104 - of a default route
_ROUTE_TYPES: Final = {
    uapi.RTN_UNICAST: RouteType.UNICAST,
    uapi.RTN_LOCAL: RouteType.LOCAL,
    uapi.RTN_MULTICAST: RouteType.MULTICAST,
    uapi.RTN_BLACKHOLE: RouteType.BLACKHOLE,
    uapi.RTN_PROHIBIT: RouteType.PROHIBIT,
    uapi.RTN_UNREACHABLE: RouteType.UNREACHABLE,
}
_OF_KERNEL: Final = frozenset({RouteType.LOCAL, RouteType.MULTICAST})
_REJECTING: Final = frozenset({RouteType.BLACKHOLE, RouteType.PROHIBIT, RouteType.UNREACHABLE})
LINK_ATTRIBUTES: Final = frozenset(  # that `link` reads
    {
        uapi.IFLA_ADDRESS,
        uapi.IFLA_IFNAME,
        uapi.IFLA_MTU,
        uapi.IFLA_LINK,
        uapi.IFLA_LINKINFO,
        uapi.IFLA_MASTER,
        uapi.IFLA_PERM_ADDRESS,
        uapi.IFLA_IFALIAS,
        uapi.IFLA_GROUP,
    }
)
_NARROWING: Final = (
    "FRA_TUN_ID",
    "FRA_UID_RANGE",
    "FRA_IP_PROTO",
    "FRA_SPORT_RANGE",
    "FRA_DPORT_RANGE",
)
_IP6_RT_PRIO_USER: Final = 1024  # linux/ipv6_route.h: what the kernel makes of metric 0


def link(message: Any) -> Link | None:
    """Return the link; None for a message about a bridge's port, which looks alike."""
    if message["family"] != AF_UNSPEC:
        return None
    info = message.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else ""
    data = info.get_attr("IFLA_INFO_DATA") if kind == IPVLAN else None
    mode = data.get_attr("IFLA_IPVLAN_MODE") if data else 0
    name, alias = message.get_attr("IFLA_IFNAME"), message.get_attr("IFLA_IFALIAS") or ""
    return Link(
        # Bytes that are no text are a name to the kernel. One that cannot be written anywhere has
        # the kernel refuse what names that link, and nothing else.
        name if isinstance(name, str) else name.decode(errors="replace"),
        message["index"],
        kind or "",
        message.get_attr("IFLA_ADDRESS") or "",
        message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & uapi.IFF_UP),
        parent=message.get_attr("IFLA_LINK") or 0 if data else 0,
        mode=mode,
        alias=alias if isinstance(alias, str) else alias.decode(errors="replace"),
        group=message.get_attr("IFLA_GROUP") or 0,
        master=message.get_attr("IFLA_MASTER") or 0,
        flags=data.get_attr("IFLA_IPVLAN_FLAGS") or 0 if data else 0,
        default_arp=bool(message["flags"] & uapi.IFF_NOARP) == bool(mode),
        carrier=bool(message["flags"] & uapi.IFF_LOWER_UP),
        permanent_mac=message.get_attr("IFLA_PERM_ADDRESS") or "",
    )


def address(message: Any) -> Address:
    """Return the address."""
    own = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    # Bits of ifa_flags, which has eight of them.
    if message["family"] == AF_INET:
        no_source = message["scope"] == uapi.RT_SCOPE_LINK
    else:
        no_source = bool(message["flags"] & uapi.IFA_F_DEPRECATED)
    confirmed = not message["flags"] & (uapi.IFA_F_TENTATIVE | uapi.IFA_F_DADFAILED)
    return Address(message["index"], own, message["prefixlen"], no_source, confirmed)


def route(message: Any) -> Route | None:
    """Return the route; None for one of a type that the model has not, such as broadcast.

    Local and multicast routes of others are left alone.
    """
    family, kind = message["family"], _ROUTE_TYPES.get(message["type"])
    if kind is None or family not in _FAMILIES:
        return None
    if kind in _OF_KERNEL and message["proto"] != RTPROT_KERNEL:
        return None
    metric = message.get_attr("RTA_PRIORITY") or 0
    return Route(
        f"{message.get_attr('RTA_DST') or _ANY[family]}/{message['dst_len']}",
        message.get_attr("RTA_TABLE") or message["table"],
        # IPv6 puts routes that reject packets on `lo`
        0 if kind in _REJECTING else message.get_attr("RTA_OIF") or 0,
        message.get_attr("RTA_GATEWAY") or "",
        message.get_attr("RTA_PREFSRC") or "",
        protocol=message["proto"],
        metric=0 if family == AF_INET6 and metric == _IP6_RT_PRIO_USER else metric,
        type=kind,
    )


def rule(message: Any) -> Rule | None:
    """Return the rule; None for one of multicast routing (RTNL_FAMILY_IPMR)."""
    if message["family"] not in _FAMILIES:
        return None
    source, destination = message.get_attr("FRA_SRC"), message.get_attr("FRA_DST")
    return Rule(
        _FAMILIES[message["family"]],
        message.get_attr("FRA_PRIORITY") or 0,
        message.get_attr("FRA_TABLE") or message["table"],
        f"{source}/{message['src_len']}" if source else "",
        iif=message.get_attr("FRA_IIFNAME") or "",
        oif=message.get_attr("FRA_OIFNAME") or "",
        mark=message.get_attr("FRA_FWMARK") or 0,
        mask=message.get_attr("FRA_FWMASK") or 0,
        protocol=message.get_attr("FRA_PROTOCOL") or 0,
        destination=f"{destination}/{message['dst_len']}" if destination else "",
        is_narrower=bool(message["flags"] & uapi.FIB_RULE_INVERT or message["tos"])
        or any(message.get_attr(name) is not None for name in _NARROWING),
    )


def neighbour(message: Any) -> Neighbour | None:
    """Return the neighbour, permanent or not; None for an entry of a bridge's table."""
    if message["family"] not in _FAMILIES:
        return None
    mac = "" if message["flags"] & uapi.NTF_PROXY else message.get_attr("NDA_LLADDR") or ""
    protocol = message.get_attr("NDA_PROTOCOL") or 0
    return Neighbour(message["ifindex"], message.get_attr("NDA_DST"), mac, protocol)


def is_permanent(message: Any) -> bool:
    """Return True for a neighbour that was set, as opposed to learned."""
    return bool(message["state"] & uapi.NUD_PERMANENT or message["flags"] & uapi.NTF_PROXY)


def elements(message: Any) -> tuple[Element, ...]:
    """Return the members of one of our sets that a message of its dump lists."""
    return tuple(_elements(message, message.get_attr("NFTA_SET_ELEM_LIST_SET")))


def _elements(message: Any, name: str) -> Iterator[Element]:
    made = SETS[name]
    for member in message.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or ():
        data = member.get_attr("NFTA_SET_ELEM_DATA")  # a map's value
        value = "" if data is None else unpack(made.value, data.get_attr("NFTA_DATA_VALUE"))
        key = member.get_attr("NFTA_SET_ELEM_KEY")
        text = CATCH_ALL if key is None else unpack(made.key, key.get_attr("NFTA_DATA_VALUE"))
        yield Element(name, text, value)


def flowtable_links(message: Any) -> tuple[FlowtableLink, ...]:
    """Return the links in our flowtable; () of another one."""
    identity = message.get_attr("NFTA_FLOWTABLE_TABLE"), message.get_attr("NFTA_FLOWTABLE_NAME")
    if identity != (names.NFT_TABLE, FLOWTABLE):
        return ()
    hook = message.get_attr("NFTA_FLOWTABLE_HOOK")
    devices = hook.get_attr("NFTA_FLOWTABLE_HOOK_DEVS")
    return tuple(map(FlowtableLink, devices.get_attrs("NFTA_DEVICE_NAME"))) if devices else ()


def qdisc(message: Any) -> Qdisc | None:
    """Return a link's token bucket; None for any other qdisc, and for one inside another."""
    if message["parent"] != uapi.TC_H_ROOT or message.get_attr("TCA_KIND") != "tbf":
        return None
    parameters = message.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")
    return Qdisc(message["index"], parameters["rate"], parameters["limit"])


def filter_rule(message: Any) -> tuple[str, str] | None:
    """Return the chain of a rule and its comment; None for a rule of another table than ours."""
    if message.get_attr("NFTA_RULE_TABLE") != names.NFT_TABLE:
        return None
    comment = message.get_attr("NFTA_RULE_USERDATA")
    return message.get_attr("NFTA_RULE_CHAIN"), comment if isinstance(comment, str) else ""


def chains(family: str, rules: Iterable[tuple[str, str]]) -> Iterator[Chain]:
    """Yield the chains of these rules, without a mark where rules are missing or foreign."""
    comments: dict[str, list[str]] = defaultdict(list)
    for chain, comment in rules:
        comments[chain].append(comment)
    for name, seen in comments.items():
        mark = seen[0].partition(" ")[0]
        complete = [f"{mark} {number} of {len(seen)}" for number in range(1, len(seen) + 1)]
        yield Chain(family, name, mark if seen == complete else "")
