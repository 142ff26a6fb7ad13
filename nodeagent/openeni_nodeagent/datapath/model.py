"""The datapath as data.

The wanted and the observed state are sets of the same frozen items, so that ADD, CHECK, DEL and
repair are one comparison. Two items are equal exactly when the kernel would treat them as the same
object with the same settings.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from openeni_crds import names

TABLE_MAIN: Final = 254
TABLE_LOCAL: Final = 255
RTPROT_KERNEL: Final = 2  # linux/rtnetlink.h: a route that comes and goes with an address
NIC: Final = ""  # Link.kind of a device that openeni neither creates nor deletes
VETH: Final = "veth"
IPVLAN: Final = "ipvlan"


@dataclass(frozen=True, slots=True)
class Link:
    """A device of one namespace. openeni chooses the indexes of its own links."""

    name: str
    index: int
    kind: str
    mac: str
    mtu: int
    up: bool = True
    parent: int = 0  # ipvlan: the ENI's index on the node
    mode: int = 0  # ipvlan: IPVLAN_MODE_L2, _L3 or _L3S, which all slaves of the ENI share
    alias: str = ""  # of our links in the node's namespace
    group: int = 0  # the node's ends of veth pairs: that of their ENI, for its marks
    master: int = 0  # index of the bridge, bond or VRF that gets what the link receives
    flags: int = 0  # ipvlan: IPVLAN_F_PRIVATE or _VEPA, which they share, too
    default_arp: bool = True  # IFF_NOARP is as the kernel has it: set of l3s and l3 slaves alone
    carrier: bool = field(default=True, compare=False)  # nobody plans it
    # Of a NIC, the MAC that its device came with; "" if the kernel knows none.
    permanent_mac: str = field(default="", compare=False)

    @property
    def identity(self) -> tuple[str | int, ...]:
        """The properties that cannot be changed in place."""
        return self.name, self.index, self.kind, self.mac, self.parent


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    address: str
    prefix: int
    # The kernel chooses it as no source if it has another, nor does masquerading: of scope link by
    # IPv4, deprecated by IPv6.
    no_source: bool = False
    # IPv6: the kernel takes no other as a source; nobody plans it.
    confirmed: bool = field(default=True, compare=False)
    # On a NIC: the kernel still has the routes that came with it, or with IPv6 addresses.
    is_routed: bool = True
    # The kernel's message about one that was found, with all that tells it from its like.
    message: bytes = field(default=b"", compare=False, repr=False)


class RouteType(StrEnum):
    """Says what happens to a packet; one that is rejected needs no device."""

    UNICAST = "unicast"
    LOCAL = "local"  # the kernel's own, which nobody plans
    MULTICAST = "multicast"  # the same
    BLACKHOLE = "blackhole"  # which nobody plans, either
    PROHIBIT = "prohibit"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Route:
    destination: str  # CIDR
    table: int
    index: int = 0  # of none that rejects packets
    gateway: str = ""
    source: str = ""
    protocol: int = names.PROTOCOL
    metric: int = 0  # 0: the kernel's default
    type: RouteType = RouteType.UNICAST
    message: bytes = field(default=b"", compare=False, repr=False)  # as of an address


@dataclass(frozen=True, slots=True)
class Rule:
    family: int  # 4 or 6
    priority: int
    table: int
    source: str = ""  # CIDR
    iif: str = ""
    mark: int = 0
    mask: int = 0
    protocol: int = names.PROTOCOL
    oif: str = ""
    destination: str = ""  # CIDR
    is_narrower: bool = False  # by what is not here, such as `not` or `uidrange`; nobody plans it


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour, or with `mac` "" a proxy entry: the link answers ARP or ND for it."""

    index: int
    address: str
    mac: str = ""
    protocol: int = names.PROTOCOL


@dataclass(frozen=True, slots=True)
class Sysctl:
    path: str  # below /proc/sys
    value: str


@dataclass(frozen=True, slots=True)
class Element:
    """A member of one of our nftables sets, or with `value` of a map.

    Key and value are written as `nft` does: "10.99.0.11 . tcp . 8080". `nft_sets` has their fields.
    """

    name: str
    key: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A token bucket (tc-tbf) as the root qdisc of a link: it limits what the link sends.

    The kernel tells the burst in its own unit of time; a change of it shows in the limit.
    """

    index: int  # of the link
    rate: int  # bytes per second
    limit: int  # bytes that are sent or wait; the rest is dropped
    burst: int = field(default=0, compare=False)  # bytes


@dataclass(frozen=True, slots=True)
class FlowtableLink:
    """A link in our flowtable: flows that are known there bypass the node's stack.

    Its hook goes with the link; from Linux 6.16 on, its name stays.
    """

    device: str


@dataclass(frozen=True, slots=True)
class Chain:
    """An nftables chain of our table in `family`; an observed one has no text."""

    family: str  # "inet", "netdev" or "arp"
    name: str
    mark: str  # digest of its rules, which every rule has in its comment
    text: str = field(default="", compare=False)  # the nft commands that create it
    # It keeps packets out, and needs no route or rule: it is there before its NIC comes up.
    protects: bool = field(default=False, compare=False)


Item: TypeAlias = (
    Link | Address | Route | Rule | Neighbour | Sysctl | Element | FlowtableLink | Chain | Qdisc
)
State: TypeAlias = frozenset[Item]
NOTHING: Final[State] = frozenset()


@dataclass(frozen=True, slots=True)
class PodPlan:
    """The host's part of one pod's datapath, and the part inside the pod's namespace."""

    host: State = NOTHING
    pod: State = NOTHING


class Verb(StrEnum):
    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Operation:
    verb: Verb
    item: Item
